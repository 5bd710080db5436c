//! `cargo xtask simulate-node`: seeded simulation of whole nodes, by the program in `xtask/simulate-node`. With `--release`
//! first, it is built with optimisation and without debug assertions.

use anyhow::Result;

use crate::process;

/// The package of the simulation.
const PACKAGE: &str = "quorum-simulate-node";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (profile, rest) = match arguments.split_first() {
        Some((first, rest)) if first == "--release" => ("release", rest),
        _ => ("dev", arguments),
    };
    let build = ["run", "--quiet", "--locked", "--profile", profile, "-p", PACKAGE, "--"];
    process::run(process::cargo(&build).args(rest))
}
