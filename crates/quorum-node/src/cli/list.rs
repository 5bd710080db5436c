//! `list`: the keys of a namespace, in order.

use anyhow::anyhow;
use clap::Args;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::target::readable;
use super::{Exit, Output};
use crate::client::{Client, Item, ListQuery};
use crate::record::Namespace;

/// Records asked for at once.
const PAGE_RECORDS: usize = 1_000;

/// Arguments of `list`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct ListArguments {
    /// Namespace to list
    pub namespace: Namespace,
    /// Only keys that start so
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Only keys behind this one
    #[arg(long, value_name = "KEY")]
    pub after: Option<String>,
    /// At most so many [default: all]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Show values too, behind a tab
    #[arg(long)]
    pub values: bool,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `list`: one key a line; with `--json`, one object a line.
///
/// # Errors
///
/// If the node cannot be asked.
pub fn run(arguments: &ListArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    converse(list(&client, arguments, output))?;
    Ok(Exit::Ok)
}

async fn list(
    client: &Client,
    arguments: &ListArguments,
    output: &mut Output,
) -> anyhow::Result<()> {
    let ListArguments { namespace, prefix, after, limit, values, .. } = arguments;
    let mut left = limit.unwrap_or(usize::MAX);
    let mut query = ListQuery {
        prefix: prefix.clone().unwrap_or_default().into_bytes(),
        after: after.clone().map(String::into_bytes),
        limit: None,
        values: *values,
    };
    while left > 0 {
        query.limit = Some(left.min(PAGE_RECORDS));
        let page = client.list(namespace, &query).await.map_err(explain)?;
        let unclear = |error: String| anyhow!("the node's answer: {error}");
        for item in &page.items {
            let line = line(item).map_err(unclear)?;
            output.line(item, |out| out.write_all(line.as_bytes()))?;
        }
        left = left.saturating_sub(page.items.len());
        query.after = page.next_bytes().map_err(unclear)?;
        if query.after.is_none() || page.items.is_empty() {
            break;
        }
    }
    Ok(())
}

fn line(item: &Item) -> Result<String, String> {
    let key = readable(&item.key_bytes()?);
    Ok(match item.value_bytes()? {
        Some(value) => format!("{key}\t{}", readable(&value)),
        None => key,
    })
}
