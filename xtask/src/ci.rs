//! `cargo xtask ci`: exactly what the CI machine runs, in one order, on one list.
//!
//! Everything uses the dev profile and, where it can, the same features, so that cargo builds
//! each crate once for checking and once for running. The first step that fails ends the run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::tidy::Tree;
use crate::{bench, chaos, features, fuzz, manifest, process, simulate, simulate_node, test, tidy};

/// What a step that did not fail has to say.
enum Ended {
    Passed,
    /// Passed, with a line worth repeating in the summary.
    With(String),
    /// Could not be done here, and why that is no failure.
    Skipped(String),
}

struct Step {
    name: &'static str,
    run: fn() -> Result<Ended>,
}

const STEPS: &[Step] = &[
    Step { name: "formatting", run: formatting },
    Step { name: "tidy", run: house_rules },
    Step { name: "clippy", run: clippy },
    Step { name: "documentation", run: documentation },
    Step { name: "features", run: feature_sets },
    Step { name: "licences, bans and sources", run: deny },
    Step { name: "minimum Rust", run: minimum_rust },
    Step { name: "tests, documentation tests included", run: tests },
    Step { name: "examples", run: examples },
    Step { name: "commands that the pages name", run: commands },
    Step { name: "example scripts", run: scripts },
    Step { name: "micro-benchmarks, each once", run: micro_benchmarks },
    Step { name: "benchmark driver, and a slice of it", run: benchmark },
    Step { name: "the protocol, exhaustively", run: model_check },
    Step { name: "meshes in virtual time, and planted bugs", run: simulation },
    Step { name: "whole nodes in virtual time", run: whole_nodes },
    Step { name: "claims about foreign bytes", run: fuzzing },
    Step { name: "real processes under real faults", run: real_faults },
];

/// The crates whose examples need nothing but themselves.
const EXAMPLE_CRATES: &[&str] = &["quorum-core", "quorum-transport"];
const EXAMPLE_LIMIT: Duration = Duration::from_secs(120);
const SCRIPT_LIMIT: Duration = Duration::from_secs(600);
const SLICE_LIMIT: Duration = Duration::from_secs(900);

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let start = Instant::now();
    let mut summary = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        println!("\n== {}/{} {}", index + 1, STEPS.len(), step.name);
        let begun = Instant::now();
        let ended = (step.run)();
        let seconds = begun.elapsed().as_secs();
        let (word, note) = match &ended {
            Ok(Ended::Passed) => ("passed", ""),
            Ok(Ended::With(note)) => ("passed", note.as_str()),
            Ok(Ended::Skipped(reason)) => ("skipped", reason.as_str()),
            Err(_) => ("FAILED", ""),
        };
        let line = format!("{word:8} {seconds:5} s  {} {note}", step.name);
        println!("-- {line}");
        summary.push(line);
        if let Err(error) = ended {
            print_summary(&summary, start.elapsed());
            return Err(error.context(format!("the step `{}` failed", step.name)));
        }
    }
    print_summary(&summary, start.elapsed());
    Ok(())
}

fn print_summary(lines: &[String], elapsed: Duration) {
    println!("\n== summary, {} s in all", elapsed.as_secs());
    for line in lines {
        println!("   {}", line.trim_end());
    }
}

fn formatting() -> Result<Ended> {
    process::run(&mut process::cargo(&["fmt", "--all", "--", "--check"]))?;
    Ok(Ended::Passed)
}

fn house_rules() -> Result<Ended> {
    tidy::run(&[])?;
    Ok(Ended::Passed)
}

fn clippy() -> Result<Ended> {
    let arguments =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    process::run(&mut process::cargo(&arguments))?;
    Ok(Ended::Passed)
}

fn documentation() -> Result<Ended> {
    let arguments = ["doc", "--workspace", "--no-deps", "--all-features"];
    process::run(process::cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Ended::Passed)
}

fn feature_sets() -> Result<Ended> {
    features::run()?;
    Ok(Ended::Passed)
}

fn deny() -> Result<Ended> {
    if !process::succeeds(&mut process::cargo(&["deny", "--version"]))? {
        return Ok(Ended::Skipped("(cargo-deny is not installed)".to_owned()));
    }
    // Advisories are left out: they need a database from the network.
    let arguments = ["deny", "--all-features", "check", "bans", "licenses", "sources"];
    process::run(&mut process::cargo(&arguments))?;
    Ok(Ended::Passed)
}

/// A build with the minimum Rust is the only proof that it suffices.
fn minimum_rust() -> Result<Ended> {
    let path = process::root().join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let wanted = manifest::text_at(&text, &["workspace", "package", "rust-version"])
        .context("Cargo.toml states no rust-version")?;
    let version = process::output(&mut process::command("rustc", &["--version"]))?;
    let running = version.split_whitespace().nth(1).unwrap_or_default();
    Ok(if is_release_of(running, &wanted) {
        Ended::With(format!("(this run builds with Rust {running}, which is the minimum)"))
    } else {
        Ended::Skipped(format!("(this run builds with Rust {running}, the minimum is {wanted})"))
    })
}

fn is_release_of(running: &str, minor: &str) -> bool {
    running.strip_prefix(minor).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn tests() -> Result<Ended> {
    Ok(Ended::With(format!("({})", test::totals(&[])?)))
}

/// Runs each example that the tests have just built.
fn examples() -> Result<Ended> {
    // Programs together with examples, because cargo then resolves features as for the tests.
    let arguments = ["build", "--workspace", "--all-features", "--bins", "--examples"];
    process::run(&mut process::cargo(&arguments))?;
    let mut count = 0;
    for package in EXAMPLE_CRATES {
        for file in files_in(&format!("crates/{package}/examples"))? {
            let name = file.file_stem().context("an example has a name")?;
            println!("{package}: {}", name.to_string_lossy());
            let program = process::target_directory().join("debug/examples").join(name);
            process::run_within(&mut process::command(program, &[]), EXAMPLE_LIMIT)?;
            count += 1;
        }
    }
    Ok(Ended::With(format!("({count})")))
}

/// The node itself, built beside the examples, says whether it has a command: by its help.
fn commands() -> Result<Ended> {
    let names = tidy::readme::node_commands(&Tree::read(process::root())?);
    for name in &names {
        process::output(&mut process::command(node(), &[name.as_str(), "--help"]))
            .with_context(|| format!("a page names `quorum-node {name}`"))?;
    }
    Ok(Ended::With(format!("({})", names.len())))
}

/// `docs/examples/*.sh`, small; they find the built node in `NODE_BINARY`.
fn scripts() -> Result<Ended> {
    let scripts: Vec<PathBuf> = files_in("docs/examples")?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .collect();
    for script in &scripts {
        println!("{}", script.display());
        let path = script.to_str().ok_or_else(|| anyhow!("{} is no UTF-8", script.display()))?;
        let mut command = process::command("bash", &[path, "--small"]);
        process::run_within(command.env("NODE_BINARY", node()), SCRIPT_LIMIT)?;
    }
    Ok(Ended::With(format!("({})", scripts.len())))
}

/// In the program that was built beside the examples: that they work, not how fast.
fn micro_benchmarks() -> Result<Ended> {
    let program = process::target_directory().join("debug").join(bench::MICRO);
    process::run_within(&mut process::command(program, &["once"]), SCRIPT_LIMIT)?;
    Ok(Ended::Passed)
}

/// The driver is no part of the workspace, so it is checked by itself; then it shows that it measures.
fn benchmark() -> Result<Ended> {
    process::run(&mut process::cargo(&[
        "fmt",
        "--manifest-path",
        bench::MANIFEST,
        "--",
        "--check",
    ]))?;
    process::run(&mut bench::driver("clippy", &["--all-targets", "--", "-D", "warnings"]))?;
    process::run(&mut bench::driver("test", &["--quiet"]))?;
    let mut slice = bench::driver("run", &["--quiet", "--", "peers"]);
    slice
        .args([
            "--systems",
            "quorum,quorum-batch,skeleton",
            "--clients",
            "4",
            "--rounds",
            "1",
            "--warmup",
            "200ms",
            "--duration",
            "1s",
            "--node",
        ])
        .arg(node());
    process::run_within(&mut slice, SCRIPT_LIMIT)?;
    Ok(Ended::Passed)
}

/// With optimisation: it counts states by the hundred thousand.
fn model_check() -> Result<Ended> {
    let level = "profile.dev.package.quorum-core.opt-level=2";
    let arguments = [
        "test",
        "-p",
        "quorum-core",
        "--test",
        "model_check",
        "--config",
        level,
        "--",
        "--nocapture",
    ];
    process::run_within(&mut process::cargo(&arguments), SLICE_LIMIT)?;
    Ok(Ended::Passed)
}

/// Seeds beyond the first ones that have failed once: by a fault of the node, or of the checks.
const SEEDS_THAT_FAILED: [u64; 4] = [8_715, 10_034, 13_815, 13_948];

fn simulation() -> Result<Ended> {
    simulate::run(&["--seeds".to_owned(), "0..5560".to_owned()])?;
    for seed in SEEDS_THAT_FAILED {
        simulate::run(&["--seed".to_owned(), seed.to_string()])?;
    }
    simulate::run(&["--planted".to_owned()])?;
    Ok(Ended::With("(5,560 seeds)".to_owned()))
}

fn whole_nodes() -> Result<Ended> {
    simulate_node::run(&["--seeds".to_owned(), "0..200".to_owned()])?;
    Ok(Ended::With("(200 seeds)".to_owned()))
}

/// The driver is no part of the workspace either. What was once refuted comes first.
fn fuzzing() -> Result<Ended> {
    let format = ["fmt", "--manifest-path", fuzz::program::MANIFEST, "--", "--check"];
    process::run(&mut process::cargo(&format))?;
    fuzz::run(&["--replay".to_owned()])?;
    fuzz::run(&["--executions".to_owned(), "200k".to_owned()])?;
    Ok(Ended::With("(200,000 executions a target)".to_owned()))
}

/// Network namespaces and mounts take a Linux machine's root.
fn real_faults() -> Result<Ended> {
    let user = process::output(&mut process::command("id", &["-u"]))?;
    if user.trim() != "0" {
        return Ok(Ended::Skipped("(needs root)".to_owned()));
    }
    // Built beside the node.
    let program = process::target_directory().join("debug").join(chaos::PACKAGE);
    for arguments in [&["--prove", "--duration", "20s"][..], &["--duration", "5m", "--seed", "1"]] {
        let mut driver = process::command(&program, arguments);
        driver.args(["--skip-missing", "--node"]).arg(node());
        process::run_within(&mut driver, SLICE_LIMIT)?;
    }
    Ok(Ended::With("(5 min)".to_owned()))
}

fn node() -> PathBuf {
    process::target_directory().join("debug/quorum-node")
}

/// The entries of a folder below the root in the order of their names; none if it is not there.
fn files_in(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = process::root().join(folder);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_release_counts_as_the_minimum_and_another_minor_does_not() {
        assert!(is_release_of("1.95.0", "1.95"));
        assert!(is_release_of("1.95", "1.95"));
        assert!(!is_release_of("1.96.0", "1.95"));
        assert!(!is_release_of("1.950.0", "1.95"));
    }
}
