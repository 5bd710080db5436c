//! `get`: read one value, as this node has it or as a quorum does.

use std::str::FromStr;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::target::TargetArguments;
use super::{Exit, Output};
use crate::client::TextOrBase64;
use crate::config::Consistency;

/// Arguments of `get`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct GetArguments {
    /// What to read.
    #[command(flatten)]
    pub target: TargetArguments,
    /// What the read must promise [default: as the namespace is configured]
    #[arg(long, value_name = "local|quorum|linearizable", value_parser = Consistency::from_str)]
    pub consistency: Option<Consistency>,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// A value with its version.
#[derive(Serialize)]
struct Found {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    version: Option<String>,
}

/// Runs `get`: the bytes of the value on standard output, and nothing else.
///
/// # Errors
///
/// If there is no value, or the node cannot be asked.
pub fn run(arguments: &GetArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let (namespace, key) = arguments.target.parse()?;
    let client = arguments.connection.client()?;
    let consistency = arguments.consistency;
    let found =
        converse(async { client.get(&namespace, &key, consistency).await.map_err(explain) })?;
    let Some(found) = found else {
        bail!("{} has no value on this node", arguments.target.target);
    };
    if !output.is_json() {
        output.raw(&found.bytes)?;
        return Ok(Exit::Ok);
    }
    let (value, value_base64) = match TextOrBase64::of(&found.bytes) {
        TextOrBase64::Text(text) => (Some(text), None),
        TextOrBase64::Base64(text) => (None, Some(text)),
    };
    output.show(&Found { value, value_base64, version: found.version }, |_| Ok(()))?;
    Ok(Exit::Ok)
}
