//! The kept list of campaigns: which seeds passed on which code.

use std::ops::Range;
use std::path::Path;

use quorum_ledger::{Code, Entry, Ledger};

use crate::campaign::Sum;

/// From the checkout's root on.
const LEDGER: &str = "docs/reliability/node-simulation.md";

/// Appends a line for what was run.
pub(crate) fn append(root: &Path, code: &Code, sum: &Sum) -> anyhow::Result<()> {
    let seeds = format!("{}..{}", sum.from, sum.to);
    let entry = Entry::today(&seeds, code, sum.failed.is_empty(), &figures(sum));
    Ledger::read(&root.join(LEDGER))?.append(entry)?;
    println!("entered in {LEDGER}");
    Ok(())
}

/// The first of these seeds that has not passed on this code.
pub(crate) fn next_seed(root: &Path, code: &Code, seeds: &Range<u64>) -> anyhow::Result<u64> {
    Ok(Ledger::read(&root.join(LEDGER))?.next_seed(seeds, code))
}

fn figures(sum: &Sum) -> String {
    let counted = [
        (sum.passed, "passed"),
        (sum.failed.len() as u64, "failed"),
        (sum.replayed, "replayed identically"),
        (sum.virtual_seconds, "virtual seconds"),
        (sum.acknowledged, "acknowledged writes"),
        (sum.indeterminate, "indeterminate"),
        (sum.reads, "reads"),
        (sum.packets, "packets"),
        (sum.packets_lost, "lost"),
        (sum.packets_repeated, "repeated"),
        (sum.packets_damaged, "damaged"),
        (sum.converged_within_ms, "ms to converge at most"),
        (sum.wall_seconds, "seconds"),
    ];
    let faults = sum.faults.iter().map(|(kind, count)| (*count, *kind));
    let words = counted.into_iter().chain(faults).map(|(count, what)| format!("{count} {what}"));
    words.collect::<Vec<_>>().join(", ")
}
