//! All mutants of quorum-core, piece by piece, in slices of at most an hour. What the ledger has already counts.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quorum_ledger::{Code, Entry, Ledger};

use super::DECISIONS;
use super::tool::{self, Choice, Outcome};
use crate::process::root;

/// Where campaigns are recorded.
const LEDGER: &str = "docs/reliability/mutants.md";

/// What is changed. Tests may come to it: what was noticed before is noticed then, too.
const CODE: &[&str] = &["crates/quorum-core/src"];

/// Mutants of one piece, after which the ledger is written: whoever interrupts a slice loses no more than that.
const PIECE: usize = 50;

/// Longest slice; the next one goes on where it ended.
const SLICE_MAX: Duration = Duration::from_secs(60 * 60);

/// What a mutant takes, if the ledger does not say.
const SECONDS_EACH: u64 = 10;

/// What was run, for mutants that had been missed.
const MISSED_BEFORE: &str = "missed before";

/// What the names of missed mutants follow behind the figures.
const BEFORE_NAMES: &str = "; missed: ";

/// What names are written between, and what stands for the bar, which ends a cell.
const BETWEEN: &str = " // ";
const BAR: char = '¦';

/// A part of all mutants.
struct Piece {
    name: String,
    choice: Choice,
}

/// Runs the pieces that the ledger lacks, as many as an hour allows.
pub(super) fn run() -> Result<()> {
    let code = Code::of(root(), CODE)?;
    let mut ledger = read()?;
    let mut open = pieces()?;
    open.retain(|piece| !ledger.of(&code).any(|entry| entry.what() == piece.name));
    let (began, mut left) = (Instant::now(), open.len());
    for piece in open {
        let each = piece_seconds(&ledger);
        if began.elapsed() + Duration::from_secs(each) > SLICE_MAX {
            break;
        }
        let minutes = (each * left as u64).div_ceil(60);
        println!("{left} pieces left, about {minutes} min; now {}", piece.name);
        let outcome = tool::run(&piece.choice)?;
        ledger.append(entry(&piece.name, &code, &outcome))?;
        left -= 1;
    }
    if left > 0 {
        println!("the slice is over; the same command goes on: {left} pieces left");
    }
    print_summary(&ledger, &code);
    Ok(())
}

/// Tries again what is missed.
pub(super) fn run_missed() -> Result<()> {
    let code = Code::of(root(), CODE)?;
    let mut ledger = read()?;
    let missed = missed(ledger.of(&code));
    ensure!(!missed.is_empty(), "the ledger says of no mutant that it is missed");
    let outcome = tool::run_again(&missed)?;
    ledger.append(entry(MISSED_BEFORE, &code, &outcome))?;
    print_summary(&ledger, &code);
    Ok(())
}

/// Prints what the ledger adds up to over the code as it is.
pub(super) fn summary() -> Result<()> {
    print_summary(&read()?, &Code::of(root(), CODE)?);
    Ok(())
}

fn read() -> Result<Ledger> {
    Ledger::read(&root().join(LEDGER))
}

fn pieces() -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let groups = [
        ("decisions", Choice::only(DECISIONS.iter().copied())),
        ("the rest", Choice::without(DECISIONS)),
    ];
    for (group, all) in groups {
        let parts = tool::count(&all)?.div_ceil(PIECE);
        pieces.extend((0..parts).map(|number| Piece {
            name: format!("{group} {}/{parts}", number + 1),
            choice: all.part(number, parts),
        }));
    }
    Ok(pieces)
}

/// What a piece takes, by the last one.
fn piece_seconds(ledger: &Ledger) -> u64 {
    let pieces = ledger.entries().iter().rev().filter(|entry| entry.what() != MISSED_BEFORE);
    let last = pieces.filter_map(|entry| entry.figure("seconds")).next();
    last.unwrap_or(SECONDS_EACH * PIECE as u64)
}

fn entry(what: &str, code: &Code, outcome: &Outcome) -> Entry {
    let names: Vec<String> =
        outcome.missed.iter().map(|name| name.replace('|', &BAR.to_string())).collect();
    let mut figures = outcome.figures();
    if !names.is_empty() {
        figures = format!("{figures}{BEFORE_NAMES}{}", names.join(BETWEEN));
    }
    Entry::today(what, code, names.is_empty(), &figures)
}

/// Those that are missed still.
fn missed<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<String> {
    let mut missed = Vec::new();
    for entry in entries {
        if entry.what() == MISSED_BEFORE {
            missed.clear();
        }
        let names = entry.figures().split_once(BEFORE_NAMES).map_or("", |(_, names)| names);
        let names = names.split(BETWEEN).filter(|name| !name.is_empty());
        missed.extend(names.map(|name| name.replace(BAR, "|")));
    }
    missed
}

fn print_summary(ledger: &Ledger, code: &Code) {
    let sum = |figure| ledger.of(code).filter_map(|entry| entry.figure(figure)).sum::<u64>();
    let missed = missed(ledger.of(code));
    let (noticed, hung, unviable) = (sum("noticed"), sum("hung"), sum("unviable"));
    let viable = noticed + hung + missed.len() as u64;
    println!("{code}: {viable} mutants that compile, and {unviable} that do not");
    println!("{noticed} noticed, {hung} by hanging, {} missed", missed.len());
    if viable > 0 {
        println!("{:.1} % killed", (noticed + hung) as f64 * 100.0 / viable as f64);
    }
    for name in missed {
        println!("missed: {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(noticed: usize, missed: &[&str]) -> Outcome {
        let missed = missed.iter().map(|name| (*name).to_owned()).collect();
        Outcome { noticed: vec![String::new(); noticed], missed, ..Outcome::default() }
    }

    #[test]
    fn what_was_missed_is_so_until_it_is_noticed() {
        let code = Code::named("abc", "c0de");
        let first = entry("decisions 1/2", &code, &outcome(3, &["a.rs: replace | with ^", "b"]));
        let again = entry(MISSED_BEFORE, &code, &outcome(1, &["b"]));
        let last = entry("decisions 2/2", &code, &outcome(4, &["c"]));
        assert_eq!(missed([&first].into_iter()), ["a.rs: replace | with ^", "b"]);
        assert_eq!(missed([&first, &again].into_iter()), ["b"]);
        assert_eq!(missed([&first, &again, &last].into_iter()), ["b", "c"]);
        let figures = ["noticed", "missed", "seconds"].map(|name| first.figure(name));
        assert_eq!((figures, first.has_passed()), ([Some(3), Some(2), Some(0)], false));
    }
}
