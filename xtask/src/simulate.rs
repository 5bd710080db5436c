//! `simulate`: whole meshes of this node in virtual time, and the proof that planted bugs are found.
//!
//! ```text
//! cargo xtask simulate --seeds 0..5000             a slice; two threads unless --threads says otherwise
//! cargo xtask simulate --seed 17 --trace           one run again, with every event
//! cargo xtask simulate --seeds A..B --ledger       the same, and a line in docs/reliability/simulation.md if all passed
//! cargo xtask simulate --campaign 0..500000        slices of at most an hour that go on where the ledger ends
//! cargo xtask simulate --planted                   plants every bug; fails if one is not found
//! ```

use std::ops::Range;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quorum_ledger::{Code, Entry, Ledger, code};

use crate::process::root;

const LEDGER: &str = "docs/reliability/simulation.md";
/// Seeds within which every planted bug must be found.
const PLANTED_WITHIN: u64 = 500;
/// Seeds of one step of a campaign; the first is short, for an estimate.
const STEP: u64 = 2_000;
const FIRST_STEP: u64 = 100;
const SLICE_MAX: Duration = Duration::from_secs(60 * 60);

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first().map(String::as_str) {
        Some("--planted") => planted(arguments.get(1).map(String::as_str)),
        Some("--campaign") => campaign(arguments.get(1).context("--campaign takes A..B")?),
        _ => {
            let ledger = arguments.iter().any(|argument| argument == "--ledger");
            let rest: Vec<&str> =
                arguments.iter().map(String::as_str).filter(|a| *a != "--ledger").collect();
            let protocol = ledger.then(protocol).transpose()?;
            let said = simulate(Build::Soon, &rest)?;
            protocol.map_or(Ok(()), |protocol| enter(&protocol, &rest, &said))
        }
    }
}

/// How the runner is built; with every assertion of a debug build in any case.
#[derive(Debug, Clone, Copy)]
enum Build {
    /// What other commands have built is used, and what is slow otherwise is made fast.
    Soon,
    /// As fast as can be: it takes minutes, which hours make good.
    Fast,
}

/// Builds the runner and runs it. Tells whether it found nothing.
fn runner(build: Build, feature: &str, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["run", "--quiet"]);
    match build {
        Build::Soon => {
            for (package, level) in [("quorum-core", 2), ("quorum-node", 1)] {
                let setting = format!("profile.dev.package.{package}.opt-level={level}");
                command.args(["--config", &setting]);
            }
        }
        Build::Fast => {
            command.args(["--profile", "simulation"]);
        }
    }
    command.args(["-p", "quorum-node", "--example", "simulate", "--features", feature, "--"]);
    let output = command.args(arguments).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found_nothing = output.status.success();
    ensure!(found_nothing || output.status.code() == Some(1), "the simulation could not run");
    Ok((found_nothing, said))
}

/// Runs seeds of the code as it is.
fn simulate(build: Build, arguments: &[&str]) -> anyhow::Result<String> {
    let (found_nothing, said) = runner(build, "testing", arguments)?;
    print!("{said}");
    ensure!(found_nothing, "a promise was broken");
    Ok(said)
}

fn planted(only: Option<&str>) -> anyhow::Result<()> {
    let source = std::fs::read_to_string(root().join("crates/quorum-core/src/planted.rs"))?;
    let bugs: Vec<&str> = names(&source).filter(|name| only.is_none_or(|o| o == *name)).collect();
    ensure!(!bugs.is_empty(), "no such bug");
    let seeds = format!("0..{PLANTED_WITHIN}");
    let mut missed = Vec::new();
    println!("{:<24} {:<16} found by", "bug", "at seed");
    for bug in bugs {
        let found = match find(bug, &seeds)? {
            Some(found) => found,
            None => {
                missed.push(bug);
                "MISSED".to_owned()
            }
        };
        println!("{bug:<24} {found}");
    }
    ensure!(missed.is_empty(), "not found within {PLANTED_WITHIN} seeds: {}", missed.join(", "));
    Ok(())
}

/// The seed and the check that find a bug.
fn find(bug: &str, seeds: &str) -> anyhow::Result<Option<String>> {
    let (_, said) = runner(Build::Soon, "planted-bugs", &["--bug", bug, "--seeds", seeds])?;
    let first = said.lines().find_map(|line| line.strip_prefix("seed "));
    Ok(first.map(|line| {
        let (seed, rest) = line.split_once(": ").unwrap_or((line, ""));
        let check = rest.split(']').next().unwrap_or("").trim_start_matches('[');
        format!("{seed:<16} {check}")
    }))
}

/// The variants of the enum of planted bugs, by the list of all of them.
fn names(source: &str) -> impl Iterator<Item = &str> {
    let list = source.split("pub const ALL").nth(1).unwrap_or("");
    let list = list.split("];").next().unwrap_or("");
    list.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.strip_suffix(','))
}

/// Goes on where the ledger ends, step by step, for at most an hour. What is left is estimated after a short first step.
fn campaign(range: &str) -> anyhow::Result<()> {
    let (from, to) = parse(range)?;
    let protocol = protocol()?;
    let mut next = reached(&protocol, from..to)?;
    // Built first, so that the estimate is one of seeds alone.
    println!("building the simulation as fast code, which takes some minutes");
    runner(Build::Fast, "testing", &["--seeds", "0..0"])?;
    let began = Instant::now();
    let (mut done, mut step) = (0, FIRST_STEP);
    while next < to && began.elapsed() < SLICE_MAX {
        let end = (next + step).min(to);
        step = STEP;
        let seeds = format!("{next}..{end}");
        let said = simulate(Build::Fast, &["--seeds", &seeds])?;
        enter(&protocol, &["--seeds", &seeds], &said)?;
        done += end - next;
        next = end;
        let per_seed = began.elapsed() / u32::try_from(done).unwrap_or(u32::MAX);
        let left = per_seed * u32::try_from(to - next).unwrap_or(u32::MAX);
        let (left, slice) = (left.as_secs() / 60, SLICE_MAX.as_secs() / 60);
        println!("up to seed {next} of {to}; about {left} min left, in slices of {slice} min");
    }
    Ok(())
}

fn parse(range: &str) -> anyhow::Result<(u64, u64)> {
    let (from, to) = range.split_once("..").context("expected A..B")?;
    Ok((from.parse()?, to.parse()?))
}

/// Up to which seed of a range the ledger goes for this protocol code.
fn reached(protocol: &Code, range: Range<u64>) -> anyhow::Result<u64> {
    Ok(Ledger::read(&root().join(LEDGER))?.next_seed(&range, protocol))
}

/// What a run's outcome depends on: totals add up only while it is the same.
fn protocol() -> anyhow::Result<Code> {
    Code::of(root(), code::SIMULATION)
}

/// Adds a line to the ledger, for seeds that passed.
fn enter(protocol: &Code, arguments: &[&str], said: &str) -> anyhow::Result<()> {
    let seeds = arguments.iter().position(|a| *a == "--seeds").and_then(|at| arguments.get(at + 1));
    let seeds = seeds.context("--ledger needs --seeds")?;
    let figures = said.lines().find(|line| line.contains(" seeds, ")).unwrap_or_default();
    Ledger::read(&root().join(LEDGER))?.append(Entry::today(seeds, protocol, true, figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_bug_is_listed_and_there_are_enough() {
        let source = std::fs::read_to_string(root().join("crates/quorum-core/src/planted.rs"));
        let source = source.expect("readable");
        assert!(names(&source).count() >= 20);
    }
}
