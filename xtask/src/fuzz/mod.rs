//! `cargo xtask fuzz`: tries to refute the claims about everything that reads bytes from elsewhere.
//!
//! The programs are in `xtask/fuzz`, a workspace of its own; libFuzzer is linked into them. The instrumentation that guides it
//! is a pass of LLVM that stable Rust has, so neither a nightly toolchain nor another cargo command is needed; a C++
//! compiler is. Inputs that are worth keeping are in `xtask/fuzz/corpus`; what a run finds beyond them lies in
//! `target/fuzz/corpus` and is used again by the next one.

mod arguments;
mod campaign;
pub(crate) mod program;
mod targets;

use anyhow::{Result, bail};

use arguments::{Arguments, What};
use program::{Outcome, Programs};
use targets::{TARGETS, Target};

/// Executions of a target unless another number is asked for.
const EXECUTIONS_DEFAULT: u64 = 200_000;

const USAGE: &str =
    "usage: cargo xtask fuzz [TARGET...] [--executions N] [--duration TIME] [--ledger]
       cargo xtask fuzz --replay [TARGET [FILE...]]
       cargo xtask fuzz --minimise [TARGET...]
       cargo xtask fuzz --list

N may be written as 200k or 50m, TIME as 90s, 10m or 1h. With --ledger, what is already in
docs/reliability/fuzz.md for the same code counts towards N, and a run ends after an hour at most.";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = Arguments::parse(arguments)?;
    match &arguments.what {
        What::Help => println!("{USAGE}"),
        What::List => list(),
        What::Replay(files) => replay(&arguments.targets, files)?,
        What::Minimise => minimise(&arguments.targets)?,
        What::Slice if arguments.is_for_the_ledger => {
            let wanted = arguments.executions.unwrap_or(EXECUTIONS_DEFAULT);
            campaign::run(&all_or(&arguments.targets), wanted, arguments.duration)?;
        }
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
