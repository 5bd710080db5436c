//! On what something was measured.

use std::fs;
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
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: processor(&cpu).unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("Linux {}", release.trim()),
            compiler: said_by("rustc", &["--version"]).unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    /// Whether times can be compared.
    pub(crate) fn is_as_fast_as(&self, other: &Self) -> bool {
        self.processor == other.processor && self.cores == other.cores
    }
}

fn processor(cpu: &str) -> Option<&str> {
    let line = cpu.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// What a program writes, if it can be run.
pub(crate) fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_the_name_of_its_model() {
        let cpu =
            "processor\t: 0\nvendor_id\t: X\nmodel name\t: Some Processor 3 GHz\nstepping\t: 1\n";
        assert_eq!(processor(cpu), Some("Some Processor 3 GHz"));
        assert_eq!(processor(""), None);
    }
}
