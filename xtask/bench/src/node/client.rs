//! What the driver asks of a node, over HTTP with a connection that is kept.

use anyhow::{Context, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::http::Connection;

/// Where everything is written.
const NAMESPACE: &str = "bench";
/// Items of a page.
const PAGE_ITEMS: usize = 1_000;

/// One connection.
pub(crate) struct Client {
    connection: Connection,
}

/// What a node says about itself, as far as it is used.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) reachable: usize,
    pub(crate) records: u64,
    pub(crate) content_digest: Option<String>,
}

/// What a node says about a peer, as far as it is used.
#[derive(Debug, Deserialize)]
pub(crate) struct Peer {
    pub(crate) node: String,
    /// Writes held there that the peer lacks; nothing before its first word.
    pub(crate) missing_writes: Option<u64>,
    /// Records sent to it because it lacked them, and their bytes.
    pub(crate) repaired_records: u64,
    pub(crate) repaired_bytes: u64,
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

/// A page of a listing, as far as it is used.
#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    key: String,
    #[serde(default)]
    value: String,
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

    /// Reads one record, with this consistency.
    pub(crate) async fn get(&mut self, key: &str, consistency: &str) -> Result<Bytes> {
        let path = format!("/v1/kv/{NAMESPACE}/{key}?consistency={consistency}");
        self.connection.get(&path).await
    }

    /// Lists every record, page after page, and shows `take` each key with its value, which is empty unless `values`.
    pub(crate) async fn list(
        &mut self,
        values: bool,
        mut take: impl FnMut(String, String),
    ) -> Result<()> {
        let mut after = String::new();
        loop {
            let path =
                format!("/v1/kv/{NAMESPACE}?limit={PAGE_ITEMS}&values={values}&after={after}");
            let page: Page = serde_json::from_slice(&self.connection.get(&path).await?)?;
            for item in page.items {
                take(item.key, item.value);
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// Reads everything as lines of JSON, and shows `take` each piece.
    pub(crate) async fn export(&mut self, take: impl FnMut(&[u8])) -> Result<()> {
        self.connection.download("/v1/export", take).await
    }

    /// An error unless the node takes writes.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        self.connection.get("/readyz").await?;
        Ok(())
    }

    pub(crate) async fn status(&mut self) -> Result<Status> {
        self.json("/v1/status").await
    }

    /// With the digest of everything that it holds.
    pub(crate) async fn status_with_digest(&mut self) -> Result<Status> {
        self.json("/v1/status?digest=true").await
    }

    pub(crate) async fn peers(&mut self) -> Result<Vec<Peer>> {
        self.json("/v1/peers").await
    }

    async fn json<T: serde::de::DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        let answer = self.connection.get(path).await?;
        serde_json::from_slice(&answer).with_context(|| format!("{path} answers otherwise"))
    }
}
