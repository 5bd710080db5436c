//! All entries of a campaign: the last table of a Markdown file, only ever appended to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::code::Code;
use crate::entry::{Entry, HEAD};

/// What was entered, oldest first.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Ledger {
    /// Reads a file that ends with the table of entries.
    ///
    /// # Errors
    ///
    /// If it does not, with the line that is to blame.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let entries = parse(&text).with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Begins a new one in a file that is not there yet.
    ///
    /// # Errors
    ///
    /// If it is there, or cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let mut file = file.with_context(|| path.display().to_string())?;
        let empty = format!("{HEAD}\n|{}\n", "---|".repeat(HEAD.matches('|').count() - 1));
        file.write_all(empty.as_bytes()).with_context(|| path.display().to_string())?;
        Self::read(path)
    }

    /// Adds an entry at the end of the file.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn append(&mut self, entry: Entry) -> Result<()> {
        let file = OpenOptions::new().append(true).open(&self.path);
        let mut file = file.with_context(|| self.path.display().to_string())?;
        // In one piece: another campaign may append at the same time.
        let line = format!("{}\n", entry.line());
        file.write_all(line.as_bytes()).with_context(|| self.path.display().to_string())?;
        self.entries.push(entry);
        Ok(())
    }

    /// Every entry, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries over this code.
    pub fn of<'a>(&'a self, code: &'a Code) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(|entry| entry.code().hash() == code.hash())
    }

    /// What a figure adds up to over this code, in the slices of `what` that passed.
    #[must_use]
    pub fn passed(&self, what: &str, code: &Code, figure: &str) -> u64 {
        let passed = self.of(code).filter(|entry| entry.what() == what && entry.has_passed());
        passed.filter_map(|entry| entry.figure(figure)).sum()
    }

    /// The first seed of a range that did not pass yet over this code; its end if all did.
    #[must_use]
    pub fn next_seed(&self, range: &Range<u64>, code: &Code) -> u64 {
        let passed = self.of(code).filter(|entry| entry.has_passed());
        let mut passed: Vec<Range<u64>> = passed.filter_map(Entry::seeds).collect();
        passed.sort_unstable_by_key(|seeds| seeds.start);
        let begin = range.start;
        let next =
            passed.iter().fold(
                begin,
                |next, seeds| {
                    if seeds.start <= next { next.max(seeds.end) } else { next }
                },
            );
        next.min(range.end.max(begin))
    }
}

fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut lines = (1..).zip(text.lines()).skip_while(|(_, line)| *line != HEAD);
    lines.next().with_context(|| format!("no table begins with\n{HEAD}"))?;
    let (_, rule) = lines.next().context("a table has a rule below its head")?;
    ensure!(rule.chars().all(|char| "|-".contains(char)), "a table has a rule below its head");
    ensure!(text.ends_with('\n'), "the last line does not end");
    lines
        .map(|(number, line)| Entry::parse(line).with_context(|| format!("line {number}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(lines: &str) -> Ledger {
        let text = format!(
            "# Title\n\n| a | b |\n|---|---|\n\n{HEAD}\n|---|---|---|---|---|---|\n{lines}"
        );
        Ledger { path: PathBuf::new(), entries: parse(&text).expect("a ledger") }
    }

    #[test]
    fn only_what_passed_over_the_same_code_adds_up() {
        let ledger = ledger(
            "| frame | 2026-01-01 | a | new | passed | 1000 executions, 7 seconds |\n\
             | frame | 2026-01-02 | b | new | passed | 500 executions |\n\
             | frame | 2026-01-02 | b | old | passed | 70 executions |\n\
             | frame | 2026-01-02 | b | new | failed | 70 executions |\n\
             | hello | 2026-01-02 | b | new | passed | 70 executions |\n",
        );
        let code = Code::named("whatever", "new");
        assert_eq!(ledger.passed("frame", &code, "executions"), 1_500);
        assert_eq!(ledger.of(&code).count(), 4);
        assert_eq!(ledger.passed("frame", &Code::named("a", "other"), "executions"), 0);
    }

    #[test]
    fn a_campaign_goes_on_behind_what_passed_without_a_hole() {
        let ledger = ledger(
            "| 0..100 | 2026-01-01 | a | new | passed | |\n\
             | 50..200 | 2026-01-01 | a | new | passed | |\n\
             | 200..250 | 2026-01-01 | a | new | failed | |\n\
             | 300..400 | 2026-01-01 | a | new | passed | |\n\
             | 200..300 | 2026-01-01 | a | old | passed | |\n",
        );
        let (new, old) = (Code::named("a", "new"), Code::named("a", "old"));
        assert_eq!(ledger.next_seed(&(0..500), &new), 200, "the seeds that failed are next");
        assert_eq!(ledger.next_seed(&(250..500), &new), 250);
        assert_eq!(ledger.next_seed(&(300..500), &new), 400);
        assert_eq!(ledger.next_seed(&(10..150), &new), 150, "all of it is done");
        assert_eq!(ledger.next_seed(&(0..500), &old), 0);
    }

    #[test]
    fn what_is_entered_is_read_again() {
        let path = std::env::temp_dir().join(format!("ledger-{}.md", std::process::id()));
        let mut ledger = Ledger::create(&path).expect("a new file");
        assert!(Ledger::create(&path).is_err(), "one that is there is left alone");
        let code = Code::named("commit", "code");
        ledger.append(Entry::today("0..9", &code, true, "9 seeds")).expect("written");
        let read = Ledger::read(&path).expect("a ledger");
        fs::remove_file(&path).expect("it was there");
        assert_eq!(read.passed("0..9", &code, "seeds"), 9);
    }

    #[test]
    fn a_file_that_is_no_ledger_is_refused() {
        let head = format!("{HEAD}\n|---|---|---|---|---|---|\n");
        assert!(parse("# Title\n").is_err() && parse(&format!("{HEAD}\n")).is_err());
        assert!(parse(&format!("{head}words behind it\n")).is_err());
        assert!(parse(&format!("{head}| 0..1 | 2026-01-01 | a | b | passed | |")).is_err());
        assert!(parse(&head).expect("empty").is_empty());
    }
}
