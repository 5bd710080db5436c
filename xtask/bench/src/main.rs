//! Durable replicated writes of several systems, side by side: the same driver, the same machine, one run.
//!
//! - [`floor`]: what the machine itself allows.
//! - [`system`]: how a cluster of three nodes of each system is started, with which settings, and how it is written to.
//! - [`load`]: clients that send their next write when the last one was answered.
//! - [`usage`]: what the servers cost, and whether anything else was running.
//! - [`rounds`]: which system is measured when.
//! - [`report`]: medians with their spread, and ratios within a round; [`plot`] draws them.

mod floor;
mod load;
mod plot;
mod report;
mod rounds;
mod system;
mod usage;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser};
use serde::Serialize;

use system::{Programs, System};

/// Says how fast quorum-node is beside others, and how fast anything can be.
#[derive(Debug, Parser)]
enum Command {
    /// Compare quorum-node with other systems
    Peers(Arguments),
    /// Measure what the machine itself allows: syncs, round trips, a hash
    Floor {
        /// Where to write: a directory on the disk in question
        #[arg(long, default_value = ".")]
        folder: PathBuf,
        /// Where to write every figure as JSON
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Draw what `peers --json` has written
    Plot {
        /// The figures
        json: PathBuf,
        /// Where to write the drawing, as SVG
        svg: PathBuf,
    },
}

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The quorum-node program
    #[arg(long)]
    node: PathBuf,
    /// Where programs of other systems are installed that are not on the path
    #[arg(long)]
    peers: Option<PathBuf>,
    /// What is compared; one that is not installed is left out
    #[arg(long, value_delimiter = ',', default_values_t = System::ALL)]
    systems: Vec<System>,
    /// Clients at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    clients: Vec<usize>,
    /// Bytes of a value
    #[arg(long, default_value_t = 300)]
    value_bytes: usize,
    /// Times that everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long clients write before it
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Where to write every figure as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    // One thread: the driver must leave the machine to what it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match Command::parse() {
        Command::Peers(arguments) => {
            let programs = Programs::find(&arguments.node, arguments.peers.as_deref());
            let measured = runtime.block_on(rounds::run(&arguments, &programs))?;
            show(&report::Report::new(&arguments, measured), arguments.json.as_deref())
        }
        Command::Floor { folder, json } => {
            let scratch = tempfile::tempdir_in(folder)?;
            show(&runtime.block_on(floor::measure(scratch.path()))?, json.as_deref())
        }
        Command::Plot { json, svg } => {
            let text = fs::read_to_string(&json).with_context(|| json.display().to_string())?;
            let drawing = plot::svg(&serde_json::from_str(&text)?)?;
            fs::write(&svg, drawing).with_context(|| svg.display().to_string())
        }
    }
}

fn show(figures: &(impl Display + Serialize), json: Option<&Path>) -> anyhow::Result<()> {
    print!("{figures}");
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(figures)?;
        fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}
