//! Durable replicated writes of several systems, side by side: the same driver, the same machine, one run.
//!
//! - [`floor`]: what the machine itself allows, with [`skeleton`], the least that a replicated write needs.
//! - [`system`]: how a cluster of three nodes of each system is started, with which settings, and how it is written to.
//! - [`mesh`]: quorum-node with few members and with many.
//! - [`data`]: quorum-node with many records.
//! - [`reads`]: what quorum-node's reads cost.
//! - [`rounds`]: which system of [`system`] is measured when.
//! - [`report`]: medians with their spread, and ratios within a round; [`plot`] draws them.
//!
//! What they share:
//!
//! - [`node`]: quorum-node in meshes of any size; [`process`]: servers as child processes.
//! - [`load`]: clients that do their next piece of work when the last one was answered.
//! - [`usage`]: what the servers cost, and whether anything else was running.
//! - [`http`], [`values`], [`log_file`], [`about`]: a connection, what is written, a file to sync, the head of a report.

mod about;
mod data;
mod embedded;
mod floor;
mod http;
mod in_process;
mod load;
mod log_file;
mod mesh;
mod node;
mod plot;
mod process;
mod reads;
mod report;
mod rounds;
mod skeleton;
mod system;
mod usage;
mod values;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use system::{Programs, System};

/// Says how fast quorum-node is beside others, and how fast anything can be.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Compare quorum-node with other systems
    Peers(Arguments),
    /// Measure quorum-node in meshes of several sizes, up to fifty members
    Mesh(mesh::Arguments),
    /// Measure three nodes with many records: writes, memory, restarts, a member that was away, listings, large values
    Data(data::Arguments),
    /// Measure reads of three nodes: local and quorum reads, from many connections
    Reads(reads::Arguments),
    /// Measure what the machine itself allows: syncs, round trips, a hash, and the bare skeleton of a replicated write
    Floor {
        /// Where to write: a directory on the disk in question
        #[arg(long, default_value = ".")]
        folder: PathBuf,
        /// Clients of the skeleton at the same time
        #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
        clients: Vec<usize>,
        /// Where to write every figure as JSON
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Be a node of the skeleton; the driver starts itself with this
    #[command(hide = true)]
    SkeletonNode(skeleton::Arguments),
    /// Draw what `peers --json` has written
    Plot {
        /// The figures
        json: PathBuf,
        /// Where to write the drawing, as SVG
        svg: PathBuf,
    },
}

/// What is measured, where its data lie, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// The quorum-node program
    #[arg(long)]
    pub(crate) node: PathBuf,
    /// Where the nodes keep their data: a directory on the disk in question [default: the system's temporary directory]
    #[arg(long, default_value_os_t = std::env::temp_dir(), hide_default_value = true)]
    pub(crate) folder: PathBuf,
    /// Where to write every figure as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Subject {
    fn json(&self) -> Option<&Path> {
        self.json.as_deref()
    }
}

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Where programs of other systems are installed that are not on the path
    #[arg(long)]
    peers: Option<PathBuf>,
    /// What is compared; one that is not installed is left out. There are also quorum-batch, with 100 records in each
    /// call, and skeleton, the least that a replicated write needs
    #[arg(long, value_delimiter = ',', default_values_t = System::DEFAULT)]
    systems: Vec<System>,
    /// Clients at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    clients: Vec<usize>,
    /// Bytes of a value; several sizes are measured one after another
    #[arg(long, value_delimiter = ',', default_values_t = [300])]
    value_bytes: Vec<usize>,
    /// Times that everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long clients write before it
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    warmup: Duration,
}

/// As quorum-node has it, so that the skeleton is no slower for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    // One thread: the driver must leave the machine to what it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ended = signal(SignalKind::terminate())?;
        // Whatever was started is stopped as its owner is dropped, in each of these cases.
        tokio::select! {
            done = run(Command::parse()) => done,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = ended.recv() => bail!("told to end"),
        }
    })
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Peers(arguments) => {
            let programs =
                Programs::find(Some(&arguments.subject.node), arguments.peers.as_deref());
            let measured = rounds::run(&arguments, &programs).await?;
            show(&report::Report::new(&arguments, measured), arguments.subject.json())
        }
        Command::Mesh(arguments) => {
            show(&mesh::measure(&arguments).await?, arguments.subject.json())
        }
        Command::Data(arguments) => {
            show(&data::measure(&arguments).await?, arguments.subject.json())
        }
        Command::Reads(arguments) => {
            show(&reads::measure(&arguments).await?, arguments.subject.json())
        }
        Command::Floor { folder, clients, json } => {
            let scratch = tempfile::tempdir_in(folder)?;
            show(&floor::measure(scratch.path(), &clients).await?, json.as_deref())
        }
        Command::SkeletonNode(arguments) => skeleton::serve(&arguments).await,
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
