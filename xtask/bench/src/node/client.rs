//! What the driver asks of a node, over HTTP with a connection that is kept.

use anyhow::{Context, Result};
use bytes::Bytes;
use serde::Serialize;

use crate::http::Connection;

/// Where everything is written.
const NAMESPACE: &str = "bench";
/// One connection.
pub(crate) struct Client {
    connection: Connection,
}

#[derive(Serialize)]
struct Batch<'a> {
    writes: Vec<Write<'a>>,
}

#[derive(Serialize)]
struct Write<'a> {
    namespace: &'static str,
    key: &'a str,
    value: &'a str,
}

impl Client {
    pub(crate) async fn connect(http: &str) -> Result<Self> {
        Ok(Self { connection: Connection::to(http).await? })
    }

    /// Writes one record.
    pub(crate) async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        self.connection.put(&format!("/v1/kv/{NAMESPACE}/{key}"), value).await?;
        Ok(())
    }

    /// Writes many records in one call; an error unless every one is committed. Values have to be text.
    pub(crate) async fn batch(&mut self, writes: &[(String, Bytes)]) -> Result<()> {
        let mut batch = Batch { writes: Vec::with_capacity(writes.len()) };
        for (key, value) in writes {
            let value = str::from_utf8(value).context("a value is no text")?;
            batch.writes.push(Write { namespace: NAMESPACE, key, value });
        }
        let body = serde_json::to_vec(&batch)?;
        self.connection.post("/v1/batch", body.into()).await?;
        Ok(())
    }
}
