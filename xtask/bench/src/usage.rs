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
            resident_bytes += self::resident_bytes(*pid)?;
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

impl Snapshot {
    /// Of all processes, since each started.
    pub(crate) const fn cpu_seconds(&self) -> f64 {
        self.cpu_seconds
    }

    /// Bytes that the processes wrote to disk since an earlier moment.
    pub(crate) const fn written_since(&self, before: &Self) -> u64 {
        self.written_bytes.saturating_sub(before.written_bytes)
    }
}

/// What the whole machine sent, or what it sends in each second.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Traffic {
    /// UDP packets sent, from `/proc/net/snmp`.
    udp_packets: f64,
    /// UDP packets that a socket had no room for, from there too.
    udp_packets_dropped: f64,
    /// Bytes sent over the loopback interface, whatever the protocol, from `/proc/net/dev`.
    loopback_bytes: f64,
}

impl Traffic {
    /// Since the machine was started.
    pub(crate) fn so_far() -> Result<Self> {
        let snmp = read("/proc/net/snmp")?;
        let device = read("/proc/net/dev")?;
        let line = device.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
        // Eight columns are about what was received, then come the bytes that were sent.
        let sent = line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
        Ok(Self {
            udp_packets: counter(&snmp, "Udp:", "OutDatagrams"),
            udp_packets_dropped: counter(&snmp, "Udp:", "RcvbufErrors"),
            loopback_bytes: sent.unwrap_or(0.0),
        })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            udp_packets: self.udp_packets - before.udp_packets,
            udp_packets_dropped: self.udp_packets_dropped - before.udp_packets_dropped,
            loopback_bytes: self.loopback_bytes - before.loopback_bytes,
        }
    }

    /// In each second of so many.
    pub(crate) fn each(&self, seconds: f64) -> Self {
        Self {
            udp_packets: self.udp_packets / seconds,
            udp_packets_dropped: self.udp_packets_dropped / seconds,
            loopback_bytes: self.loopback_bytes / seconds,
        }
    }

    pub(crate) const fn packets(&self) -> f64 {
        self.udp_packets
    }

    pub(crate) const fn packets_dropped(&self) -> f64 {
        self.udp_packets_dropped
    }

    pub(crate) const fn loopback_bytes(&self) -> f64 {
        self.loopback_bytes
    }
}

/// Memory of one process, as it is now.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    Ok(number(&read(&format!("/proc/{pid}/status"))?, "VmRSS:") * 1024)
}

/// For tables.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A counter of `/proc/net/snmp`, which has a line of names and one of numbers for each protocol.
fn counter(snmp: &str, protocol: &str, name: &str) -> f64 {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(protocol));
    let (names, numbers) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
    pairs
        .find(|(other, _)| *other == name)
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(0.0)
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
            resident_mib: mib(after.resident_bytes),
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
    fn counters_are_found_by_protocol_and_name() {
        let snmp = "Tcp: In Out\nTcp: 1 2\nUdp: In Out\nUdp: 3 4\n";
        assert_eq!(counter(snmp, "Udp:", "Out"), 4.0);
        assert_eq!(counter(snmp, "Udp:", "Lost"), 0.0);
        assert_eq!(counter("", "Udp:", "Out"), 0.0);
    }

    #[test]
    fn fields_are_found_by_their_names() {
        assert_eq!(number("VmPeak: 9 kB\nVmRSS:\t  123 kB\n", "VmRSS:"), 123);
        assert_eq!(number("nothing", "VmRSS:"), 0);
    }
}
