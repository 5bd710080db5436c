//! What has changed since the baseline. (pure)
//!
//! Instructions hardly differ between two runs of one program, so more than [`INSTRUCTIONS_TOLERANCE`] is a change. Times do
//! differ: a time has changed if every round of one run was slower than every round of the other *and* the medians differ
//! by more than [`TIME_TOLERANCE`]. Times of another machine are shown and not judged.

use std::fmt;

use crate::figures::{CaseFigures, Figures, Spread, count, duration};

/// 2 %.
const INSTRUCTIONS_TOLERANCE: f64 = 0.02;
/// 10 %: less is not worth a look, even where no two rounds overlap. On a machine that others use too, medians of one program
/// differ by more than that, which is what the rounds are for.
const TIME_TOLERANCE: f64 = 0.10;

/// Two runs, case by case.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// What to know before reading.
    notes: Vec<String>,
    rows: Vec<Row>,
}

/// One case, in one run or in both.
#[derive(Debug)]
struct Row {
    before: Option<CaseFigures>,
    now: Option<CaseFigures>,
    changes: Vec<Change>,
}

/// What is worth looking at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Slower,
    Faster,
    MoreInstructions,
    FewerInstructions,
    /// The baseline does not know the case.
    Added,
    /// Only the baseline knows the case.
    NotMeasured,
}

impl Change {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Slower => "SLOWER",
            Self::Faster => "faster",
            Self::MoreInstructions => "MORE INSTRUCTIONS",
            Self::FewerInstructions => "fewer instructions",
            Self::Added => "new",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Comparison {
    /// Cases in the order of `now`, then those that it has not.
    pub(crate) fn of(before: &Figures, now: &Figures) -> Self {
        let same_machine = before.machine.is_as_fast_as(&now.machine);
        let mut notes = vec![format!(
            "before: {}, {} ({})",
            before.date,
            before.version,
            before.commit.as_deref().unwrap_or("no commit")
        )];
        if !same_machine {
            notes.push(format!(
                "the baseline is from another machine ({}, {} cores): times are not judged",
                before.machine.processor, before.machine.cores
            ));
        }
        if before.machine.compiler != now.machine.compiler {
            notes.push(format!(
                "the baseline is from another compiler: {}",
                before.machine.compiler
            ));
        }
        let mut rows: Vec<Row> = now
            .cases
            .iter()
            .map(|case| match before.of(&case.name) {
                Some(old) => Row::of(old, case, same_machine),
                None => Row { before: None, now: Some(case.clone()), changes: vec![Change::Added] },
            })
            .collect();
        let gone = before.cases.iter().filter(|case| now.of(&case.name).is_none());
        rows.extend(gone.map(|case| Row {
            before: Some(case.clone()),
            now: None,
            changes: vec![Change::NotMeasured],
        }));
        Self { notes, rows }
    }

    /// Whether anything takes longer, or more instructions.
    pub(crate) fn is_worse(&self) -> bool {
        let mut changes = self.rows.iter().flat_map(|row| &row.changes);
        changes.any(|change| matches!(change, Change::Slower | Change::MoreInstructions))
    }
}

impl Row {
    fn of(before: &CaseFigures, now: &CaseFigures, judges_time: bool) -> Self {
        let time = judges_time.then(|| time_changed(before.nanos, now.nanos)).flatten();
        let instructions = before.instructions.zip(now.instructions);
        let instructions = instructions.and_then(|(before, now)| instructions_changed(before, now));
        let changes = [time, instructions].into_iter().flatten().collect();
        Self { before: Some(before.clone()), now: Some(now.clone()), changes }
    }
}

fn time_changed(before: Spread, now: Spread) -> Option<Change> {
    if now.min > before.max && now.median > before.median * (1.0 + TIME_TOLERANCE) {
        Some(Change::Slower)
    } else if now.max < before.min && now.median < before.median * (1.0 - TIME_TOLERANCE) {
        Some(Change::Faster)
    } else {
        None
    }
}

fn instructions_changed(before: f64, now: f64) -> Option<Change> {
    if now > before * (1.0 + INSTRUCTIONS_TOLERANCE) {
        Some(Change::MoreInstructions)
    } else if now < before * (1.0 - INSTRUCTIONS_TOLERANCE) {
        Some(Change::FewerInstructions)
    } else {
        None
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(out, "{note}")?;
        }
        writeln!(out, "\n| case | before | now | ratio | instructions before | now | ratio | |")?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(out, "{row}")?;
        }
        let changed = self.rows.iter().filter(|row| !row.changes.is_empty()).count();
        writeln!(out, "\n{changed} of {} cases are marked", self.rows.len())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = [&self.before, &self.now];
        let name = both.iter().find_map(|case| case.as_ref()).map_or("", |case| &case.name);
        let nanos = both.map(|case| case.as_ref().map(|case| case.nanos.median));
        let instructions = both.map(|case| case.as_ref().and_then(|case| case.instructions));
        let [before, now] = nanos.map(|nanos| nanos.map_or_else(|| "-".to_owned(), duration));
        let [counted_before, counted_now] = instructions.map(count);
        let changes: Vec<&str> = self.changes.iter().map(|change| change.as_str()).collect();
        write!(
            out,
            "| `{name}` | {before} | {now} | {} | {counted_before} | {counted_now} | {} | {} |",
            ratio(nanos),
            ratio(instructions),
            changes.join(", ")
        )
    }
}

/// Now divided by before.
fn ratio(values: [Option<f64>; 2]) -> String {
    match values {
        [Some(before), Some(now)] if before > 0.0 => format!("{:.2}", now / before),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;

    fn case(name: &str, nanos: [f64; 3], instructions: impl Into<Option<f64>>) -> CaseFigures {
        CaseFigures::new(name, &nanos, instructions.into())
    }

    /// The marks of one case in two runs.
    fn marks(before: CaseFigures, now: CaseFigures) -> Vec<Change> {
        let mut comparison = Comparison::of(&figures(vec![before]), &figures(vec![now]));
        comparison.rows.remove(0).changes
    }

    #[test]
    fn more_than_two_percent_of_the_instructions_are_a_change() {
        let instructions = |count| case("a", [1.0; 3], count);
        assert_eq!(marks(instructions(1_000.0), instructions(1_020.0)), []);
        assert_eq!(marks(instructions(1_000.0), instructions(980.0)), []);
        assert_eq!(marks(instructions(1_000.0), instructions(1_021.0)), [Change::MoreInstructions]);
        assert_eq!(marks(instructions(1_000.0), instructions(979.0)), [Change::FewerInstructions]);
    }

    #[test]
    fn a_time_has_changed_if_all_rounds_and_the_medians_say_so() {
        let time = |nanos| case("a", nanos, None);
        let before = time([95.0, 100.0, 105.0]);
        assert_eq!(marks(before.clone(), time([120.0, 125.0, 130.0])), [Change::Slower]);
        assert_eq!(marks(before.clone(), time([70.0, 75.0, 80.0])), [Change::Faster]);
        assert_eq!(marks(before.clone(), time([104.0, 125.0, 130.0])), [], "one round as before");
        assert_eq!(marks(before, time([106.0, 107.0, 108.0])), [], "by too little");
    }

    #[test]
    fn times_of_another_machine_are_not_judged_but_instructions_are() {
        let before = figures(vec![case("a", [1.0; 3], 100.0)]);
        let mut now = figures(vec![case("a", [9.0; 3], 200.0)]);
        now.machine.processor = "Q".to_owned();
        let comparison = Comparison::of(&before, &now);
        assert_eq!(comparison.rows[0].changes, [Change::MoreInstructions]);
        assert!(comparison.to_string().contains("another machine (P, 2 cores)"), "{comparison}");
    }

    #[test]
    fn what_was_not_counted_in_both_runs_has_not_changed() {
        assert_eq!(marks(case("a", [1.0; 3], None), case("a", [1.0; 3], 7.0)), []);
    }

    #[test]
    fn only_a_change_for_the_worse_is_a_failure() {
        let is_worse = |now| {
            let before = figures(vec![case("a", [100.0; 3], 100.0)]);
            Comparison::of(&before, &figures(now)).is_worse()
        };
        assert!(is_worse(vec![case("a", [200.0; 3], 100.0)]));
        assert!(is_worse(vec![case("a", [100.0; 3], 200.0)]));
        assert!(!is_worse(vec![case("a", [50.0; 3], 50.0)]));
        assert!(!is_worse(vec![case("b", [200.0; 3], 200.0)]));
    }

    #[test]
    fn every_case_of_both_runs_has_a_row() {
        let before = figures(vec![case("a", [100.0; 3], 1_000.0), case("gone", [5.0; 3], None)]);
        let now = figures(vec![case("a", [150.0; 3], 1_100.0), case("b", [2.0; 3], 7.0)]);
        assert_eq!(
            Comparison::of(&before, &now).to_string(),
            "before: 2026-01-02, 0.1.0 (abc)\n\n\
             | case | before | now | ratio | instructions before | now | ratio | |\n\
             |---|---|---|---|---|---|---|---|\n\
             | `a` | 100 ns | 150 ns | 1.50 | 1,000 | 1,100 | 1.10 | SLOWER, MORE INSTRUCTIONS |\n\
             | `b` | - | 2.00 ns | - | - | 7.0 | - | new |\n\
             | `gone` | 5.00 ns | - | - | - | - | - | not measured |\n\n\
             3 of 3 cases are marked\n"
        );
    }
}
