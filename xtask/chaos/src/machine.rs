//! Where and when something was run.

use anyhow::Result;
use quorum_core::Random;
use quorum_node::SystemRandom;

use crate::program::run;

pub(crate) fn fresh_seed() -> u64 {
    // Short enough to be typed.
    SystemRandom::default().next_u64() % 1_000_000_000
}

pub(crate) async fn today() -> Result<String> {
    Ok(run("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).await?.trim().to_owned())
}

/// The commit of the checkout, if it is one; with a plus if something was changed.
pub(crate) async fn commit() -> String {
    let Ok(commit) = run("git", &["rev-parse", "--short=12", "HEAD"]).await else {
        return "unknown".to_owned();
    };
    let changed = run("git", &["status", "--porcelain", "--untracked-files=no"]).await;
    let mark = if changed.is_ok_and(|changed| changed.trim().is_empty()) { "" } else { "+" };
    format!("{}{mark}", commit.trim())
}
