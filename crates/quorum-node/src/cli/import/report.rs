//! What an import says while it runs and at its end.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// How the records of an import fared.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Records that are committed by this run.
    pub(super) committed: u64,
    /// Records that may or may not survive.
    pub(super) indeterminate: u64,
    /// Records that were not written.
    pub(super) not_applied: u64,
    /// Records that the node will never take.
    pub(super) refused: u64,
    /// Lines that mean no record.
    pub(super) bad: u64,
    /// Lines that an earlier run had committed.
    pub(super) resumed_behind: u64,
    /// Every line up to this one is committed, or was bad and skipped.
    pub(super) lines_done: u64,
    /// The name of the import: under the same one, the same lines are written only once.
    pub(super) import_id: String,
    /// How long it took.
    pub(super) seconds: f64,
}

impl Summary {
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { committed, indeterminate, not_applied, refused, bad, seconds, .. } = self;
        let rate = if *seconds > 0.0 { *committed as f64 / seconds } else { 0.0 };
        if self.resumed_behind > 0 {
            writeln!(out, "resumed behind line {}", self.resumed_behind)?;
        }
        write!(out, "{committed} committed, {indeterminate} indeterminate, ")?;
        write!(out, "{not_applied} not applied, {refused} refused, {bad} bad lines ")?;
        writeln!(out, "in {seconds:.1} s ({rate:.0} records/s)")
    }
}

/// A progress bar where there is a terminal, and messages about single lines.
pub(super) struct Progress {
    bar: ProgressBar,
    shown: Instant,
}

impl Progress {
    /// For an input of so many bytes, if that is known.
    pub(super) fn new(bytes: Option<u64>) -> Self {
        const REDRAWS_PER_SECOND: u8 = 10;
        let bar = match bytes {
            _ if !io::stderr().is_terminal() => ProgressBar::hidden(),
            Some(bytes) => ProgressBar::new(bytes).with_style(style(
                "{wide_bar} {bytes}/{total_bytes}  {msg}  {elapsed}, {eta} left",
            )),
            None => {
                ProgressBar::new_spinner().with_style(style("{spinner} {bytes}  {msg}  {elapsed}"))
            }
        };
        if !bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
        }
        Self { bar, shown: Instant::now() }
    }

    pub(super) fn update(&mut self, position: u64, committed: u64) {
        const PAUSE: Duration = Duration::from_millis(100);
        if !self.bar.is_hidden() && self.shown.elapsed() >= PAUSE {
            self.shown = Instant::now();
            self.bar.set_position(position);
            self.bar.set_message(format!("{committed} committed"));
        }
    }

    /// Says something about a line. A reader of standard error that went away misses it.
    pub(super) fn complain(&self, number: u64, problem: impl std::fmt::Display) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr(), "line {number}: {problem}");
        });
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_every_fate() {
        let summary = Summary { committed: 90, bad: 1, seconds: 2.0, ..Summary::default() };
        let mut out = Vec::new();
        summary.write(&mut out).expect("a Vec takes everything");
        let shown = String::from_utf8(out).expect("text");
        let expected = "90 committed, 0 indeterminate, 0 not applied, 0 refused, 1 bad lines \
                        in 2.0 s (45 records/s)\n";
        assert_eq!(shown, expected);
    }
}
