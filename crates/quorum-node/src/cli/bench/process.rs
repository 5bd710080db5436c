//! What processes on this machine cost: processor time and memory, as `/proc` tells.

use std::fs;
use std::io;
use std::time::Duration;

use serde::Serialize;

/// Ticks per second in which Linux counts processor time for programs, on every architecture.
const TICKS_PER_SECOND: u32 = 100;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    cpu: Duration,
    resident_bytes: u64,
}

/// What a process used during a measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cost {
    pub(super) pid: u32,
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
}

impl Usage {
    /// Of the process with this id.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "/proc is not as expected");
        Ok(Self {
            cpu: cpu(&stat).ok_or_else(unreadable)?,
            resident_bytes: resident_bytes(&status).ok_or_else(unreadable)?,
        })
    }

    /// From an earlier reading to this one.
    pub(super) fn since(self, earlier: Self, pid: u32) -> Cost {
        let cpu_seconds = self.cpu.saturating_sub(earlier.cpu).as_secs_f64();
        Cost { pid, cpu_seconds, resident_bytes: self.resident_bytes }
    }
}

fn cpu(stat: &str) -> Option<Duration> {
    // The name, in parentheses, may itself contain spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(Duration::from_secs(1) * user.checked_add(system)? / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name_is_read_all_the_same() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 9 9 9";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("nonsense"), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  900 kB\nVmRSS:\t  123 kB\nThreads:\t1\n";
        assert_eq!(resident_bytes(status), Some(123 * 1024));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }
}
