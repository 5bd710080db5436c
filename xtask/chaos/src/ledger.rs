//! The record of all campaigns, kept with the sources.
//!
//! Figures of different sources say nothing about each other, so only those of the present ones add up.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use quorum_ledger::{Code, Entry, Ledger};

use crate::report::Report;

/// The figures that add up, in the order in which they are told.
const TOTALS: [&str; 9] = [
    "seconds",
    "cycles",
    "operations",
    "acknowledged writes",
    "kills",
    "power cuts",
    "partitions",
    "wiped disks",
    "findings",
];

/// The figure of which the largest counts.
const CONVERGENCE: &str = "ms to converge at most";

/// Appends what a campaign or a slice of one came to.
pub(crate) fn append(ledger: &Path, code: &Code, report: &Report) -> Result<()> {
    let what = format!("seed {}, lives {}..{}", report.seed, report.first_life, report.next_life);
    Ledger::read(ledger)?.append(Entry::today(&what, code, report.passed(), &figures(report)))
}

fn figures(report: &Report) -> String {
    let counts = report.counts();
    let totals = [
        report.seconds as u64,
        report.cycles().count() as u64,
        report.operations() as u64,
        report.acknowledged() as u64,
        counts.kills,
        counts.power_cuts,
        counts.partitions,
        counts.wiped_disks,
        report.findings().count() as u64,
    ];
    let slowest = report.convergence().last().copied().unwrap_or_default();
    let others =
        [(report.classes.len() as u64, "classes"), (crate::life::millis(slowest), CONVERGENCE)];
    let figures = totals.into_iter().zip(TOTALS).chain(others);
    figures.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// What the entries over this code add up to.
pub(crate) fn summary(ledger: &Ledger, code: &Code) -> String {
    let ours: Vec<&Entry> = ledger.of(code).collect();
    let total = |name| ours.iter().filter_map(|entry| entry.figure(name)).sum::<u64>();
    let failed = ours.iter().filter(|entry| !entry.has_passed()).count();
    // The same lives of the same seed, played again, are no further evidence of the schedule; but faults and clients meet
    // anew each time, so they count.
    let seeds: BTreeSet<&str> = ours.iter().filter_map(|it| it.what().split(',').next()).collect();
    let slowest = ours.iter().filter_map(|entry| entry.figure(CONVERGENCE)).max().unwrap_or(0);
    let mut text = String::new();
    let mut line = |what: &str, count: String| {
        writeln!(text, "{what:28} {count}").expect("a String takes everything");
    };
    line("code", code.hash().to_owned());
    line("campaigns, failed ones", format!("{}, {failed}", ours.len()));
    line("seeds", seeds.len().to_string());
    line("hours", format!("{:.2}", total("seconds") as f64 / 3_600.0));
    for name in TOTALS.into_iter().skip(1) {
        line(name, total(name).to_string());
    }
    line(CONVERGENCE, slowest.to_string());
    let others = ledger.entries().len() - ours.len();
    line("campaigns of other code", format!("{others}, not counted"));
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_campaigns_of_the_same_code_add_up() {
        let path = std::env::temp_dir().join(format!("chaos-{}.md", std::process::id()));
        let mut ledger = Ledger::create(&path).expect("a new file");
        for (seed, hash, kills) in [(1, "new", 3), (2, "old", 100), (3, "new", 4)] {
            let figures = format!("1800 seconds, {kills} kills, {kills} {CONVERGENCE}");
            let what = format!("seed {seed}, lives 0..1");
            let entry = Entry::today(&what, &Code::named("abc", hash), true, &figures);
            ledger.append(entry).expect("written");
        }
        fs::remove_file(&path).expect("it was there");
        let text = summary(&ledger, &Code::named("abc", "new"));
        let figure = |what: &str| {
            let line = text.lines().find(|line| line.starts_with(what)).expect("a line");
            line[what.len()..].trim().to_owned()
        };
        assert_eq!(figure("kills"), "7");
        assert_eq!(figure("seeds"), "2");
        assert_eq!(figure("hours"), "1.00");
        assert_eq!(figure(CONVERGENCE), "4");
        assert_eq!(figure("campaigns of other code"), "1, not counted");
    }
}
