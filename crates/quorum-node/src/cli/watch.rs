//! `watch`: follow the changes of a namespace, over broken connections and restarts of the node.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::Value;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::{Exit, Output};
use crate::client::{Client, ClientError, Event, Watch};
use crate::record::Namespace;

/// Longest pause before the node is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Arguments of `watch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorum-node watch orders
  quorum-node --json watch orders --prefix open/ | jq .key")]
#[non_exhaustive]
pub struct WatchArguments {
    /// Whose changes
    pub namespace: Namespace,
    /// Only keys that start so
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Go on behind the change with this id, which an earlier watch has shown [default: from now on]
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `watch` until it is interrupted.
///
/// # Errors
///
/// If the node refuses, or no longer knows what came after the last change that was seen.
pub fn run(arguments: &WatchArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    converse(async {
        let mut follower = Follower { after: arguments.after.clone(), output };
        tokio::select! {
            outcome = follower.follow(&client, arguments) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Ok),
        }
    })
}

struct Follower<'a> {
    /// The last change that was shown.
    after: Option<String>,
    output: &'a mut Output,
}

impl Follower<'_> {
    /// Watches, and after a broken connection watches on from where it was.
    async fn follow(&mut self, client: &Client, what: &WatchArguments) -> anyhow::Result<Exit> {
        let mut pause = Duration::from_millis(100);
        loop {
            let prefix = what.prefix.as_bytes();
            match client.watch(&what.namespace, prefix, self.after.as_deref()).await {
                Ok(mut watch) => {
                    pause = Duration::from_millis(100);
                    if let Some(why) = self.show_all(&mut watch).await? {
                        writeln!(io::stderr(), "the connection broke: {why}; going on")?;
                    }
                }
                Err(error @ (ClientError::Lost { .. } | ClientError::Unreachable { .. })) => {
                    // The first attempt tells whether there is a node at all.
                    if self.after.is_none() {
                        return Err(explain(error));
                    }
                    writeln!(io::stderr(), "{error}; trying again")?;
                }
                Err(error @ ClientError::Refused { status: 410, .. }) => {
                    return Err(begin_anew(&error, &what.namespace));
                }
                Err(error) => return Err(explain(error)),
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Shows what comes until the stream ends; says why it broke, if it did.
    async fn show_all(&mut self, watch: &mut Watch) -> anyhow::Result<Option<ClientError>> {
        loop {
            match watch.next().await {
                Ok(Some(event)) => self.show(event)?,
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(error)),
            }
        }
    }

    fn show(&mut self, event: Event) -> anyhow::Result<()> {
        if event.kind == "gone" {
            bail!(
                "this watch was too slow: what came next is no longer known; read what is there and go on with --after {}",
                event.id
            );
        }
        // Of the stream, and not of a key: they only say how far it is.
        let is_place = matches!(event.kind.as_str(), "ready" | "place");
        if !is_place {
            let mut line = event.data.clone();
            line["event"] = event.kind.clone().into();
            line["id"] = event.id.clone().into();
            self.output.line(&line, |out| write_change(&event, out))?;
        }
        self.after = Some(event.id);
        Ok(())
    }
}

/// The error of a place that is no longer known, with what to do: what was missed is no longer
/// among the changes, but it is among the values.
fn begin_anew(error: &ClientError, namespace: &Namespace) -> anyhow::Error {
    anyhow!(
        "{error}\n  read what is there with `quorum-node list {namespace} --values` or `quorum-node \
         get`, then follow from the newest with `quorum-node watch {namespace} --after ID`"
    )
}

fn write_change(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    let field = |name: &str| match (&event.data[name], &event.data[format!("{name}_base64")]) {
        (Value::String(text), _) => text.clone(),
        (_, Value::String(base64)) => format!("base64:{base64}"),
        _ => String::new(),
    };
    write!(out, "{} {} {}", event.kind, field("key"), field("value"))
}
