//! What was measured, as a table and as JSON: medians over the rounds with their spread, and quorum-node's rate as a ratio
//! to each other system's in the same round.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::Arguments;
use crate::rounds::Sample;
use crate::system::System;

/// Everything, with where and when.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    measured_at_unix_seconds: u64,
    machine: Machine,
    value_bytes: usize,
    seconds_each: f64,
    rounds: usize,
    systems: Vec<Named>,
    summary: Vec<Line>,
    samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
}

#[derive(Debug, Serialize)]
struct Named {
    system: System,
    version: String,
    settings: &'static str,
}

/// One system with so many clients, over all rounds.
#[derive(Debug, Serialize)]
struct Line {
    system: System,
    clients: usize,
    writes_per_second: Spread,
    p50_ms: Spread,
    p99_ms: Spread,
    p999_ms: Spread,
    cpu_seconds_per_1000: Spread,
    disk_bytes_per_write: Spread,
    resident_mib: Spread,
    /// quorum-node's writes a second divided by this system's, in the same round.
    ratio: Option<Spread>,
    disturbed: usize,
    errors: u64,
}

/// A median, and the smallest and the largest.
#[derive(Debug, Clone, Copy, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }
}

impl Report {
    pub(crate) fn new(arguments: &Arguments, samples: Vec<Sample>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut systems: Vec<Named> = Vec::new();
        for sample in &samples {
            if !systems.iter().any(|named| named.system == sample.system) {
                let (system, version) = (sample.system, sample.version.clone());
                systems.push(Named { system, version, settings: system.settings() });
            }
        }
        Self {
            measured_at_unix_seconds: now.as_secs(),
            machine: Machine::this(),
            value_bytes: arguments.value_bytes,
            seconds_each: arguments.duration.as_secs_f64(),
            rounds: arguments.rounds,
            systems,
            summary: summary(&samples),
            samples,
        }
    }
}

fn summary(samples: &[Sample]) -> Vec<Line> {
    let mut groups: BTreeMap<(usize, System), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        groups.entry((sample.clients, sample.system)).or_default().push(sample);
    }
    let rate_of = |system: System, clients: usize, round: usize| {
        let is_it = |sample: &&Sample| {
            sample.system == system && sample.clients == clients && sample.round == round
        };
        samples.iter().find(is_it).map(|sample| sample.figures.writes_per_second)
    };
    let line = |((clients, system), group): (&(usize, System), &Vec<&Sample>)| {
        let spread =
            |figure: fn(&Sample) -> f64| Spread::of(group.iter().map(|sample| figure(sample)));
        let ratios = group.iter().filter_map(|sample| {
            let ours = rate_of(System::Quorum, *clients, sample.round)?;
            Some(ours / sample.figures.writes_per_second)
        });
        Some(Line {
            system: *system,
            clients: *clients,
            writes_per_second: spread(|sample| sample.figures.writes_per_second)?,
            p50_ms: spread(|sample| sample.figures.p50_ms)?,
            p99_ms: spread(|sample| sample.figures.p99_ms)?,
            p999_ms: spread(|sample| sample.figures.p999_ms)?,
            cpu_seconds_per_1000: spread(|sample| sample.figures.cost.cpu_seconds_per_1000)?,
            disk_bytes_per_write: spread(|sample| sample.figures.cost.disk_bytes_per_write)?,
            resident_mib: spread(|sample| sample.figures.cost.resident_mib)?,
            ratio: Spread::of(ratios).filter(|_| *system != System::Quorum),
            disturbed: group.iter().filter(|sample| sample.disturbed).count(),
            errors: group.iter().map(|sample| sample.figures.errors).sum(),
        })
    };
    groups.iter().filter_map(line).collect()
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory_kib: u64 =
            memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, cores, memory_mib, kernel } = &self.machine;
        writeln!(out, "{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}")?;
        writeln!(
            out,
            "three nodes on loopback, values of {} bytes, {} rounds of {} s each\n",
            self.value_bytes, self.rounds, self.seconds_each
        )?;
        for Named { system, version, settings } in &self.systems {
            writeln!(out, "{system}: {version}; {settings}")?;
        }
        writeln!(
            out,
            "\n{:>7}  {:13} {:>9} {:>15} {:>8} {:>8} {:>9} {:>9} {:>8} {:>7}",
            "clients",
            "system",
            "writes/s",
            "(min-max)",
            "p50 ms",
            "p99 ms",
            "CPU s/1k",
            "disk B/w",
            "MiB",
            "ratio"
        )?;
        for line in &self.summary {
            let Spread { median, min, max } = line.writes_per_second;
            let ratio = line.ratio.map_or(String::new(), |ratio| format!("{:.2}", ratio.median));
            let spread = format!("({min:.0}-{max:.0})");
            let system = line.system.to_string();
            write!(
                out,
                "{:7}  {system:13} {median:9.0} {spread:>15} {:8.2} {:8.2} {:9.3} {:9.0} {:8.0} {ratio:>7}",
                line.clients,
                line.p50_ms.median,
                line.p99_ms.median,
                line.cpu_seconds_per_1000.median,
                line.disk_bytes_per_write.median,
                line.resident_mib.median,
            )?;
            match (line.disturbed, line.errors) {
                (0, 0) => writeln!(out)?,
                (disturbed, errors) => writeln!(out, "  {disturbed} disturbed, {errors} errors")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_two() {
        let spread = Spread::of([3.0, 1.0, 2.0]).expect("values");
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([1.0, 2.0]).expect("values").median, 1.5);
        assert!(Spread::of([]).is_none());
    }
}
