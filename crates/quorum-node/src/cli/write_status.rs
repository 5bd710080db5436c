//! `write-status`: what became of a write, as all members tell.

use std::io::{self, Write};

use clap::Args;
use quorum_core::WriteId;
use serde_json::Value;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::{Exit, Output};

/// Arguments of `write-status`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct WriteStatusArguments {
    /// The write's name, from its receipt
    #[arg(value_name = "WRITE_ID")]
    pub write_id: WriteId,
    /// Wait until so many members hold it, or --timeout has passed
    #[arg(long, value_name = "K")]
    pub copies: Option<usize>,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `write-status`.
///
/// # Errors
///
/// If the node cannot be asked, or the write is too old to tell.
pub fn run(arguments: &WriteStatusArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let (id, timeout) = (arguments.write_id, arguments.connection.timeout);
    let status = converse(async {
        client.write_status(id, arguments.copies, timeout).await.map_err(explain)
    })?;
    output.show(&status, |out| write_status(&status, out))?;
    let is_short = status["reached"] == Value::Bool(false);
    let exit = match status["outcome"].as_str() {
        Some("committed") if !is_short => Exit::Ok,
        Some("not_applied") => Exit::Error,
        _ => Exit::QuorumNotMet,
    };
    Ok(exit)
}

fn write_status(status: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    write!(out, "{}: {} copies", text(&status["outcome"]), status["copies"])?;
    if !status["needed"].is_null() {
        write!(out, ", {} needed, in {}", status["needed"], text(&status["namespace"]))?;
    }
    writeln!(out)?;
    for member in status["members"].as_array().into_iter().flatten() {
        writeln!(out, "  {}  {}", text(&member["node"]), text(&member["state"]))?;
    }
    Ok(())
}
