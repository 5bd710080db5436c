//! A node's wall clock, by libfaketime: its offset is read from a file at every call, so it moves while the node runs.
//!
//! Only the wall clock moves. Timers and the monotonic clock stay true, as they do on a machine whose clock is set.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::class::FAKETIME;

/// The file with a node's offset.
#[derive(Debug, Clone)]
pub(crate) struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// A clock that is right, its file in this directory.
    pub(crate) fn right(directory: &Path) -> Result<Self> {
        let clock = Self { file: directory.join("clock") };
        clock.set(0)?;
        Ok(clock)
    }

    /// Steps the clock so that it is so many seconds off.
    pub(crate) fn set(&self, offset_seconds: i64) -> Result<()> {
        // In one step: a reader must not find an empty file.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{offset_seconds:+}\n"))
            .and_then(|()| fs::rename(&next, &self.file))
            .with_context(|| self.file.display().to_string())
    }

    /// What a program must find in its environment to see this clock.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", FAKETIME.to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
        ]
    }
}
