//! `put`: write one value and show its receipt.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{ArgGroup, Args};
use quorum_core::WriteId;

use super::connection::{ConnectionArguments, run as converse};
use super::target::TargetArguments;
use super::write_options::{WriteArguments, new_write_id, show_outcome};
use super::{Exit, Output};

/// Arguments of `put`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("content").required(true))]
#[command(after_help = "\
Examples:
  quorum-node put demo/greeting hello
  quorum-node put demo/photo --file photo.jpg --w all
  date | quorum-node put demo/now --stdin")]
#[non_exhaustive]
pub struct PutArguments {
    /// Where to write.
    #[command(flatten)]
    pub target: TargetArguments,
    /// The value; - reads it from standard input
    #[arg(group = "content", allow_hyphen_values = true)]
    pub value: Option<String>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE", group = "content")]
    pub file: Option<PathBuf>,
    /// Read the value from standard input
    #[arg(long, group = "content")]
    pub stdin: bool,
    /// Name of the write: give the same name to retry a write safely [default: a new one]
    #[arg(long, value_name = "UUID")]
    pub write_id: Option<WriteId>,
    /// How to write.
    #[command(flatten)]
    pub write: WriteArguments,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `put`.
///
/// # Errors
///
/// If nothing was written. A write whose outcome is unknown is no error but
/// [`Exit::QuorumNotMet`].
pub fn run(arguments: &PutArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let (namespace, key) = arguments.target.parse()?;
    let value = read_value(arguments)?;
    let client = arguments.connection.client()?;
    let write_id = arguments.write_id.unwrap_or_else(new_write_id);
    let mut options = arguments.write.options(write_id, arguments.connection.timeout);
    // Whoever names a write may have asked for it before.
    options.is_retry = arguments.write_id.is_some();
    let result =
        converse(async { Ok(client.put(&namespace, &key, value.into(), &options).await) })?;
    let target = &arguments.target.target;
    show_outcome(result, target, &format!("quorum-node put {target} …"), output)
}

fn read_value(arguments: &PutArguments) -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    match (&arguments.value, &arguments.file) {
        (Some(text), _) if text != "-" => value.extend_from_slice(text.as_bytes()),
        (_, Some(path)) if path != Path::new("-") => {
            let mut file =
                File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            file.read_to_end(&mut value)
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
        _ => {
            io::stdin().read_to_end(&mut value).context("cannot read standard input")?;
        }
    }
    Ok(value)
}
