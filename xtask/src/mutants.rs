//! `cargo xtask mutants`: changes quorum-core in hundreds of small ways and sees whether its own tests notice.
//!
//! cargo-mutants does it, in a copy of the tree; which mutants are left out, and why, is said in `.cargo/mutants.toml`. With
//! names of files below `crates/quorum-core/src`, only those are changed. It takes an hour or two for everything, and the
//! last result is in `docs/reliability/mutants.md`.

use anyhow::{Result, bail};

use crate::process;

/// Where the crate's files are.
const SOURCE: &str = "crates/quorum-core/src";

pub(crate) fn run(files: &[String]) -> Result<()> {
    if !process::succeeds(&mut process::cargo(&["mutants", "--version"]))? {
        bail!("cargo-mutants is not installed: cargo install cargo-mutants --locked");
    }
    let output = process::target_directory().join("mutants");
    std::fs::create_dir_all(&output)?;
    let mut mutants = process::cargo(&["mutants", "-p", "quorum-core", "--all-features"]);
    // One at a time: what is looked for are tests that fail, not tests that time out.
    mutants.args(["--jobs", "1", "--output"]).arg(&output);
    for file in files {
        mutants.arg("--file").arg(format!("{SOURCE}/{file}"));
    }
    process::run(&mut mutants)
}
