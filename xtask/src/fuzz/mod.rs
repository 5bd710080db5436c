//! `cargo xtask fuzz`: tries to refute the claims about everything that reads bytes from elsewhere.
//!
//! The programs are in `xtask/fuzz`, a workspace of its own; libFuzzer is linked into them. The instrumentation that guides it
//! is a pass of LLVM that stable Rust has, so neither a nightly toolchain nor another cargo command is needed; a C++
//! compiler is. Inputs that are worth keeping are in `xtask/fuzz/corpus`; what a run finds beyond them lies in
//! `target/fuzz/corpus` and is used again by the next one.

mod arguments;
mod ledger;
pub(crate) mod program;
mod targets;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use arguments::{Arguments, What};
use ledger::{Entry, Ledger};
use program::{Outcome, Programs};
use targets::{TARGETS, Target};

/// Executions of a target unless another number is asked for.
const EXECUTIONS_DEFAULT: u64 = 200_000;

/// Longest run of a campaign; the next one goes on where it ended.
const SLICE_MAX: Duration = Duration::from_secs(60 * 60);

/// A target's turn in a campaign, after which the ledger is written.
const TURN_MAX: Duration = Duration::from_secs(5 * 60);

/// How long a target runs to see how fast it is, if the ledger does not say.
const PROBE: Duration = Duration::from_secs(3);

const USAGE: &str = "usage: cargo xtask fuzz [TARGET...] [--executions N] [--duration TIME] [--ledger]
       cargo xtask fuzz --replay [TARGET [FILE...]]
       cargo xtask fuzz --minimise [TARGET...]
       cargo xtask fuzz --list

N may be written as 200k or 50m, TIME as 90s, 10m or 1h. With --ledger, what is already in
docs/reliability/fuzz.jsonl for the same code counts towards N, and a run ends after an hour at most.";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = Arguments::parse(arguments)?;
    match &arguments.what {
        What::Help => println!("{USAGE}"),
        What::List => list(),
        What::Replay(files) => replay(&arguments.targets, files)?,
        What::Minimise => minimise(&arguments.targets)?,
        What::Slice if arguments.is_for_the_ledger => campaign(&arguments)?,
        What::Slice => slice(&arguments)?,
    }
    Ok(())
}

fn list() {
    for target in TARGETS {
        println!("{:18} {}", target.name, target.summary);
    }
}

/// Runs inputs that are known: files, or what is kept.
fn replay(chosen: &[&'static Target], files: &[String]) -> Result<()> {
    let targets = all_or(chosen);
    let programs = Programs::build(&targets)?;
    for target in targets {
        let replayed = programs.replay(target, files)?;
        println!("{:18} {replayed} inputs replayed", target.name);
    }
    Ok(())
}

/// Keeps, of all that was found, the inputs that add coverage.
fn minimise(chosen: &[&'static Target]) -> Result<()> {
    let targets = all_or(chosen);
    let programs = Programs::build(&targets)?;
    for target in targets {
        let kept = programs.minimise(target)?;
        println!("{:18} {kept} inputs kept", target.name);
    }
    Ok(())
}

/// So many executions of each target, as many targets at once as there are cores.
fn slice(arguments: &Arguments) -> Result<()> {
    let targets = all_or(&arguments.targets);
    let programs = Programs::build(&targets)?;
    let duration = arguments.duration;
    let unless_asked = if duration.is_none() { Some(EXECUTIONS_DEFAULT) } else { None };
    let executions = arguments.executions.or(unless_asked);
    let outcomes = programs.run_side_by_side(&targets, executions, duration)?;
    let total: u64 = outcomes.iter().map(|(_, outcome)| outcome.executions).sum();
    println!("{} targets, {total} executions, no claim refuted", outcomes.len());
    Ok(())
}

/// Executions until the ledger has as many as asked for, in turns, for an hour at most.
fn campaign(arguments: &Arguments) -> Result<()> {
    let wanted = arguments.executions.unwrap_or(EXECUTIONS_DEFAULT);
    let targets = all_or(&arguments.targets);
    let (mut ledger, programs) = (Ledger::read()?, Programs::build(&targets)?);
    let commit = ledger::commit()?;
    let mut open = Vec::new();
    for target in targets {
        let code = ledger::code_of(target)?;
        let missing = wanted.saturating_sub(ledger.executions(target, &code));
        if missing > 0 {
            let rate = match ledger.rate(target) {
                Some(rate) => rate,
                None => programs.run(target, None, Some(PROBE))?.rate(),
            };
            open.push((target, code, missing, rate));
        }
    }
    print_estimate(&open);
    let begun = Instant::now();
    let limit = arguments.duration.unwrap_or(SLICE_MAX).min(SLICE_MAX);
    while !open.is_empty() {
        for (target, code, missing, _) in &mut open {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                println!("the slice is over; the same command goes on");
                return Ok(());
            }
            let outcome = programs.run(target, Some(*missing), Some(left.min(TURN_MAX)))?;
            *missing = missing.saturating_sub(outcome.executions);
            ledger.append(Entry::of(target, &outcome, &commit, code)?)?;
        }
        open.retain(|(_, _, missing, _)| *missing > 0);
    }
    println!("every target has its {wanted} executions");
    Ok(())
}

fn print_estimate(open: &[(&Target, String, u64, u64)]) {
    let mut seconds = 0;
    for (target, _, missing, rate) in open {
        let takes = missing / (*rate).max(1);
        seconds += takes;
        println!(
            "{:18} {missing:>11} executions to go, at about {rate}/s: {} min",
            target.name,
            takes.div_ceil(60)
        );
    }
    println!("about {} min in all, in slices of at most 60", seconds.div_ceil(60));
}

fn all_or(chosen: &[&'static Target]) -> Vec<&'static Target> {
    if chosen.is_empty() { TARGETS.iter().collect() } else { chosen.to_vec() }
}

/// The error of a target whose claim was refuted.
fn refuted(target: &Target, outcome: &Outcome) -> Result<()> {
    let Some(input) = &outcome.refuted_by else { return Ok(()) };
    bail!(
        "a claim of `{}` is false\n  input:  {}\n  again:  cargo xtask fuzz --replay {} {}\n  output: {}",
        target.name,
        input.display(),
        target.name,
        input.display(),
        outcome.log.display()
    )
}
