//! Real `quorum-node` processes in network namespaces, real faults while clients write, and a checker that knows
//! nothing of either.
//!
//! - [`class`]: the classes of faults; [`needs`]: whether their tools are there; [`sandbox`]: where it all happens.
//! - [`schedule`]: what is done when, from a seed alone.
//! - A family of faults each: [`process`], [`network`], [`relay`], [`clock`], [`disk`]; [`nemesis`] does them to a
//!   [`mesh`].
//! - [`clients`] record what they are told, [`checker`] judges it; [`life`] puts the two around the faults, [`campaign`]
//!   leads lives side by side.
//! - [`report`] tells what came out, [`ledger`] keeps it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program")]

mod arguments;
mod campaign;
mod checker;
mod class;
mod clients;
mod clock;
mod disk;
mod ledger;
mod life;
mod machine;
mod mesh;
mod needs;
mod nemesis;
mod network;
mod process;
mod program;
mod relay;
mod report;
mod sandbox;
mod schedule;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use quorum_ledger::{Code, Ledger, Machine, code};

use arguments::{Arguments, Summary, What};
use campaign::Campaign;
use class::Class;
use report::Report;
use schedule::Selection;

/// Longer campaigns are cut into slices, each with a report of its own.
const SLICE_MAX: Duration = Duration::from_secs(60 * 60);

/// What `--prove` does to nodes: copies that count before they are synced.
const WEAKNESS: &str = "store.durability=relaxed";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.what {
        Some(What::Summary(Summary { ledger })) => summary(ledger),
        None if arguments.list => list(),
        None => run(arguments),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn list() -> Result<ExitCode> {
    for class in Class::ALL {
        println!("{class:20} {}", class.summary());
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(ledger: &Path) -> Result<ExitCode> {
    let code = Code::of(Path::new("."), code::CHAOS)?;
    print!("{}", ledger::summary(&Ledger::read(ledger)?, &code));
    Ok(ExitCode::SUCCESS)
}

fn run(mut arguments: Arguments) -> Result<ExitCode> {
    let (able, left_out) = needs::check(&arguments.selected(), arguments.skip_missing)?;
    if !sandbox::is_inside() {
        match sandbox::enter()? {}
    }
    arguments.seed.get_or_insert_with(machine::fresh_seed);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(slices(&arguments, &able, &left_out))
}

/// Runs the campaign in slices. The verdict is that of all of them.
async fn slices(arguments: &Arguments, able: &[Class], left_out: &[Class]) -> Result<ExitCode> {
    let scratch = sandbox::furnish().await?;
    let seed = arguments.seed.context("a seed was drawn")?;
    let selection = Selection { seed, classes: able.to_vec(), nodes: arguments.nodes };
    let count = arguments.duration.as_secs().div_ceil(SLICE_MAX.as_secs()).max(1);
    eprintln!("{}", arguments.estimate(&selection));
    let (mut first_life, mut is_good) = (arguments.first_life, true);
    // Now: somebody may work on them while the campaign runs.
    let (commit, code) = (machine::commit().await, Code::of(Path::new("."), code::CHAOS));
    let code = if arguments.ledger.is_some() { Some(code?) } else { code.ok() };
    for slice in 0..count {
        let folder = match count {
            1 => arguments.report.clone(),
            _ => arguments.report.join(format!("slice-{}", slice + 1)),
        };
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let campaign = Campaign {
            selection: selection.clone(),
            duration: arguments
                .duration
                .saturating_sub(SLICE_MAX * u32::try_from(slice)?)
                .min(SLICE_MAX),
            meshes: arguments.meshes,
            first_life,
            lives: arguments.lives,
            program: fs::canonicalize(&arguments.node)
                .with_context(|| format!("--node {}", arguments.node.display()))?,
            report: folder.clone(),
            settings: if arguments.prove { vec![WEAKNESS] } else { Vec::new() },
        };
        let done = campaign::run(&campaign, scratch.clone()).await?;
        first_life = done.next_life;
        let report = Report {
            seed,
            date: machine::today().await?,
            commit: commit.clone(),
            code: code.as_ref().map(|code| code.hash().to_owned()),
            machine: Machine::this().to_string(),
            node_program: arguments.node.display().to_string(),
            replay: arguments.replay(&selection, campaign.first_life, done.next_life),
            go_on: arguments.go_on(&selection, done.next_life),
            seconds: done.elapsed.as_secs_f64(),
            meshes: arguments.meshes.into(),
            classes: able.to_vec(),
            left_out: left_out.to_vec(),
            first_life: campaign.first_life,
            next_life: done.next_life,
            was_stopped: done.was_stopped,
            lives: done.lives,
        };
        publish(&report, &folder, arguments)?;
        if let (Some(ledger), Some(code)) = (&arguments.ledger, &code) {
            ledger::append(ledger, code, &report)?;
        }
        is_good &= if arguments.prove { proves(&report) } else { report.passed() };
        if report.was_stopped {
            break;
        }
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nodes that speak before they have synced were caught by what clients saw.
fn proves(report: &Report) -> bool {
    let caught =
        report.findings().filter(|(_, finding)| finding.kind.is_a_broken_promise()).count();
    eprintln!(
        "acknowledged before it was synced: found {caught} times{}",
        match caught {
            0 => ", so these checks prove nothing",
            _ => ", as it must be",
        }
    );
    caught > 0
}

/// Writes the report to where it was asked for, and its verdict to the terminal.
fn publish(report: &Report, folder: &Path, arguments: &Arguments) -> Result<()> {
    let json = serde_json::to_string_pretty(report)? + "\n";
    for (name, text) in [("report.json", &json), ("report.md", &report.to_string())] {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    if arguments.json {
        print!("{json}");
    }
    eprintln!("{}", report.verdict());
    eprintln!("report: {}", folder.join("report.md").display());
    if !report.passed() {
        eprintln!("to play it again: {}", report.replay);
    }
    Ok(())
}
