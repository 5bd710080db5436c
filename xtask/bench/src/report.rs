//! What was measured, as a table and as JSON: medians over the rounds with their spread, and quorum-node's rate as a ratio
//! to each other system's in the same round.

use std::collections::BTreeMap;
use std::fmt;

use quorum_ledger::Machine;
use serde::Serialize;

use crate::Arguments;
use crate::about::unix_seconds;
use crate::rounds::Sample;
use crate::system::System;

/// Everything, with where and when.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    measured_at_unix_seconds: u64,
    machine: Machine,
    value_bytes: Vec<usize>,
    seconds_each: f64,
    rounds: usize,
    systems: Vec<Named>,
    summary: Vec<Line>,
    samples: Vec<Sample>,
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
    value_bytes: usize,
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
        let mut systems: Vec<Named> = Vec::new();
        for sample in &samples {
            if !systems.iter().any(|named| named.system == sample.system) {
                let (system, version) = (sample.system, sample.version.clone());
                systems.push(Named { system, version, settings: system.settings() });
            }
        }
        Self {
            measured_at_unix_seconds: unix_seconds(),
            machine: Machine::this(),
            value_bytes: arguments.value_bytes.clone(),
            seconds_each: arguments.duration.as_secs_f64(),
            rounds: arguments.rounds,
            systems,
            summary: summary(&samples),
            samples,
        }
    }
}

fn summary(samples: &[Sample]) -> Vec<Line> {
    let mut groups: BTreeMap<(usize, usize, System), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let group = (sample.value_bytes, sample.clients, sample.system);
        groups.entry(group).or_default().push(sample);
    }
    let ours_beside = |other: &Sample| {
        let is_it = |sample: &&Sample| {
            sample.system == System::Quorum
                && sample.value_bytes == other.value_bytes
                && sample.clients == other.clients
                && sample.round == other.round
        };
        samples.iter().find(is_it).map(|sample| sample.figures.writes_per_second)
    };
    let line =
        |((value_bytes, clients, system), group): (&(usize, usize, System), &Vec<&Sample>)| {
            let spread =
                |figure: fn(&Sample) -> f64| Spread::of(group.iter().map(|sample| figure(sample)));
            let ratios = group
                .iter()
                .filter_map(|sample| Some(ours_beside(sample)? / sample.figures.writes_per_second));
            Some(Line {
                system: *system,
                value_bytes: *value_bytes,
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

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.machine)?;
        writeln!(
            out,
            "three nodes on loopback, {} rounds of {} s each; ratio: quorum's rate divided by this one\n",
            self.rounds, self.seconds_each
        )?;
        for Named { system, version, settings } in &self.systems {
            writeln!(out, "{system}: {version}; {settings}")?;
        }
        for bytes in &self.value_bytes {
            writeln!(out, "\nvalues of {bytes} bytes\n{}", Line::heading())?;
            for line in self.summary.iter().filter(|line| line.value_bytes == *bytes) {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }
}

impl Line {
    fn heading() -> String {
        format!(
            "{:>7}  {:13} {:>9} {:>15} {:>8} {:>8} {:>9} {:>9} {:>8} {:>7}",
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
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, min, max } = self.writes_per_second;
        let ratio = self.ratio.map_or(String::new(), |ratio| format!("{:.2}", ratio.median));
        let spread = format!("({min:.0}-{max:.0})");
        write!(
            out,
            "{:7}  {:13} {median:9.0} {spread:>15} {:8.2} {:8.2} {:9.3} {:9.0} {:8.0} {ratio:>7}",
            self.clients,
            self.system,
            self.p50_ms.median,
            self.p99_ms.median,
            self.cpu_seconds_per_1000.median,
            self.disk_bytes_per_write.median,
            self.resident_mib.median,
        )?;
        match (self.disturbed, self.errors) {
            (0, 0) => Ok(()),
            (disturbed, errors) => write!(out, "  {disturbed} disturbed, {errors} errors"),
        }
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
