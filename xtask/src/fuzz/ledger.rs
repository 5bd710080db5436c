//! What was executed, when, and over which code: a line of JSON each, only ever appended to.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, bail};

use super::program::Outcome;
use super::targets::Target;
use crate::process;

/// Where it is kept.
const PATH: &str = "docs/reliability/fuzz.jsonl";

/// All that was ever noted.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
}

/// A turn of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    date: String,
    target: String,
    executions: u64,
    seconds: u64,
    /// Edges of the program that the inputs reached.
    coverage: u64,
    result: String,
    commit: String,
    /// A hash of the files that the target is about.
    code: String,
}

impl Ledger {
    pub(super) fn read() -> Result<Self> {
        let text = match std::fs::read_to_string(process::root().join(PATH)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context(PATH),
        };
        let entry = |line: &str| Entry::parse(line).with_context(|| format!("{PATH}: {line}"));
        Ok(Self { entries: text.lines().map(entry).collect::<Result<_>>()? })
    }

    /// How often a target was executed over this very code, without a claim refuted.
    pub(super) fn executions(&self, target: &Target, code: &str) -> u64 {
        let same = |entry: &&Entry| entry.target == target.name && entry.code == code;
        let passed = self.entries.iter().filter(same).filter(|entry| entry.result == "passed");
        passed.map(|entry| entry.executions).sum()
    }

    /// Executions a second when it last ran.
    pub(super) fn rate(&self, target: &Target) -> Option<u64> {
        let last = self.entries.iter().rfind(|entry| entry.target == target.name)?;
        Some(last.executions / last.seconds.max(1))
    }

    pub(super) fn append(&mut self, entry: Entry) -> Result<()> {
        let path = process::root().join(PATH);
        path.parent().map(std::fs::create_dir_all).transpose()?;
        let mut file = OpenOptions::new().append(true).create(true).open(&path).context(PATH)?;
        writeln!(file, "{}", entry.line()).context(PATH)?;
        self.entries.push(entry);
        Ok(())
    }
}

impl Entry {
    pub(super) fn of(target: &Target, outcome: &Outcome, commit: &str, code: &str) -> Result<Self> {
        let date = process::output(&mut process::command("date", &["-u", "+%Y-%m-%d"]))?;
        Ok(Self {
            date: date.trim().to_owned(),
            target: target.name.to_owned(),
            executions: outcome.executions,
            seconds: outcome.seconds,
            coverage: outcome.coverage,
            result: if outcome.refuted_by.is_none() { "passed" } else { "refuted" }.to_owned(),
            commit: commit.to_owned(),
            code: code.to_owned(),
        })
    }

    fn line(&self) -> String {
        let Self { date, target, executions, seconds, coverage, result, commit, code } = self;
        format!(
            r#"{{"date":"{date}","target":"{target}","executions":{executions},"seconds":{seconds},"coverage":{coverage},"result":"{result}","commit":"{commit}","code":"{code}"}}"#
        )
    }

    /// Reads a line in the form in which [`line`](Self::line) writes it.
    fn parse(line: &str) -> Result<Self> {
        let field = |name: &str| {
            let (_, rest) =
                line.split_once(&format!("\"{name}\":")).context("a field is missing")?;
            let end = rest.find([',', '}']).context("cut short")?;
            Ok::<_, anyhow::Error>(rest[..end].trim_matches('"').to_owned())
        };
        Ok(Self {
            date: field("date")?,
            target: field("target")?,
            executions: field("executions")?.parse()?,
            seconds: field("seconds")?.parse()?,
            coverage: field("coverage")?.parse()?,
            result: field("result")?,
            commit: field("commit")?,
            code: field("code")?,
        })
    }
}

/// The commit that is checked out. What is not committed could not be named.
pub(super) fn commit() -> Result<String> {
    let paths =
        ["status", "--porcelain", "--", "crates", "xtask/fuzz/src", "xtask/fuzz/Cargo.lock"];
    let changed = process::output(&mut process::command("git", &paths))?;
    if !changed.trim().is_empty() {
        bail!("the ledger names commits, and these files differ from the last one:\n{changed}");
    }
    let commit =
        process::output(&mut process::command("git", &["rev-parse", "--short=12", "HEAD"]))?;
    Ok(commit.trim().to_owned())
}

/// A hash of the files that a target is about, as they are in the commit that is checked out.
pub(super) fn code_of(target: &Target) -> Result<String> {
    let mut names = vec!["rev-parse".to_owned()];
    names.extend(target.code.iter().map(|path| format!("HEAD:{path}")));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hashes = process::output(&mut process::command("git", &names))?;
    // One hash of many: those of git are long enough for any of their parts to tell them apart.
    let folded = hashes.lines().fold(0_u64, |folded, hash| {
        let part = hash.get(..16).and_then(|part| u64::from_str_radix(part, 16).ok()).unwrap_or(0);
        (folded.rotate_left(7) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    Ok(format!("{folded:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str, executions: u64, result: &str, code: &str) -> Entry {
        Entry {
            date: "2026-11-28".into(),
            target: target.into(),
            executions,
            seconds: 10,
            coverage: 5,
            result: result.into(),
            commit: "abc".into(),
            code: code.into(),
        }
    }

    #[test]
    fn a_line_reads_back() {
        let entry = entry("frame", 1_000, "passed", "c0de");
        assert_eq!(Entry::parse(&entry.line()).expect("readable"), entry);
        assert!(Entry::parse("{}").is_err());
    }

    #[test]
    fn only_passed_executions_of_the_same_code_add_up() {
        let entries = vec![
            entry("frame", 1_000, "passed", "new"),
            entry("frame", 500, "passed", "new"),
            entry("frame", 70, "passed", "old"),
            entry("frame", 70, "refuted", "new"),
            entry("hello", 70, "passed", "new"),
        ];
        let (ledger, frame) = (Ledger { entries }, Target::named("frame").expect("there"));
        assert_eq!(ledger.executions(frame, "new"), 1_500);
        assert_eq!(ledger.rate(frame), Some(7));
    }

    #[test]
    fn the_code_of_a_target_has_a_hash() {
        let of = |name| code_of(Target::named(name).expect("there")).expect("a checkout");
        assert_eq!(of("frame").len(), 16);
        assert_eq!(of("frame"), of("hello"), "the same files");
        assert_ne!(of("frame"), of("config_file"));
    }
}
