//! Seeded simulation of whole nodes: the code of `quorum-node`, real QUIC and real TLS, on a simulated network, disk and
//! clock, in virtual time.
//!
//! - [`plan`]: what a seed does to a mesh; [`nemesis`] does it.
//! - [`member`]: one node, with its [`clock`], its [`socket`] and its [`crypto`].
//! - [`clients`] write and read, and write down what they saw; [`judge`] says what must be true of that.
//! - [`run`]: one seed, with a [`trace`] of everything it did; [`campaign`]: many of them; [`ledger`]: what has been run.
//!
//! `docs/reliability/node-simulation.md` says what is real in it and what is not.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program")]

mod campaign;
mod clients;
mod clock;
mod crypto;
mod judge;
mod ledger;
mod member;
mod nemesis;
mod plan;
mod run;
mod socket;
mod trace;

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorum_ledger::{Code, code};
use tracing_subscriber::EnvFilter;

use campaign::Campaign;

/// Simulates whole meshes, a seed each: faults overlap writes of several clients, and in the end every acknowledged
/// write must be at every member.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds to run, the last one excluded
    #[arg(long, value_parser = range, default_value = "0..200")]
    seeds: Range<u64>,
    /// Of a hundred seeds, how many are run twice and must do the same both times
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100))]
    replay: u64,
    /// Seeds at once
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Minutes after which no further seed begins; what is left is told
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=60))]
    minutes: u64,
    /// Append what was run to the ledger, and begin with the first seed that has not passed according to it
    #[arg(long)]
    ledger: bool,
    /// Print what happens, and what the nodes log; `RUST_LOG` says how much of it
    #[arg(long)]
    events: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parsed =
        text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.filter(|range| !range.is_empty()).ok_or_else(|| "give FROM..TO, as in 0..200".to_owned())
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { seeds, replay, threads, minutes, ledger, events } = Arguments::parse();
    if events {
        let shown = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("info,trace=debug,turmoil=off"));
        let output = tracing_subscriber::fmt().with_env_filter(shown).with_writer(std::io::stderr);
        output.without_time().with_ansi(false).init();
    }
    let root = Path::new(".");
    let code = ledger.then(|| Code::of(root, code::NODE_SIMULATION)).transpose()?;
    let seeds = match &code {
        Some(code) => ledger::next_seed(root, code, &seeds)?..seeds.end,
        None => seeds,
    };
    if seeds.is_empty() {
        println!("all of these seeds have passed over this code");
        return Ok(ExitCode::SUCCESS);
    }
    run::watch_panics();
    let at_most = Duration::from_secs(minutes * 60);
    let campaign = Campaign { seeds: seeds.clone(), replay_percent: replay, threads, at_most };
    let sum = campaign.run();
    println!("{}", serde_json::to_string_pretty(&sum)?);
    if let Some(code) = code {
        ledger::append(root, &code, &sum)?;
    }
    if sum.to < seeds.end {
        println!("to go on: the same command, or with --seeds {}..{}", sum.to, seeds.end);
    }
    if sum.failed.is_empty() {
        println!("{} seeds passed, {} of them twice alike", sum.passed, sum.replayed);
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("failed seeds: {:?}", sum.failed);
    Ok(ExitCode::FAILURE)
}
