//! A log with group commit: one thread appends whatever has come together while it synced before, and syncs that.

use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::watch;

use crate::log_file::LogFile;

/// A log to append to. Dropping it ends its thread.
pub(super) struct Log {
    appended: Cell<u64>,
    entries: mpsc::Sender<Bytes>,
    synced: watch::Receiver<u64>,
}

impl Log {
    /// A file of so many bytes, which is written to from its beginning again and again. It is written once before, so that
    /// this is not measured.
    pub(super) fn open(path: &Path, bytes: u64) -> Result<Self> {
        let file = LogFile::written_before(path, bytes)?;
        let (entries, to_append) = mpsc::channel();
        let (tell, synced) = watch::channel(0);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            match append(file, &to_append, &tell) {
                Ok(()) => {}
                Err(error) => eprintln!("the log has failed: {error:#}"),
            }
        })?;
        Ok(Self { appended: Cell::new(0), entries, synced })
    }

    /// Hands an entry over, and tells its place: it is synced once [`Log::synced`] says at least that.
    pub(super) fn append(&self, entry: Bytes) -> Result<u64> {
        self.entries.send(entry).ok().context("the log has failed")?;
        self.appended.set(self.appended.get() + 1);
        Ok(self.appended.get())
    }

    /// How many entries are synced.
    pub(super) fn synced(&self) -> watch::Receiver<u64> {
        self.synced.clone()
    }
}

fn append(
    mut file: LogFile,
    entries: &mpsc::Receiver<Bytes>,
    synced: &watch::Sender<u64>,
) -> Result<()> {
    let mut together = Vec::new();
    while let Ok(first) = entries.recv() {
        together.clear();
        together.extend_from_slice(&first);
        let mut count = 1;
        for more in entries.try_iter() {
            together.extend_from_slice(&more);
            count += 1;
        }
        file.append(&together)?;
        synced.send_modify(|synced| *synced += count);
    }
    Ok(())
}
