//! Where and when something was measured.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use quorum_ledger::Machine;
use serde::Serialize;

/// What stands above every report: when, where, of what, and how.
#[derive(Debug, Serialize)]
pub(crate) struct About {
    measured_at_unix_seconds: u64,
    machine: Machine,
    version: String,
    settings: String,
}

impl About {
    /// Of a program's version, and with the settings under which it is measured.
    pub(crate) fn new(version: String, settings: String) -> Self {
        Self {
            measured_at_unix_seconds: unix_seconds(),
            machine: Machine::this(),
            version,
            settings,
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.machine)?;
        writeln!(out, "{}: {}", self.version, self.settings)
    }
}

/// Now.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
