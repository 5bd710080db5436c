//! A line of a ledger.

use std::ops::Range;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::code::Code;

/// What stands above the entries of every ledger.
pub(crate) const HEAD: &str = "| what | date | commit | code | result | figures |";

/// The word of a slice that found nothing.
const PASSED: &str = "passed";

/// A slice of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    what: String,
    date: String,
    code: Code,
    passed: bool,
    figures: String,
}

impl Entry {
    /// A slice that ends today. `what` was run, such as a range of seeds or a name; `figures` say what came out, as in
    /// `200 seeds, 31 crashes`.
    #[must_use]
    pub fn today(what: &str, code: &Code, passed: bool, figures: &str) -> Self {
        let text = |text: &str| text.replace(['|', '\n'], " ").trim().to_owned();
        let mut date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        date.truncate("2026-01-01".len());
        Self { what: text(what), date, code: code.clone(), passed, figures: text(figures) }
    }

    /// What was run.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The range of seeds that was run, if `what` is one.
    #[must_use]
    pub fn seeds(&self) -> Option<Range<u64>> {
        let (from, to) = self.what.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    }

    /// Over which code it was run.
    #[must_use]
    pub const fn code(&self) -> &Code {
        &self.code
    }

    /// Whether nothing was found.
    #[must_use]
    pub const fn has_passed(&self) -> bool {
        self.passed
    }

    /// What came out, as it was entered.
    #[must_use]
    pub fn figures(&self) -> &str {
        &self.figures
    }

    /// The figure with this name: 31 for `crashes` in `200 seeds, 31 crashes`.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<u64> {
        self.figures.split([',', ';']).find_map(|figure| {
            let (number, words) = figure.trim().split_once(' ')?;
            if words == name { number.parse().ok() } else { None }
        })
    }

    /// As it is written.
    pub(crate) fn line(&self) -> String {
        let Self { what, date, code, passed, figures } = self;
        let (commit, hash) = (code.commit(), code.hash());
        let result = if *passed { PASSED } else { "failed" };
        format!("| {what} | {date} | {commit} | {hash} | {result} | {figures} |")
    }

    /// Reads what [`line`](Self::line) writes.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let cells = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
        let cells = cells.context("not a row of a table")?.split('|').map(str::trim);
        let cells: Vec<&str> = cells.collect();
        let [what, date, commit, hash, result, figures] = cells[..] else {
            anyhow::bail!("{} cells, not six", cells.len());
        };
        ensure!([PASSED, "failed"].contains(&result), "`{result}` is no result");
        Ok(Self {
            what: what.to_owned(),
            date: date.to_owned(),
            code: Code::named(commit, hash),
            passed: result == PASSED,
            figures: figures.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let code = Code::named("abc", "c0de");
        for passed in [true, false] {
            let entry = Entry::today("0..200", &code, passed, "200 seeds, 31 crashes");
            assert_eq!(Entry::parse(&entry.line()).expect("a row"), entry);
        }
    }

    #[test]
    fn whatever_is_entered_stays_in_its_cell() {
        let entry = Entry::today("a | b", &Code::named("c", "d"), true, "1 line\n2 lines");
        let read = Entry::parse(&entry.line()).expect("a row");
        assert_eq!((read.what(), read.figure("line 2 lines")), ("a   b", Some(1)));
    }

    #[test]
    fn a_figure_is_found_by_all_of_its_name() {
        let code = Code::named("abc", "c0de");
        let entry = Entry::today("0..9", &code, true, "9 seeds, 4 power cuts; 31 cuts, many kills");
        assert_eq!(entry.seeds(), Some(0..9));
        assert_eq!((entry.figure("cuts"), entry.figure("power cuts")), (Some(31), Some(4)));
        assert_eq!((entry.figure("kills"), entry.figure("power")), (None, None));
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for line in ["", "text", "| a | b |", "| a | b | c | d | perhaps | f |", HEAD] {
            assert!(Entry::parse(line).is_err(), "{line}");
        }
    }
}
