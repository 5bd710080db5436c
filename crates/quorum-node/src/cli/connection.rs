//! The flags that say which node to talk to, shared by all commands that talk to one.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::client::{Client, ClientError, ClientSettings, NodeUrls};
use crate::config::tokens::client_token;

/// How long a node may take to answer unless told otherwise.
const ANSWER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// What the network may take on top of the time that a node itself waits for copies.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// Flags of a command that talks to a node.
#[derive(Debug, Clone, Args)]
#[non_exhaustive]
pub struct ConnectionArguments {
    /// Node to talk to; several, separated by commas, are tried in order when one is not reachable
    #[arg(long, value_name = "URL[,URL…]", env = "QUORUM_URL")]
    #[arg(default_value = "http://127.0.0.1:7480")]
    pub url: NodeUrls,
    /// Bearer token for the node [env: QUORUM_TOKEN, or QUORUM_TOKEN_FILE names a file with it]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// PEM file with the roots that sign the node's HTTPS certificate [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How long to wait: for the copies of a write, else for an answer, e.g. 2s or 500ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
}

impl ConnectionArguments {
    /// A client as the flags and the environment describe it.
    ///
    /// # Errors
    ///
    /// If the token or the certificates cannot be read or used.
    pub fn client(&self) -> anyhow::Result<Client> {
        let token = match &self.token {
            Some(token) => Some(token.clone()),
            None => client_token(|name| std::env::var(name).ok()).context("the token")?,
        };
        let margin = |timeout: Duration| timeout.saturating_add(ANSWER_MARGIN);
        let settings = ClientSettings {
            urls: self.url.clone(),
            token,
            ca: self.ca.clone(),
            timeout: self.timeout.map_or(ANSWER_TIMEOUT_DEFAULT, margin),
        };
        Ok(Client::new(&settings)?)
    }
}

/// Runs a command's conversation with a node to its end.
///
/// # Errors
///
/// Those of `conversation`, or of the operating system if it grants no event loop.
pub fn run<T>(conversation: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(conversation);
    // A thread that still reads from a terminal would keep the program from ending.
    runtime.shutdown_background();
    result
}

/// An error with what to do about it.
#[must_use]
pub fn explain(error: ClientError) -> anyhow::Error {
    let advice = match &error {
        ClientError::Unreachable { .. } => {
            "is the node running? Start it with `quorum-node serve --config FILE`, or name another \
             with --url"
        }
        ClientError::NotApplied { .. } => {
            "nothing was written; try again in a moment, `quorum-node status` says more"
        }
        ClientError::Refused { status: 401 | 403, .. } => {
            "present a token with --token, QUORUM_TOKEN or QUORUM_TOKEN_FILE"
        }
        ClientError::Unexpected { .. } => "is this the HTTP address of a node?",
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}\n  {advice}")
}
