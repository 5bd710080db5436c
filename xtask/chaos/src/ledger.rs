//! The record of all campaigns: a line of JSON for each, kept with the sources.
//!
//! Figures of different sources say nothing about each other, so only those of the present ones add up.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::nemesis::Counts;
use crate::report::Report;

/// One campaign or slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) date: String,
    pub(crate) seed: u64,
    pub(crate) first_life: u64,
    pub(crate) lives: usize,
    pub(crate) commit: String,
    pub(crate) sources: String,
    pub(crate) seconds: u64,
    pub(crate) classes: Vec<Class>,
    pub(crate) cycles: usize,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) operations: usize,
    pub(crate) acknowledged: usize,
    pub(crate) convergence_max_ms: u64,
    pub(crate) findings: usize,
    pub(crate) passed: bool,
}

impl Entry {
    pub(crate) fn of(report: &Report) -> Self {
        let longest = report.convergence().last().copied().unwrap_or_default();
        Self {
            date: report.date.clone(),
            seed: report.seed,
            first_life: report.first_life,
            lives: report.lives.len(),
            commit: report.commit.clone(),
            sources: report.sources.clone(),
            seconds: report.seconds as u64,
            classes: report.classes.clone(),
            cycles: report.cycles().count(),
            counts: report.counts(),
            operations: report.operations(),
            acknowledged: report.acknowledged(),
            convergence_max_ms: crate::life::millis(longest),
            findings: report.findings().count(),
            passed: report.passed(),
        }
    }

    /// Appends it to the ledger.
    pub(crate) fn append(&self, ledger: &Path) -> Result<()> {
        if let Some(folder) = ledger.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(ledger)
            .with_context(|| ledger.display().to_string())?;
        writeln!(file, "{}", serde_json::to_string(self)?)?;
        Ok(())
    }
}

/// All entries of a ledger, oldest first.
pub(crate) fn read(ledger: &Path) -> Result<Vec<Entry>> {
    let text = fs::read_to_string(ledger).with_context(|| ledger.display().to_string())?;
    let entries = text.lines().enumerate().map(|(line, text)| {
        serde_json::from_str(text).with_context(|| format!("{}:{}", ledger.display(), line + 1))
    });
    entries.collect()
}

/// What the entries of these sources add up to.
pub(crate) fn summary(entries: &[Entry], sources: &str) -> String {
    let (ours, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.sources == sources);
    let (mut counts, mut seconds, mut cycles, mut acknowledged, mut findings) =
        (Counts::default(), 0, 0, 0, 0);
    let mut seen = BTreeSet::new();
    for entry in &ours {
        // The same lives of the same seed, played again, are no further evidence of the schedule; but faults and
        // clients meet anew each time, so they count.
        counts.add(entry.counts);
        seconds += entry.seconds;
        cycles += entry.cycles;
        acknowledged += entry.acknowledged;
        findings += entry.findings;
        seen.insert(entry.seed);
    }
    let slowest = ours.iter().map(|entry| entry.convergence_max_ms).max().unwrap_or(0);
    let failed = ours.iter().filter(|entry| !entry.passed).count();
    let mut text = String::new();
    let mut line = |what: &str, count: String| {
        writeln!(text, "{what:28} {count}").expect("a String takes everything");
    };
    line("sources", sources.to_owned());
    line("campaigns, failed ones", format!("{}, {failed}", ours.len()));
    line("seeds", seen.len().to_string());
    line("hours", format!("{:.2}", seconds as f64 / 3_600.0));
    line("cycles", cycles.to_string());
    line("acknowledged writes", acknowledged.to_string());
    line("processes killed", counts.kills.to_string());
    line("power cuts", counts.power_cuts.to_string());
    line("partitions", counts.partitions.to_string());
    line("disks wiped", counts.wiped_disks.to_string());
    line("slowest convergence", format!("{slowest} ms"));
    line("findings", findings.to_string());
    line("campaigns of other sources", format!("{}, not counted", others.len()));
    text
}

/// A digest of the product's sources below a checkout: names and contents of all files in `crates/*/src`.
pub(crate) fn sources(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    let crates = root.join("crates");
    for entry in fs::read_dir(&crates).with_context(|| crates.display().to_string())? {
        let source = entry?.path().join("src");
        if source.is_dir() {
            collect(&source, &mut files)?;
        }
    }
    files.sort();
    let mut hash = blake3::Hasher::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let content = fs::read(&file).with_context(|| name.clone())?;
        for part in [name.as_bytes(), &content] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    Ok(hash.finalize().to_hex()[..16].to_owned())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sources: &str, seed: u64, kills: u64) -> Entry {
        Entry {
            date: "2026-01-02".to_owned(),
            seed,
            first_life: 0,
            lives: 1,
            commit: "abc".to_owned(),
            sources: sources.to_owned(),
            seconds: 1_800,
            classes: vec![Class::Pause],
            cycles: 2,
            counts: Counts { kills, ..Counts::default() },
            operations: 10,
            acknowledged: 5,
            convergence_max_ms: 7,
            findings: 0,
            passed: true,
        }
    }

    #[test]
    fn only_campaigns_of_the_same_sources_add_up() {
        let text = summary(&[entry("new", 1, 3), entry("old", 2, 100), entry("new", 3, 4)], "new");
        let figure = |what: &str| {
            let line = text.lines().find(|line| line.starts_with(what)).expect("a line");
            line[what.len()..].trim().to_owned()
        };
        assert_eq!(figure("processes killed"), "7");
        assert_eq!(figure("hours"), "1.00");
        assert_eq!(figure("campaigns of other sources"), "1, not counted");
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = entry("new", 1, 3);
        let text = serde_json::to_string(&entry).expect("written");
        assert_eq!(serde_json::from_str::<Entry>(&text).expect("read"), entry);
    }
}
