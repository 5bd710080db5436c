//! `cargo xtask mutants`: changes quorum-core in hundreds of small ways and sees whether its own tests notice.
//!
//! ```text
//! cargo xtask mutants tracker.rs policy.rs     these files below crates/quorum-core/src
//! cargo xtask mutants --slice 8                about so many, of the files in which none may be missed
//! cargo xtask mutants --campaign               all of them, for an hour at most; goes on where the ledger ends
//! cargo xtask mutants --missed                 those that the ledger says are missed, once there are tests for them
//! cargo xtask mutants --summary                what the ledger adds up to
//! ```
//!
//! cargo-mutants does it, in a copy of the tree; which mutants are left out, and why, is said in `.cargo/mutants.toml`, and
//! the results are in `docs/reliability/mutants.md`.

mod campaign;
mod tool;

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use tool::{Choice, Outcome};

/// Counting, the rule and what is held: no mutant may be missed here.
const DECISIONS: &[&str] = &["tracker.rs", "policy.rs", "frontier.rs"];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let first = arguments.first().map(String::as_str);
    if first == Some("--summary") {
        return campaign::summary();
    }
    if !is_installed()? {
        bail!("cargo-mutants is not installed: cargo install cargo-mutants --locked");
    }
    match first {
        Some("--slice") => slice(arguments.get(1).context("--slice takes a number")?.parse()?),
        Some("--campaign") => campaign::run(),
        Some("--missed") => campaign::run_missed(),
        Some(other) if other.starts_with('-') => bail!("unknown argument `{other}`"),
        Some(_) => report(&tool::run(&Choice::only(arguments.iter().map(String::as_str)))?),
        None => bail!(
            "which? Names of files below crates/quorum-core/src, --slice, --campaign, or --missed"
        ),
    }
}

/// Whether there is the program that makes and tries mutants.
fn is_installed() -> Result<bool> {
    process::succeeds(&mut process::cargo(&["mutants", "--version"]))
}

/// About `wanted` mutants of the decisions: others for another commit, so that in time all get their turn.
fn slice(wanted: usize) -> Result<()> {
    let all = Choice::only(DECISIONS.iter().copied());
    let parts = tool::count(&all)?.div_ceil(wanted.max(1)).max(1);
    let commit = process::output(&mut process::command("git", &["rev-parse", "HEAD"]))?;
    let number = u32::from_str_radix(commit.get(..8).context("a commit")?, 16)? as usize;
    report(&tool::run(&all.part(number % parts, parts))?)
}

fn report(outcome: &Outcome) -> Result<()> {
    println!("{}", outcome.figures());
    for name in &outcome.missed {
        println!("missed: {name}");
    }
    ensure!(outcome.missed.is_empty(), "no test notices {} of these changes", outcome.missed.len());
    Ok(())
}
