//! `delete`: delete one key and show the receipt.

use clap::Args;
use quorum_core::WriteId;

use super::connection::{ConnectionArguments, run as converse};
use super::target::TargetArguments;
use super::write_options::{WriteArguments, new_write_id, show_outcome};
use super::{Exit, Output};

/// Arguments of `delete`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct DeleteArguments {
    /// What to delete.
    #[command(flatten)]
    pub target: TargetArguments,
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

/// Runs `delete`. A key that has no value is deleted all the same: another node may have one.
///
/// # Errors
///
/// As `put`.
pub fn run(arguments: &DeleteArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let (namespace, key) = arguments.target.parse()?;
    let client = arguments.connection.client()?;
    let write_id = arguments.write_id.unwrap_or_else(new_write_id);
    let mut options = arguments.write.options(write_id, arguments.connection.timeout);
    // Whoever names a write may have asked for it before.
    options.is_retry = arguments.write_id.is_some();
    let result = converse(async { Ok(client.delete(&namespace, &key, &options).await) })?;
    let target = &arguments.target.target;
    let what = format!("the deletion of {target}");
    show_outcome(result, &what, &format!("quorum-node delete {target}"), output)
}
