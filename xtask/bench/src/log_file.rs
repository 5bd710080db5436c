//! A file that is appended to and synced: by far most of what a durable write has to wait for.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

/// What a file is written with beforehand. In larger pieces the system would keep it as larger pages, and count, and
/// possibly write, all of such a page for every record.
const PAGE_BYTES: usize = 4096;

/// A log to append to.
pub(crate) struct LogFile {
    file: File,
    at: u64,
    /// Where writing begins anew; none if the file grows.
    bytes_max: Option<u64>,
}

impl LogFile {
    /// A file that grows.
    pub(crate) fn growing(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        file.sync_all()?;
        Ok(Self { file, at: 0, bytes_max: None })
    }

    /// A file of which every byte was written before, so that a sync has no sizes and places to write; from its
    /// beginning again and again.
    pub(crate) fn written_before(path: &Path, bytes: u64) -> Result<Self> {
        let log = Self::growing(path)?;
        let zeros = [0; PAGE_BYTES];
        for at in (0..bytes).step_by(PAGE_BYTES) {
            log.file.write_all_at(&zeros, at)?;
        }
        log.file.sync_all()?;
        Ok(Self { bytes_max: Some(bytes), ..log })
    }

    /// Appends, and returns once it is synced.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.bytes_max.is_some_and(|max| self.at + bytes.len() as u64 > max) {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
