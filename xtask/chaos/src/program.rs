//! Running the system's programs: with a deadline, and with errors that name the command line.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// None of them takes long, but the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program to its successful end, and returns what it wrote to stdout.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    run_with(program, arguments, "").await
}

/// The same, with something to read on stdin.
pub(crate) async fn run_with(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let line = || format!("`{program} {}`", arguments.join(" "));
    let mut command = Command::new(program);
    // In a group of its own, since a Ctrl-C is for this program alone.
    command.args(arguments).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", line()))?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    // One that does not read, or has ended already, says so by its status.
    let _unread = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output())
        .await
        .with_context(|| format!("{} was still running after {} s", line(), LIMIT.as_secs()))??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", line(), output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no UTF-8", line()))
}
