//! What is asked of a node, before it is decided which node. (pure)

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use quorum_core::{Durability, PeerId, WriteId};

use super::error::ClientError;
use super::url::{NodeUrl, key_path, push_query};
use crate::config::{Consistency, WriteQuorum};
use crate::record::{Key, Namespace};

/// How a write is to be done. What is left out is as the node's configuration says.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "whoever writes fills in all of it")]
pub struct WriteOptions {
    /// The write's name: the same for every attempt at the same write.
    pub write_id: WriteId,
    /// Durable copies needed.
    pub w: Option<WriteQuorum>,
    /// How long the node waits for them.
    pub timeout: Option<Duration>,
    /// How durable a copy has to be.
    pub durability: Option<Durability>,
    /// Whether the same write was asked for before: then it is looked for at a read quorum first.
    pub is_retry: bool,
}

impl WriteOptions {
    /// A write of this name, done as the node's configuration says.
    #[must_use]
    pub const fn new(write_id: WriteId) -> Self {
        Self { write_id, w: None, timeout: None, durability: None, is_retry: false }
    }
}

/// Which part of a namespace is listed.
#[derive(Debug, Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "the parameters of one request")]
pub struct ListQuery {
    /// Only keys that start so.
    pub prefix: Vec<u8>,
    /// Only keys behind this one.
    pub after: Option<Vec<u8>>,
    /// At most so many; left out, as many as the node likes.
    pub limit: Option<usize>,
    /// Whether values come along.
    pub values: bool,
}

/// A request without the address of a node.
pub(super) struct Outgoing {
    method: Method,
    path_and_query: String,
    pub(super) write_id: Option<WriteId>,
    is_retry: bool,
    pub(super) body: Bytes,
}

impl Outgoing {
    pub(super) fn plain(path_and_query: impl Into<String>) -> Self {
        let path_and_query = path_and_query.into();
        let (write_id, is_retry) = (None, false);
        Self { method: Method::GET, path_and_query, write_id, is_retry, body: Bytes::new() }
    }

    pub(super) fn batch(body: Bytes, is_retry: bool) -> Self {
        Self { method: Method::POST, is_retry, body, ..Self::plain("/v1/batch") }
    }

    pub(super) fn forget(member: &PeerId) -> Self {
        let body = format!("{{\"confirm\":\"{member}\"}}").into();
        Self { method: Method::POST, body, ..Self::plain(format!("/v1/peers/{member}/forget")) }
    }

    pub(super) fn write_status(
        write_id: WriteId,
        copies: Option<usize>,
        timeout: Option<Duration>,
    ) -> Self {
        let mut path = format!("/v1/writes/{write_id}");
        if let Some(copies) = copies {
            push_query(&mut path, "copies", copies.to_string().as_bytes());
        }
        if let Some(timeout) = timeout {
            push_query(&mut path, "timeout", format!("{}ms", timeout.as_millis()).as_bytes());
        }
        Self::plain(path)
    }

    pub(super) fn watch(namespace: &Namespace, prefix: &[u8], after: Option<&str>) -> Self {
        let mut path = format!("/v1/watch/{namespace}");
        if !prefix.is_empty() {
            push_query(&mut path, "prefix", prefix);
        }
        if let Some(after) = after {
            push_query(&mut path, "after", after.as_bytes());
        }
        Self::plain(path)
    }

    pub(super) fn write(
        method: Method,
        namespace: &Namespace,
        key: &Key,
        body: Bytes,
        options: &WriteOptions,
    ) -> Self {
        let mut path = key_path(namespace, key);
        if let Some(w) = options.w {
            push_query(&mut path, "w", w.to_string().as_bytes());
        }
        if let Some(timeout) = options.timeout {
            push_query(&mut path, "timeout", format!("{}ms", timeout.as_millis()).as_bytes());
        }
        if let Some(durability) = options.durability {
            push_query(&mut path, "durability", durability.as_str().as_bytes());
        }
        let (write_id, is_retry) = (Some(options.write_id), options.is_retry);
        Self { method, path_and_query: path, write_id, is_retry, body }
    }

    pub(super) fn read(namespace: &Namespace, key: &Key, consistency: Option<Consistency>) -> Self {
        let mut path = key_path(namespace, key);
        if let Some(consistency) = consistency {
            push_query(&mut path, "consistency", consistency.as_str().as_bytes());
        }
        Self::plain(path)
    }

    pub(super) fn list(namespace: &Namespace, query: &ListQuery) -> Self {
        let mut path = format!("/v1/kv/{namespace}");
        if !query.prefix.is_empty() {
            push_query(&mut path, "prefix", &query.prefix);
        }
        if let Some(after) = &query.after {
            push_query(&mut path, "after", after);
        }
        if let Some(limit) = query.limit {
            push_query(&mut path, "limit", limit.to_string().as_bytes());
        }
        if query.values {
            push_query(&mut path, "values", b"true");
        }
        Self::plain(path)
    }

    pub(super) fn export(namespace: Option<&Namespace>) -> Self {
        let mut path = "/v1/export".to_owned();
        if let Some(namespace) = namespace {
            push_query(&mut path, "namespace", namespace.as_str().as_bytes());
        }
        Self::plain(path)
    }

    /// The request for one node.
    pub(super) fn build(
        &self,
        node: &NodeUrl,
        body: Full<Bytes>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let uri = format!("{node}{}", self.path_and_query);
        let mut request = Request::builder().method(&self.method).uri(uri);
        if let Some(write_id) = self.write_id {
            request = request.header("idempotency-key", write_id.to_string());
        }
        if self.is_retry {
            request = request.header("quorum-retry", "1");
        }
        request.body(body).map_err(|error| ClientError::Settings {
            detail: format!("no request can be made of that: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_says_what_was_asked_for_and_nothing_else() {
        let namespace = Namespace::new("ns").expect("a name");
        let key = Key::new("k").expect("a key");
        let mut options = WriteOptions::new(WriteId::from_bytes([7; 16]));
        let path = |options: &WriteOptions| {
            Outgoing::write(Method::PUT, &namespace, &key, Bytes::new(), options).path_and_query
        };
        assert_eq!(path(&options), "/v1/kv/ns/k");
        options.w = Some(WriteQuorum::All);
        options.timeout = Some(Duration::from_millis(1_500));
        options.durability = Some(Durability::Relaxed);
        assert_eq!(path(&options), "/v1/kv/ns/k?w=all&timeout=1500ms&durability=relaxed");
    }

    #[test]
    fn only_a_retry_says_that_it_is_one() {
        let node: NodeUrl = "http://a:1".parse().expect("an address");
        for (is_retry, said) in [(false, None), (true, Some("1"))] {
            let request = Outgoing::batch(Bytes::new(), is_retry).build(&node, Full::default());
            let request = request.expect("a request");
            let header = request.headers().get("quorum-retry");
            assert_eq!(header.map(|header| header.to_str().expect("text")), said);
        }
    }

    #[test]
    fn a_page_can_start_behind_any_key() {
        let namespace = Namespace::new("ns").expect("a name");
        let query = ListQuery {
            prefix: b"a/".to_vec(),
            after: Some(b"a/\xff".to_vec()),
            limit: Some(2),
            values: true,
        };
        let path = Outgoing::list(&namespace, &query).path_and_query;
        assert_eq!(path, "/v1/kv/ns?prefix=a%2F&after=a%2F%FF&limit=2&values=true");
    }
}
