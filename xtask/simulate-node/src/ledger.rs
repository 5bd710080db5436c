//! The kept list of campaigns: which seeds passed on which code.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::campaign::Sum;

/// From the checkout's root on.
const LEDGER: &str = "docs/reliability/node-simulation.jsonl";

/// What decides about writes, in the order in which it is hashed; and what simulates it. Totals add up only over lines
/// with the same hash.
const PROTOCOL: &[&str] = &[
    "crates/quorum-core/src",
    "crates/quorum-transport/src",
    "crates/quorum-node/src",
    "xtask/simulate-node/src",
];
/// Faces, of which nothing takes part in a simulation.
const NOT_PROTOCOL: &[&str] = &["cli", "http", "client", "pki", "testing", "tests"];

/// Which code a campaign runs; taken when it begins, since the checkout may change meanwhile.
#[derive(Debug, Serialize)]
pub(crate) struct Code {
    commit: String,
    protocol: String,
}

#[derive(Serialize)]
struct Line<'a> {
    date: String,
    #[serde(flatten)]
    code: &'a Code,
    #[serde(flatten)]
    sum: &'a Sum,
}

impl Code {
    /// The code in the checkout at `root`.
    pub(crate) fn of(root: &Path) -> anyhow::Result<Self> {
        let mut commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
        let changed = git(root, &["status", "--porcelain", "--", "crates", "xtask", "Cargo.lock"])?;
        if !changed.is_empty() {
            commit.push_str("-dirty");
        }
        Ok(Self { commit, protocol: protocol(root)? })
    }
}

/// Appends a line for what was run.
pub(crate) fn append(root: &Path, code: &Code, sum: &Sum) -> anyhow::Result<()> {
    let mut date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    date.truncate("2026-01-01".len());
    let path = root.join(LEDGER);
    std::fs::create_dir_all(path.parent().context("the ledger is in a folder")?)?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    writeln!(file, "{}", serde_json::to_string(&Line { date, code, sum })?)?;
    println!("entered in {LEDGER}");
    Ok(())
}

fn git(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let git = Command::new("git").args(arguments).current_dir(root).output();
    let git = git.context("git tells what is checked out")?;
    ensure!(git.status.success(), "git: {}", String::from_utf8_lossy(&git.stderr));
    Ok(String::from_utf8_lossy(&git.stdout).trim().to_owned())
}

/// A hash of all protocol code.
fn protocol(root: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for folder in PROTOCOL {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut hash = blake3::Hasher::new();
    for file in files {
        hash.update(file.strip_prefix(root)?.as_os_str().as_encoded_bytes());
        hash.update(&std::fs::read(&file)?);
    }
    Ok(hash.finalize().to_hex()[..16].to_owned())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !NOT_PROTOCOL.contains(&name) {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}
