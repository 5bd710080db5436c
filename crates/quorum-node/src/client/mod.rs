//! A small client of a node's HTTP interface, for the commands.
//!
//! [`Client`] is the one place that knows how a URL is built and what an answer means. An answer
//! that is not a success becomes a [`ClientError`], whose variants say whether anything may have
//! happened and whether a retry is safe.

mod answer;
mod connect;
mod error;
mod request;
mod text;
mod url;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ETAG, HeaderMap, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use quorum_core::{PeerId, WriteId};

pub use answer::{Ack, Item, Member, MissedQuorum, Missing, Page, Problem, Receipt, Value};
pub use connect::ClientSettings;
pub use error::{ClientError, Unreachable};
pub use request::{ListQuery, WriteOptions};
pub use text::TextOrBase64;
#[cfg(feature = "testing")]
pub(crate) use url::key_path;
pub use url::{InvalidUrl, NodeUrl, NodeUrls};
pub use watch::{Event, Watch};

use crate::config::Consistency;
use crate::record::{Key, Namespace};
use connect::Connections;
use error::problem_error;
use request::Outgoing;

/// Largest answer that is held in memory: a page of 1,000 large values fits.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A client of one mesh. Clones share connections and are cheap.
///
/// With several nodes it asks the first, and the next ones in turn only when one cannot be reached
/// at all, so that a request is never sent twice without the caller's knowledge.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// Which node is asked first.
    first: usize,
}

struct Shared {
    connections: Connections,
    nodes: Vec<NodeUrl>,
    /// How long the next part of an answer may take.
    timeout: Duration,
}

impl Client {
    /// A client as `settings` describe it. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Settings`] if the token or the certificates cannot be used.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let connections = Connections::new(settings)?;
        let nodes = settings.urls.as_slice().to_vec();
        let shared = Shared { connections, nodes, timeout: settings.timeout };
        Ok(Self { shared: Arc::new(shared), first: 0 })
    }

    /// The same client, asking another node first: the one at `index`, counted round and round.
    #[must_use]
    pub fn starting_at(&self, index: usize) -> Self {
        Self { shared: Arc::clone(&self.shared), first: index % self.shared.nodes.len() }
    }

    /// The same client, asking one node only: the one at `index`, counted round and round.
    #[must_use]
    pub fn only(&self, index: usize) -> Self {
        let count = self.shared.nodes.len();
        let nodes = vec![self.shared.nodes[index % count].clone()];
        let Shared { connections, timeout, .. } = &*self.shared;
        let shared = Shared { connections: connections.clone(), nodes, timeout: *timeout };
        Self { shared: Arc::new(shared), first: 0 }
    }

    /// The nodes, in the order in which they were named.
    #[must_use]
    pub fn nodes(&self) -> &[NodeUrl] {
        &self.shared.nodes
    }

    /// Writes a value and waits for the verdict.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; it says whether the write may have happened.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the answer, not the write.
    pub async fn put(
        &self,
        namespace: &Namespace,
        key: &Key,
        value: Bytes,
        options: &WriteOptions,
    ) -> Result<Receipt, ClientError> {
        let request = Outgoing::write(Method::PUT, namespace, key, value, options);
        self.write(&request, options.write_id).await
    }

    /// Deletes a key and waits for the verdict.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// # Cancellation
    ///
    /// As [`put`](Self::put).
    pub async fn delete(
        &self,
        namespace: &Namespace,
        key: &Key,
        options: &WriteOptions,
    ) -> Result<Receipt, ClientError> {
        let request = Outgoing::write(Method::DELETE, namespace, key, Bytes::new(), options);
        self.write(&request, options.write_id).await
    }

    async fn write(&self, request: &Outgoing, write_id: WriteId) -> Result<Receipt, ClientError> {
        self.answer(request).await?.json().map_err(|error| error.with_write_id(write_id))
    }

    /// The key's current value, or `None` if it has none: at the node asked, or as consistent as it is asked to be.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn get(
        &self,
        namespace: &Namespace,
        key: &Key,
        consistency: Option<Consistency>,
    ) -> Result<Option<Value>, ClientError> {
        match self.answer(&Outgoing::read(namespace, key, consistency)).await {
            Ok(answer) => {
                let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok());
                let version = tag.map(|tag| tag.trim_matches('"').to_owned());
                Ok(Some(Value { bytes: answer.body, version }))
            }
            Err(ClientError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page of a namespace, in the order of the keys.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn list(
        &self,
        namespace: &Namespace,
        query: &ListQuery,
    ) -> Result<Page, ClientError> {
        self.answer(&Outgoing::list(namespace, query)).await?.json()
    }

    /// What the node says about itself, as JSON. With `digest`, it reads everything it holds.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn status(&self, digest: bool) -> Result<serde_json::Value, ClientError> {
        let path = if digest { "/v1/status?digest=true" } else { "/v1/status" };
        self.answer(&Outgoing::plain(path)).await?.json()
    }

    /// What the node says about its peers, as JSON.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn peers(&self) -> Result<serde_json::Value, ClientError> {
        self.answer(&Outgoing::plain("/v1/peers")).await?.json()
    }

    /// Tells the node that a member's data will not come back. The answer is JSON.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn forget(&self, member: &PeerId) -> Result<serde_json::Value, ClientError> {
        self.answer(&Outgoing::forget(member)).await?.json()
    }

    /// Everything the node holds, or one namespace of it, as lines of JSON in the order of the keys.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn export(&self, namespace: Option<&Namespace>) -> Result<Export, ClientError> {
        let (url, response) = self.send(&Outgoing::export(namespace)).await?;
        if !response.status().is_success() {
            return Err(self.whole(url, response).await?.into_error());
        }
        Ok(Export { url, body: response.into_body(), timeout: self.shared.timeout })
    }

    /// Many writes at once, worded as `POST /v1/batch` wants them; the answer as JSON, with a result for each. As a
    /// retry, every one of them needs a write id and is looked for at a read quorum first.
    ///
    /// # Errors
    ///
    /// [`ClientError`]: then each of them may have happened or not, unless the batch was refused.
    pub async fn batch(
        &self,
        body: Bytes,
        is_retry: bool,
    ) -> Result<serde_json::Value, ClientError> {
        self.answer(&Outgoing::batch(body, is_retry)).await?.json()
    }

    /// What became of a write, as JSON; with `copies`, once so many members hold it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn write_status(
        &self,
        write_id: WriteId,
        copies: Option<usize>,
        timeout: Option<Duration>,
    ) -> Result<serde_json::Value, ClientError> {
        self.answer(&Outgoing::write_status(write_id, copies, timeout)).await?.json()
    }

    /// The changes of a namespace from now on, or behind the one with the id `after`.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; if what came behind `after` is no longer known, it names the ids from which to go on.
    pub async fn watch(
        &self,
        namespace: &Namespace,
        prefix: &[u8],
        after: Option<&str>,
    ) -> Result<Watch, ClientError> {
        let (url, response) = self.send(&Outgoing::watch(namespace, prefix, after)).await?;
        if !response.status().is_success() {
            return Err(self.whole(url, response).await?.into_watch_error());
        }
        let chunks = Export { url, body: response.into_body(), timeout: WATCH_SILENCE_MAX };
        Ok(Watch { chunks, text: Vec::new() })
    }

    /// The whole answer to a request, if it is a success.
    async fn answer(&self, request: &Outgoing) -> Result<Answer, ClientError> {
        let answer = async {
            let (url, response) = self.send(request).await?;
            self.whole(url, response).await
        };
        let answer = answer.await.map_err(|error| match request.write_id {
            Some(write_id) => error.with_write_id(write_id),
            None => error,
        })?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.into_error()) }
    }

    /// Sends a request to the first node that can be reached.
    async fn send(&self, request: &Outgoing) -> Result<(NodeUrl, Response<Incoming>), ClientError> {
        let Shared { connections, nodes, timeout } = &*self.shared;
        let mut tried = Vec::new();
        for offset in 0..nodes.len() {
            let node = &nodes[(self.first + offset) % nodes.len()];
            let body = Full::new(request.body.clone());
            let sending = connections.send(request.build(node, body)?);
            match tokio::time::timeout(*timeout, sending).await {
                Ok(Ok(response)) => return Ok((node.clone(), response)),
                Ok(Err(error)) if error.is_connect() => {
                    tried.push(Unreachable { url: node.clone(), cause: innermost(&error) });
                }
                Ok(Err(error)) => return Err(ClientError::lost(node, innermost(&error))),
                Err(_elapsed) => return Err(ClientError::lost(node, silent(*timeout))),
            }
        }
        Err(ClientError::Unreachable { tried })
    }

    async fn whole(
        &self,
        url: NodeUrl,
        response: Response<Incoming>,
    ) -> Result<Answer, ClientError> {
        let (head, body) = response.into_parts();
        let timeout = self.shared.timeout;
        let body =
            match tokio::time::timeout(timeout, Limited::new(body, ANSWER_BYTES_MAX).collect())
                .await
            {
                Ok(Ok(body)) => body.to_bytes(),
                Ok(Err(error)) => return Err(ClientError::lost(&url, innermost(error.as_ref()))),
                Err(_elapsed) => return Err(ClientError::lost(&url, silent(timeout))),
            };
        Ok(Answer { url, status: head.status, headers: head.headers, body })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("nodes", &self.shared.nodes).finish_non_exhaustive()
    }
}

/// A whole answer of a node.
struct Answer {
    url: NodeUrl,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Unexpected {
            url: self.url.clone(),
            status: self.status.as_u16(),
            detail: format!("the answer is not what a node of this version says: {error}"),
            write_id: None,
        })
    }

    fn into_error(self) -> ClientError {
        let retry_after = self.headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok());
        problem_error(self.url, self.status.as_u16(), retry_after, &self.body)
    }

    /// The same for a watch: where the place that was asked for is gone, the body says which are known.
    fn into_watch_error(self) -> ClientError {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut error = self.into_error();
        if let ClientError::Refused { status: 410, detail, .. } = &mut error
            && let Some(oldest) = problem["oldest"].as_str()
            && let Some(newest) = problem["newest"].as_str()
        {
            *detail = format!("{detail}; oldest is {oldest}, newest is {newest}");
        }
        error
    }
}

/// A watch says that it is alive every ten seconds; one that is silent for longer is dead.
const WATCH_SILENCE_MAX: Duration = Duration::from_secs(30);

/// An export on its way: chunks of lines, cut anywhere.
#[derive(Debug)]
pub struct Export {
    url: NodeUrl,
    body: Incoming,
    timeout: Duration,
}

impl Export {
    /// The next bytes, or `None` at the true end: an answer that was cut short is an error.
    ///
    /// # Errors
    ///
    /// [`ClientError::Lost`] if the node went away or fell silent.
    ///
    /// # Cancellation
    ///
    /// Safe: no bytes are lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while !self.body.is_end_stream() {
            match tokio::time::timeout(self.timeout, self.body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => continue,
                },
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(ClientError::lost(&self.url, innermost(&error)));
                }
                Err(_elapsed) => return Err(ClientError::lost(&self.url, silent(self.timeout))),
            }
        }
        Ok(None)
    }
}

impl Export {
    fn unexpected(&self, detail: &str) -> ClientError {
        ClientError::Unexpected {
            url: self.url.clone(),
            status: StatusCode::OK.as_u16(),
            detail: detail.to_owned(),
            write_id: None,
        }
    }
}

/// What lies at the bottom of an error: the layers above only say that sending failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn silent(timeout: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(timeout))
}
