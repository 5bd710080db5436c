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

#[derive(Serialize)]
struct Line<'a> {
    date: String,
    commit: String,
    protocol: String,
    #[serde(flatten)]
    sum: &'a Sum,
}

/// Appends a line for what was run.
pub(crate) fn append(root: &Path, sum: &Sum) -> anyhow::Result<()> {
    let mut date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    date.truncate("2026-01-01".len());
    let line = Line { date, commit: commit(root)?, protocol: protocol(root)?, sum };
    let path = root.join(LEDGER);
    std::fs::create_dir_all(path.parent().context("the ledger is in a folder")?)?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    writeln!(file, "{}", serde_json::to_string(&line)?)?;
    println!("entered in {LEDGER}");
    Ok(())
}

/// The commit that is checked out, marked if the code is not exactly that.
fn commit(root: &Path) -> anyhow::Result<String> {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .current_dir(root)
        .output()
        .context("git names the commit")?;
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
