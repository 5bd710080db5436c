//! `GET /v1/watch/{namespace}`: changes as they are applied here, as server-sent events.
//!
//! An event's id names its place in this node's order of changes; whoever comes back with the last one goes on behind it,
//! also after a restart of the node. Nothing is buffered: a page is read from the store when the client has taken the one
//! before. A client that takes nothing at all is cut off by its connection's write deadline.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use quorum_core::Incarnation;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::path;
use super::problem::Problem;
use super::query::WatchParameters;
use crate::bytes_json;
use crate::record::Namespace;
use crate::service::Service;
use crate::store::{Change, Changes, StoreError, StoredRecord};

/// Changes looked at at once.
const PAGE_CHANGES: usize = 256;
/// How often a silent stream says that it is alive, and how far it is; oftener where clients are cut off sooner.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The places for watchers. Cloning shares them.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))))
    }
}

pub(super) async fn watch(
    State(service): State<Service>,
    State(places): State<Places>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let namespace = path::watched_namespace(&uri)?;
    let WatchParameters { prefix, after } = WatchParameters::parse(&uri, &headers)?;
    let place = Arc::clone(&places.0).try_acquire_owned().map_err(|_| Problem::Overloaded)?;
    let changed = service.changes();
    let incarnation = service.store().origin().incarnation;
    let after = match after {
        None => *changed.borrow(),
        Some((of, number)) => {
            let here = service.store().changes(number, 1)?;
            match here {
                Changes::Page { .. } if of == incarnation => number,
                Changes::Page { .. } => {
                    let newest = *changed.borrow();
                    return Err(gone(incarnation, newest, newest));
                }
                Changes::Trimmed { oldest, newest } => {
                    return Err(gone(incarnation, oldest, newest));
                }
            }
        }
    };
    let keep_alive = KEEP_ALIVE.min(service.config().watch.stall_timeout / 3);
    let watcher = Watcher {
        keep_alive,
        service,
        namespace,
        prefix,
        incarnation,
        after,
        changed,
        is_new: true,
        said_at: Instant::now(),
        _place: place,
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(events(watcher))).into_response())
}

fn gone(incarnation: Incarnation, oldest: u64, newest: u64) -> Problem {
    Problem::WatchGone { oldest: id(incarnation, oldest), newest: id(incarnation, newest) }
}

/// The name of a place in the order of changes.
fn id(incarnation: Incarnation, number: u64) -> String {
    format!("{incarnation}-{number}")
}

struct Watcher {
    service: Service,
    namespace: Namespace,
    prefix: Bytes,
    incarnation: Incarnation,
    /// The last change that was looked at.
    after: u64,
    changed: watch::Receiver<u64>,
    is_new: bool,
    keep_alive: Duration,
    /// When something was said last.
    said_at: Instant,
    _place: OwnedSemaphorePermit,
}

fn events(watcher: Watcher) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold(Some(watcher), async |watcher| {
        let Some(mut watcher) = watcher else { return Ok(None) };
        Ok(match watcher.next().await? {
            Next::Events(events) => Some((events, Some(watcher))),
            Next::Last(event) => Some((event, None)),
            Next::End => None,
        })
    })
}

enum Next {
    Events(Bytes),
    Last(Bytes),
    End,
}

impl Watcher {
    /// The next piece of the stream, once there is something to say.
    async fn next(&mut self) -> Result<Next, StoreError> {
        if std::mem::take(&mut self.is_new) {
            return Ok(Next::Events(self.event("ready", self.after, &Value::Object(Map::new()))));
        }
        loop {
            match self.service.changes_after(self.after, PAGE_CHANGES).await? {
                Changes::Trimmed { oldest, .. } => {
                    // Too slow: what came next is forgotten. The id says from where to go on.
                    return Ok(Next::Last(self.event("gone", oldest, &Value::Object(Map::new()))));
                }
                Changes::Page { changes, next } => {
                    let is_at_end = next == self.after;
                    self.after = next;
                    let events: Vec<u8> = changes
                        .iter()
                        .filter(|change| self.is_watched(change))
                        .flat_map(|change| self.change(change))
                        .collect();
                    if !events.is_empty() {
                        self.said_at = Instant::now();
                        return Ok(Next::Events(events.into()));
                    }
                    if self.said_at.elapsed() >= self.keep_alive {
                        return Ok(self.place());
                    }
                    if is_at_end && let Some(said) = self.wait().await {
                        return Ok(said);
                    }
                }
            }
        }
    }

    /// Waits for a later change; says what is to be said instead.
    async fn wait(&mut self) -> Option<Next> {
        let stopping = self.service.stopping().clone();
        tokio::select! {
            () = stopping.cancelled() => Some(Next::End),
            changed = self.changed.changed() => changed.err().map(|_| Next::End),
            () = tokio::time::sleep_until(self.said_at + self.keep_alive) => Some(self.place()),
        }
    }

    fn is_watched(&self, change: &Change) -> bool {
        change.namespace == self.namespace && change.key.as_bytes().starts_with(&self.prefix)
    }

    fn change(&self, change: &Change) -> Bytes {
        let mut data = Map::new();
        bytes_json::insert(&mut data, "key", change.key.as_bytes());
        let mut kind = "delete";
        if let Some(StoredRecord { record, content }) = &change.record {
            if let Some(value) = &content.value {
                bytes_json::insert(&mut data, "value", value);
                kind = "put";
            }
            data.insert("version".into(), record.version().to_string().into());
            data.insert("write_id".into(), record.write_id.to_string().into());
        }
        self.event(kind, change.number, &Value::Object(data))
    }

    /// Says which place the stream has reached, without an event (HTML standard, section 9.2.6): whoever comes back goes
    /// on from there, however much else has changed meanwhile.
    fn place(&mut self) -> Next {
        self.said_at = Instant::now();
        Next::Events(format!(": alive\nid: {}\n\n", id(self.incarnation, self.after)).into())
    }

    fn event(&self, kind: &str, number: u64, data: &Value) -> Bytes {
        let id = id(self.incarnation, number);
        format!("id: {id}\nevent: {kind}\ndata: {data}\n\n").into()
    }
}
