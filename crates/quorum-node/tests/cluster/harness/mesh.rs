//! A mesh in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorum_core::{Clock, QuorumError, QuorumFailureReason, Receipt, WriteId};
use quorum_node::config::Config;
use quorum_node::local_mesh::LocalMesh;
use quorum_node::record::{Key, Namespace};
use quorum_node::{Service, WriteFailed, WriteRequest};
use quorum_transport::TokioClock;
use tempfile::TempDir;

use super::{PATIENCE, until};

/// Members `n1`, `n2`, …, addressed by their place from 0, with their data in a directory of their own.
#[derive(Debug)]
pub(crate) struct Mesh {
    local: LocalMesh,
    _directory: TempDir,
}

impl Mesh {
    /// A mesh whose links are all up. Writes wait for their quorum as long as a test waits for anything.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, |_| {}).await
    }

    pub(crate) async fn start_with(count: usize, adjust: impl Fn(&mut Config)) -> Self {
        Self::start_on(count, adjust, |_| Arc::new(TokioClock::new())).await
    }

    pub(crate) async fn start_on(
        count: usize,
        adjust: impl Fn(&mut Config),
        clock_of: impl Fn(usize) -> Arc<dyn Clock>,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let adjust = |config: &mut Config| {
            config.quorum.ack_timeout = PATIENCE;
            adjust(config);
        };
        let local = LocalMesh::start_with_clocks(count, directory.path(), adjust, clock_of).await;
        Self { local: local.expect("a mesh"), _directory: directory }
    }

    /// Returns once every running member has a link to every other running one, whose acks count.
    pub(crate) async fn linked(&self) {
        let running = self.local.running().count();
        until("all links are up", async || {
            self.local.running().all(|node| {
                let peers = node.service().peers();
                peers.iter().filter(|peer| peer.connected && peer.counts).count() + 1 == running
            })
        })
        .await;
    }

    pub(crate) fn service(&self, index: usize) -> Service {
        self.local.node(index).expect("a running member").service().clone()
    }

    pub(crate) fn http_addr(&self, index: usize) -> std::net::SocketAddr {
        self.local.http_addr(index).expect("a member")
    }

    pub(crate) fn data_dir(&self, index: usize) -> PathBuf {
        self.local.data_dir(index).expect("a member").clone()
    }

    pub(crate) async fn stop(&mut self, index: usize) {
        self.local.stop(index).await;
    }

    pub(crate) async fn restart(&mut self, index: usize) {
        self.local.restart(index).await.expect("a member that starts again");
    }

    /// Returns once all running members hold the same.
    pub(crate) async fn converged(&self) {
        until("all members hold the same", async || {
            let mut digests = Vec::new();
            for node in self.local.running() {
                let status = node.service().status(true).await.expect("a readable store");
                digests.push(status.content_digest);
            }
            digests.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }

    /// Returns once no peer of the member lacks any of its writes.
    pub(crate) async fn caught_up_with(&self, index: usize) {
        let service = self.service(index);
        until("no peer lacks anything", async || {
            service.peers().iter().all(|peer| peer.connected && peer.lag_writes == Some(0))
        })
        .await;
    }

    pub(crate) async fn stop_all(mut self) {
        self.local.stop_all().await;
    }
}

/// A write under the mesh's own rule.
pub(crate) fn put(key: &str, value: &str) -> WriteRequest {
    WriteRequest {
        namespace: namespace(),
        key: self::key(key),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        write_id: None,
        copies: None,
        timeout: None,
        durability: None,
        is_retry: false,
    }
}

/// Commits a write through a member that may be recovering: it takes none before it has heard from peers or until it has
/// everything again, and vouches for none that it took before it knew.
pub(crate) async fn commit(service: &Service, request: WriteRequest) {
    until("the member takes writes", async || match service.write(request.clone()).await {
        Ok(_) => true,
        Err(WriteFailed::NoContact | WriteFailed::Recovering | WriteFailed::Unsettled { .. }) => {
            false
        }
        Err(failed) => panic!("{failed}"),
    })
    .await;
}

/// The same write, under a name and with a deadline of its own.
pub(crate) fn named(id: u8, request: WriteRequest) -> WriteRequest {
    WriteRequest { write_id: Some(WriteId::from_bytes([id; 16])), ..request }
}

pub(crate) fn within(timeout: Duration, request: WriteRequest) -> WriteRequest {
    WriteRequest { timeout: Some(timeout), ..request }
}

/// The value that a member holds.
pub(crate) fn value(service: &Service, key: &str) -> Option<String> {
    let stored = service.read(&namespace(), &self::key(key)).expect("a readable store")?;
    Some(String::from_utf8(stored.content.value?.to_vec()).expect("text"))
}

/// Returns once the member holds the value.
#[track_caller]
pub(crate) fn holds<'a>(
    service: &'a Service,
    key: &'a str,
    expected: &'a str,
) -> impl Future<Output = ()> + 'a {
    until("a member gets a record", async move || value(service, key).as_deref() == Some(expected))
}

/// The receipt and reason of a write that must have missed its quorum.
#[track_caller]
pub(crate) fn missed(outcome: Result<Receipt, WriteFailed>) -> (Receipt, QuorumFailureReason) {
    match outcome {
        Err(WriteFailed::Indeterminate { receipt, cause }) => match cause {
            QuorumError::QuorumNotMet { reason, .. } => (*receipt, reason),
            other => panic!("not met for another cause: {other}"),
        },
        other => panic!("expected an indeterminate write, not {other:?}"),
    }
}

fn namespace() -> Namespace {
    Namespace::new("test").expect("a namespace")
}

fn key(text: &str) -> Key {
    Key::new(Bytes::copy_from_slice(text.as_bytes())).expect("a key")
}
