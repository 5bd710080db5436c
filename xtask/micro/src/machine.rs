//! On what something was measured.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// A machine and what ran there. Times of two machines say nothing about each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) system: String,
    /// Another one makes other instructions of the same source.
    pub(crate) compiler: String,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Self {
        let quorum_ledger::Machine { processor, cores, system, .. } =
            quorum_ledger::Machine::this();
        Self {
            processor,
            cores,
            system,
            compiler: said_by("rustc", &["--version"]).unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    /// Whether times can be compared.
    pub(crate) fn is_as_fast_as(&self, other: &Self) -> bool {
        self.processor == other.processor && self.cores == other.cores
    }
}

/// What a program writes, if it can be run.
pub(crate) fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
