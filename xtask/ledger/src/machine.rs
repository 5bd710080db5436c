//! On what something was run.

use std::fmt;
use std::fs;

use serde::Serialize;

/// A machine, by what makes one faster than another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "whoever keeps it in a form of their own takes it apart"
)]
pub struct Machine {
    /// The model of its processor.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// The kernel, with its version.
    pub system: String,
}

impl Machine {
    /// This one, as far as it says.
    #[must_use]
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = field(&read("/proc/cpuinfo"), "model name").map(str::to_owned);
        Self {
            processor: processor.unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: mib(&read("/proc/meminfo")).unwrap_or_default(),
            system: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_mib, system } = self;
        write!(out, "{processor}, {cores} cores, {memory_mib} MiB, {system}")
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn mib(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_the_name_of_its_model() {
        let cpu =
            "processor\t: 0\nvendor_id\t: X\nmodel name\t: Some Processor 3 GHz\nstepping\t: 1\n";
        assert_eq!(field(cpu, "model name"), Some("Some Processor 3 GHz"));
        assert_eq!(field("", "model name"), None);
    }

    #[test]
    fn memory_is_told_in_kib() {
        assert_eq!(mib("MemTotal:        8388608 kB\nMemFree: 1 kB\n"), Some(8_192));
        assert_eq!(mib("MemTotal: much\n"), None);
    }
}
