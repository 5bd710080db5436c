//! `cargo xtask simulate-node`: seeded simulation of whole nodes, by the program in `xtask/simulate-node`.

use anyhow::Result;

use crate::process;

/// The package of the simulation.
const PACKAGE: &str = "quorum-simulate-node";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut cargo = process::cargo(&["run", "--quiet", "--locked", "-p", PACKAGE, "--"]);
    process::run(cargo.args(arguments))
}
