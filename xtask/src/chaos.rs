//! `cargo xtask chaos`: real nodes in network namespaces, real faults, clients that record what they are told, a checker.
//!
//! This builds the node and the driver in `xtask/chaos`, and becomes the driver: so a Ctrl-C reaches it alone, and it ends
//! what it has begun.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process;

/// The driver's package, and its program.
pub(crate) const PACKAGE: &str = "quorum-chaos";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut arguments = arguments.to_vec();
    let is_release = take(&mut arguments, "--release");
    process::run(&mut process::cargo(&["build", "--locked", "-p", PACKAGE]))?;
    let mut driver = process::command(program("debug", PACKAGE), &[]);
    driver.args(&arguments);
    if needs_a_node(&arguments) {
        let build = ["build", "--locked", "-p", "quorum-node", "--profile"];
        let profile = if is_release { "release" } else { "dev" };
        process::run(process::cargo(&build).arg(profile))?;
        let folder = if is_release { "release" } else { "debug" };
        driver.arg("--node").arg(program(folder, "quorum-node"));
    }
    Err(driver.exec()).context("cannot start the driver")
}

/// Takes a flag out that is ours and not the driver's.
fn take(arguments: &mut Vec<String>, flag: &str) -> bool {
    let before = arguments.len();
    arguments.retain(|argument| argument != flag);
    arguments.len() < before
}

/// Unless one is named, or nothing is run at all.
fn needs_a_node(arguments: &[String]) -> bool {
    let without = ["summary", "--list", "--help", "-h", "--node"];
    !arguments.iter().any(|it| without.contains(&it.as_str()) || it.starts_with("--node="))
}

fn program(folder: &str, name: &str) -> PathBuf {
    process::target_directory().join(folder).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_built_only_if_one_is_run_and_none_is_named() {
        let needs =
            |line: &str| needs_a_node(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(needs("--duration 5m"));
        assert!(needs("--nodes 3"));
        for line in ["--list", "summary", "--help", "--node x", "--node=x"] {
            assert!(!needs(line), "{line}");
        }
    }

    #[test]
    fn the_driver_does_not_hear_of_what_is_ours() {
        let mut arguments = vec!["--release".to_owned(), "--json".to_owned()];
        assert!(take(&mut arguments, "--release"));
        assert_eq!(arguments, ["--json"]);
        assert!(!take(&mut arguments, "--release"));
    }
}
