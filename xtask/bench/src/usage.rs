//! What processes cost, from `/proc`, and what the rest of the machine did meanwhile.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

/// The unit of processor times in `/proc`, fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What several processes had used by a moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    cpu_seconds: f64,
    own_cpu_seconds: f64,
    machine_busy_seconds: f64,
    machine_seconds: f64,
    resident_bytes: u64,
    written_bytes: u64,
}

/// What they used between two moments.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cost {
    /// Processor seconds of all servers for a thousand writes.
    pub(crate) cpu_seconds_per_1000: f64,
    /// Those of this driver.
    pub(crate) driver_cpu_seconds_per_1000: f64,
    /// Memory of all servers together.
    pub(crate) resident_mib: f64,
    /// Bytes that all servers wrote to disk, for each write.
    pub(crate) disk_bytes_per_write: f64,
    /// Share of the machine that something else used; above a twentieth the figures are worth little.
    pub(crate) foreign_load: f64,
}

impl Snapshot {
    pub(crate) fn take(pids: &[u32]) -> Result<Self> {
        let (mut cpu_seconds, mut resident_bytes, mut written_bytes) = (0.0, 0, 0);
        for pid in pids {
            cpu_seconds += cpu_seconds_of(&pid.to_string())?;
            resident_bytes += number(&read(&format!("/proc/{pid}/status"))?, "VmRSS:") * 1024;
            written_bytes += number(&read(&format!("/proc/{pid}/io"))?, "write_bytes:");
        }
        let stat = read("/proc/stat")?;
        let times: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        // User, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen.
        let idle: f64 = times.iter().skip(3).take(2).sum();
        let all: f64 = times.iter().sum();
        Ok(Self {
            cpu_seconds,
            // Not twice where it is one of them.
            own_cpu_seconds: if pids.contains(&std::process::id()) {
                0.0
            } else {
                cpu_seconds_of("self")?
            },
            machine_busy_seconds: (all - idle) / TICKS_PER_SECOND,
            machine_seconds: all / TICKS_PER_SECOND,
            resident_bytes,
            written_bytes,
        })
    }
}

impl Cost {
    pub(crate) fn between(before: &Snapshot, after: &Snapshot, writes: u64) -> Self {
        let thousands = writes as f64 / 1e3;
        let servers = after.cpu_seconds - before.cpu_seconds;
        let own = after.own_cpu_seconds - before.own_cpu_seconds;
        let busy = after.machine_busy_seconds - before.machine_busy_seconds;
        let all = (after.machine_seconds - before.machine_seconds).max(f64::EPSILON);
        Self {
            cpu_seconds_per_1000: servers / thousands,
            driver_cpu_seconds_per_1000: own / thousands,
            resident_mib: after.resident_bytes as f64 / f64::from(1 << 20),
            disk_bytes_per_write: (after.written_bytes - before.written_bytes) as f64
                / writes as f64,
            foreign_load: ((busy - servers - own) / all).max(0.0),
        }
    }
}

fn cpu_seconds_of(pid: &str) -> Result<f64> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything, spaces too.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS_PER_SECOND)
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let taken = Snapshot::take(&[std::process::id()]).expect("a process of ours");
        assert!(taken.resident_bytes > 0 && taken.machine_seconds > taken.machine_busy_seconds);
    }

    #[test]
    fn fields_are_found_by_their_names() {
        assert_eq!(number("VmPeak: 9 kB\nVmRSS:\t  123 kB\n", "VmRSS:"), 123);
        assert_eq!(number("nothing", "VmRSS:"), 0);
    }
}
