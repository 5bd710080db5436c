//! Which code a campaign is about, and what git calls it as it is committed.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What decides about writes, and whatever simulates that: what `cargo xtask simulate` runs.
pub const SIMULATION: &[&str] =
    &["crates/quorum-core/src", "crates/quorum-node/src", "crates/quorum-node/examples"];

/// What `cargo xtask simulate-node` runs: the same, with what carries it, under its own harness.
pub const NODE_SIMULATION: &[&str] = &[
    "crates/quorum-core/src",
    "crates/quorum-node/src",
    "crates/quorum-transport/src",
    "xtask/simulate-node/src",
];

/// What `cargo xtask chaos` runs: the whole program, under its own harness.
pub const CHAOS: &[&str] = &[
    "crates/quorum-core/src",
    "crates/quorum-metrics/src",
    "crates/quorum-node/src",
    "crates/quorum-transport/src",
    "xtask/chaos/src",
];

/// Digits of a hash that are kept: git's own are long enough for any part of them to tell them apart.
const DIGITS: usize = 12;

/// A version of some paths of the checkout, all of it committed.
///
/// Taken when a campaign begins: somebody may work on the checkout meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    commit: String,
    hash: String,
}

impl Code {
    /// The code at `paths` in the checkout at `root`.
    ///
    /// The same hash comes out of `git rev-parse HEAD:<path>... | git hash-object --stdin`.
    ///
    /// # Errors
    ///
    /// If there is a change below the paths that is not committed: nobody could find again what was run.
    pub fn of(root: &Path, paths: &[&str]) -> Result<Self> {
        ensure!(!paths.is_empty(), "no path says which code it is about");
        let changed = git(root, &[&["status", "--porcelain", "--"], paths].concat())?;
        if !changed.is_empty() {
            bail!("the ledger names commits, and these differ from the last one:\n{changed}");
        }
        let names: Vec<String> = paths.iter().map(|path| format!("HEAD:{path}")).collect();
        let names = names.iter().map(String::as_str);
        let trees = git(root, &["rev-parse"].into_iter().chain(names).collect::<Vec<_>>())?;
        let hash = hash(root, &format!("{trees}\n"))?;
        let commit = git(root, &["rev-parse", "HEAD"])?;
        Ok(Self { commit: short(&commit)?, hash: short(&hash)? })
    }

    /// Code whose names are known.
    #[must_use]
    pub fn named(commit: impl Into<String>, hash: impl Into<String>) -> Self {
        Self { commit: commit.into(), hash: hash.into() }
    }

    /// The commit that was checked out.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// What tells this code from all other: equal over commits that change nothing in it.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "code {} of commit {}", self.hash, self.commit)
    }
}

fn short(name: &str) -> Result<String> {
    name.get(..DIGITS).map(str::to_owned).with_context(|| format!("git named something {name:?}"))
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(root).output();
    let output = output.context("cannot start git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn hash(root: &Path, text: &str) -> Result<String> {
    let mut git = Command::new("git");
    git.args(["hash-object", "--stdin"]).current_dir(root);
    let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    git.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
    let output = git.wait_with_output()?;
    ensure!(output.status.success(), "git cannot hash");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
