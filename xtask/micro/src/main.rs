//! Micro-benchmarks of the parts of quorum: what one operation takes, in time and in instructions, beside a kept baseline.
//!
//! - [`case`]: what is measured, and [`cases`] with a file for each part of the product.
//! - [`time`]: medians, by criterion; [`instructions`]: counts, by callgrind. Both start this program anew for every
//!   measurement, so that no case finds what another has left behind.
//! - [`extent`]: which cases how often.
//! - [`figures`]: what was measured, on which [`machine`]; [`compare`] sets it beside what was measured before.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program")]

mod case;
mod cases;
mod compare;
mod extent;
mod figures;
mod instructions;
mod machine;
mod time;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use mimalloc::MiMalloc;

use case::Case;
use compare::Comparison;
use extent::Extent;
use figures::Figures;

/// The one that the node has.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Where the baseline is, from the checkout's root on.
const BASELINE: &str = "docs/benchmarks/micro.json";

/// Says what an operation takes, and whether that has changed.
#[derive(Debug, Parser)]
enum Command {
    /// Measure every case
    Micro(Extent),
    /// Measure every case and set it beside the baseline
    Compare {
        #[command(flatten)]
        extent: Extent,
        /// What was measured before
        #[arg(long, default_value = BASELINE)]
        baseline: PathBuf,
        /// End with an error if anything changed for the worse
        #[arg(long)]
        fail: bool,
    },
    /// Do every operation once, to show that it works
    Once,
    /// Measure the time of one case, into a folder; for this program itself
    #[command(hide = true)]
    Time { name: String, folder: PathBuf },
    /// Do the operation of one case so many times; for this program itself
    #[command(hide = true)]
    Repeat { name: String, count: u64 },
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Micro(extent) => print!("{}", extent.measure()?),
        Command::Compare { extent, baseline, fail } => {
            // Read first: a baseline that cannot be read must not cost the minutes of a measurement.
            let mut before = read(&baseline)?;
            before.cases.retain(|case| extent.has(&case.name));
            let comparison = Comparison::of(&before, &extent.measure()?);
            print!("{comparison}");
            if fail && comparison.is_worse() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Once => {
            for case in cases::all() {
                (case.prepare)()(1);
                println!("{}", case.name);
            }
        }
        Command::Time { name, folder } => time::measure_here(find(&name)?, &folder),
        Command::Repeat { name, count } => {
            (find(&name)?.prepare)()(count);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> anyhow::Result<Case> {
    cases::all().into_iter().find(|case| case.name == name).context("no case of this name")
}

fn read(path: &Path) -> anyhow::Result<Figures> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
