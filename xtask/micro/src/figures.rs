//! What was measured, as it is kept and as it is read.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::machine::{Machine, said_by};

/// All cases of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    pub(crate) date: String,
    pub(crate) version: String,
    /// What `git describe` says of the checkout.
    pub(crate) commit: Option<String>,
    pub(crate) rounds: u32,
    pub(crate) cases: Vec<CaseFigures>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CaseFigures {
    pub(crate) name: String,
    pub(crate) nanos: Spread,
    /// `None` if they differ from run to run, or could not be counted.
    pub(crate) instructions: Option<f64>,
}

/// Of the medians of all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Figures {
    /// Figures of now.
    pub(crate) fn new(machine: Machine, rounds: u32, cases: Vec<CaseFigures>) -> Self {
        let mut date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        date.truncate("2000-01-01".len());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let commit = said_by("git", &["describe", "--always", "--dirty"]);
        Self { machine, date, version, commit, rounds, cases }
    }

    /// The figures of the case with this name.
    pub(crate) fn of(&self, name: &str) -> Option<&CaseFigures> {
        self.cases.iter().find(|case| case.name == name)
    }
}

impl CaseFigures {
    /// From the nanoseconds of every round, at least one.
    pub(crate) fn new(name: &str, nanos: &[f64], instructions: Option<f64>) -> Self {
        Self { name: name.to_owned(), nanos: Spread::of(nanos), instructions }
    }
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Self { median, min, max }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, cores, system, compiler } = &self.machine;
        let commit = self.commit.as_deref().unwrap_or("no commit");
        writeln!(
            out,
            "{}, {} ({commit}), {processor}, {cores} cores, {system}, {compiler}, {} rounds\n",
            self.date, self.version, self.rounds
        )?;
        writeln!(out, "| case | median | min-max | instructions |")?;
        writeln!(out, "|---|---|---|---|")?;
        for CaseFigures { name, nanos: Spread { median, min, max }, instructions } in &self.cases {
            let (median, min, max) = (duration(*median), duration(*min), duration(*max));
            writeln!(out, "| `{name}` | {median} | {min} - {max} | {} |", count(*instructions))?;
        }
        Ok(())
    }
}

/// With three digits that count.
pub(crate) fn duration(nanos: f64) -> String {
    let (value, unit) = match nanos {
        nanos if nanos < 1e3 => (nanos, "ns"),
        nanos if nanos < 1e6 => (nanos / 1e3, "µs"),
        nanos => (nanos / 1e6, "ms"),
    };
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// In thousands; a dash if there is none.
pub(crate) fn count(instructions: Option<f64>) -> String {
    let Some(instructions) = instructions else { return "-".to_owned() };
    if instructions < 100.0 {
        return format!("{instructions:.1}");
    }
    let digits = format!("{instructions:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn figures(cases: Vec<CaseFigures>) -> Figures {
        let machine = Machine {
            processor: "P".to_owned(),
            cores: 2,
            system: "Linux 6".to_owned(),
            compiler: "rustc 1".to_owned(),
        };
        let (date, version) = ("2026-01-02".to_owned(), "0.1.0".to_owned());
        Figures { machine, date, version, commit: Some("abc".to_owned()), rounds: 3, cases }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let spread = |values: &[f64]| {
            let Spread { median, min, max } = Spread::of(values);
            (min, median, max)
        };
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), (1.0, 2.5, 4.0));
        assert_eq!(spread(&[7.0]), (7.0, 7.0, 7.0));
    }

    #[test]
    fn durations_have_three_digits_and_counts_are_grouped() {
        let durations = [1.234, 45.67, 999.4, 1_234.0, 250_000.0, 12_345_678.0].map(duration);
        assert_eq!(durations, ["1.23 ns", "45.7 ns", "999 ns", "1.23 µs", "250 µs", "12.3 ms"]);
        let counts = [None, Some(6.94), Some(123.4), Some(1_234.0), Some(1_234_567.0)].map(count);
        assert_eq!(counts, ["-", "6.9", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn a_run_is_a_table_below_where_it_was() {
        let cases = vec![
            CaseFigures::new("a/b", &[1.0, 2.0, 3.0], Some(7.0)),
            CaseFigures::new("c", &[1e6], None),
        ];
        assert_eq!(
            figures(cases).to_string(),
            "2026-01-02, 0.1.0 (abc), P, 2 cores, Linux 6, rustc 1, 3 rounds\n\n\
             | case | median | min-max | instructions |\n|---|---|---|---|\n\
             | `a/b` | 2.00 ns | 1.00 ns - 3.00 ns | 7.0 |\n\
             | `c` | 1.00 ms | 1.00 ms - 1.00 ms | - |\n"
        );
    }

    #[test]
    fn figures_are_read_as_they_were_written() {
        let figures = figures(vec![CaseFigures::new("a", &[1.5, 2.5], None)]);
        let text = serde_json::to_string(&figures).expect("written");
        assert_eq!(serde_json::from_str::<Figures>(&text).expect("read"), figures);
    }
}
