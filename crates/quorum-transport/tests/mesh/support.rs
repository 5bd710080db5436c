//! What the tests share: a store that misbehaves on demand, an observer that remembers, a node of both.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use quorum_core::testing::{KeyValue, MemoryStore};
use quorum_core::{
    Announcement, Answer, Applied, CommitOptions, Frontier, HandshakeRefusal, Incarnation,
    Incoming, Lineage, LocalStore, LogSource, Observer, Occasion, PeerId, QuerySource, Question,
    QuorumPolicy, QuorumWriter, Receipt, Record, Replay, ReplicaStore, Reply, SeqSet,
    SnapshotCursor, Staged, Version, WriteError,
};
use quorum_transport::testing::{Loopback, eventually};
use quorum_transport::{Endpoint, PeerStatus, QuicPeers, TokioClock};
use tokio::sync::watch;

pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// A memory store with levers.
pub(crate) struct Levers {
    inner: RwLock<MemoryStore>,
    /// While true, `apply` does not begin.
    pub(crate) blocked: watch::Sender<bool>,
    /// Batches waiting at the lever.
    pub(crate) waiting: AtomicUsize,
    /// Keys that are answered otherwise, and not taken.
    pub(crate) answers: Mutex<HashMap<String, Reply>>,
    /// While true, the log knows nothing.
    pub(crate) trimmed: AtomicBool,
    /// While true, what is applied is not synced yet.
    pub(crate) unsynced: AtomicBool,
    /// While true, a snapshot cannot be read.
    pub(crate) unreadable: AtomicBool,
    /// Pages of snapshots that were read.
    pub(crate) snapshot_pages: AtomicUsize,
    /// Records that were handed to `apply`.
    pub(crate) offered: AtomicUsize,
    /// Fails the next batch by a panic.
    pub(crate) panics: AtomicBool,
    /// Questions about this key are never answered, as if the disk hung there.
    pub(crate) hanging_key: Mutex<Option<Bytes>>,
    /// While true, it says that it has failed.
    pub(crate) failed: AtomicBool,
    /// What the store has to say to others.
    pub(crate) announcement: Mutex<Announcement>,
    /// What was said to it last, by member.
    pub(crate) announced: Mutex<HashMap<PeerId, Announcement>>,
}

impl Levers {
    pub(crate) fn new(name: &PeerId) -> Arc<Self> {
        Self::with_incarnation(name, 1)
    }

    pub(crate) fn with_incarnation(name: &PeerId, incarnation: u8) -> Arc<Self> {
        Arc::new(Self {
            inner: RwLock::new(empty(name, incarnation)),
            blocked: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
            answers: Mutex::default(),
            trimmed: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            snapshot_pages: AtomicUsize::new(0),
            offered: AtomicUsize::new(0),
            panics: AtomicBool::new(false),
            hanging_key: Mutex::default(),
            failed: AtomicBool::new(false),
            announcement: Mutex::default(),
            announced: Mutex::default(),
        })
    }

    pub(crate) fn inner(&self) -> MemoryStore {
        self.inner.read().clone()
    }

    /// Puts another disk into the node.
    pub(crate) fn swap(&self, store: MemoryStore) {
        *self.inner.write() = store;
    }

    pub(crate) fn answer(&self, key: &str, reply: Option<Reply>) {
        let mut answers = self.answers.lock();
        match reply {
            Some(reply) => answers.insert(key.into(), reply),
            None => answers.remove(key),
        };
    }

    /// Writes without any endpoint.
    pub(crate) fn write(&self, key: &str, value: &str) -> Arc<Record> {
        let inner = self.inner();
        let staged = inner.stage(KeyValue::new(key, value.to_owned()));
        quorum_core::testing::block_on(staged).expect("the store takes writes").record
    }

    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.inner().value(key).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.inner().value(key).is_some()
    }
}

pub(crate) fn empty(name: &PeerId, incarnation: u8) -> MemoryStore {
    MemoryStore::new(name.clone(), Incarnation::from_bytes([incarnation; 8]), TokioClock::new())
}

impl ReplicaStore for Levers {
    async fn apply(&self, from: &PeerId, batch: Vec<Incoming>) -> Applied {
        let records = batch.iter().filter(|item| item.record.is_some()).count();
        self.offered.fetch_add(records, Ordering::Relaxed);
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a store that panics");
        let mut blocked = self.blocked.subscribe();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        blocked.wait_for(|blocked| !blocked).await.expect("the sender lives as long as the store");
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut replies = Vec::with_capacity(batch.len());
        for item in batch {
            let key = item.record.as_ref().and_then(|record| {
                KeyValue::decode(&record.payload).map(|(key, _)| key.to_owned())
            });
            let answer = key.and_then(|key| self.answers.lock().get(&key).cloned());
            replies.push(match answer {
                Some(reply) => reply,
                None => self.inner().apply(from, vec![item]).await.replies.remove(0),
            });
        }
        Applied { replies, synced: !self.unsynced.load(Ordering::Relaxed) }
    }

    fn frontier(&self) -> Frontier {
        self.inner().frontier()
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn lineage(&self) -> Lineage {
        self.inner().lineage()
    }

    fn announcement(&self, _to: &PeerId) -> Announcement {
        self.announcement.lock().clone()
    }

    async fn announced(&self, from: &Lineage, said: &Announcement, _when: Occasion) {
        self.announced.lock().insert(from.origin.node.clone(), said.clone());
    }
}

impl QuerySource for Levers {
    async fn answer(&self, from: &PeerId, question: Question) -> Answer {
        if let Question::Newest { key, .. } = &question
            && self.hanging_key.lock().as_ref() == Some(key)
        {
            return std::future::pending().await;
        }
        self.inner().answer(from, question).await
    }
}

impl LogSource for Levers {
    async fn replay(&self, lineage: &Lineage, wanted: &SeqSet, bytes_max: usize) -> Replay {
        if self.trimmed.load(Ordering::Relaxed) {
            return Replay::Trimmed;
        }
        self.inner().replay(lineage, wanted, bytes_max).await
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        self.snapshot_pages.fetch_add(1, Ordering::Relaxed);
        if self.unreadable.load(Ordering::Relaxed) {
            return (Vec::new(), Some(after.unwrap_or_default()));
        }
        self.inner().snapshot(after, bytes_max).await
    }
}

/// A shared store, as the writer's local one.
#[derive(Clone)]
pub(crate) struct Local(pub(crate) Arc<Levers>);

impl LocalStore for Local {
    type Op = KeyValue;
    type Error = <MemoryStore as LocalStore>::Error;
    type Durable = <MemoryStore as LocalStore>::Durable;

    async fn stage(&self, op: KeyValue) -> Result<Staged<Self::Durable>, Self::Error> {
        self.0.inner().stage(op).await
    }

    async fn restamp(
        &self,
        record: &Record,
        above: &Version,
    ) -> Result<Staged<Self::Durable>, Self::Error> {
        self.0.inner().restamp(record, above).await
    }
}

/// What an endpoint told its observer.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) refused: Mutex<HashMap<HandshakeRefusal, usize>>,
    pub(crate) acks: Mutex<HashMap<PeerId, usize>>,
}

impl Heard {
    pub(crate) fn refusals(&self, reason: HandshakeRefusal) -> usize {
        self.refused.lock().get(&reason).copied().unwrap_or(0)
    }

    pub(crate) fn acks_of(&self, peer: &PeerId) -> usize {
        self.acks.lock().get(peer).copied().unwrap_or(0)
    }
}

impl Observer for Heard {
    fn handshake_refused(&self, why: HandshakeRefusal) {
        *self.refused.lock().entry(why).or_default() += 1;
    }

    fn peer_ack(&self, peer: &PeerId, _latency: Duration) {
        *self.acks.lock().entry(peer.clone()).or_default() += 1;
    }
}

/// A running member.
pub(crate) struct Node {
    pub(crate) name: PeerId,
    pub(crate) store: Arc<Levers>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) endpoint: Endpoint,
    writer: QuorumWriter<Local, QuicPeers, TokioClock>,
}

impl Node {
    pub(crate) fn start(mesh: &Loopback, index: usize, n: usize) -> Self {
        Self::over(mesh, index, n, Levers::new(mesh.name(index)))
    }

    pub(crate) fn over(mesh: &Loopback, index: usize, n: usize, store: Arc<Levers>) -> Self {
        let heard = Arc::new(Heard::default());
        let endpoint =
            mesh.start(index, Arc::clone(&store), heard.clone()).expect("the node starts");
        Self::around(mesh, index, n, store, heard, endpoint)
    }

    pub(crate) fn around(
        mesh: &Loopback,
        index: usize,
        n: usize,
        store: Arc<Levers>,
        heard: Arc<Heard>,
        endpoint: Endpoint,
    ) -> Self {
        let others = (0..n).filter(|other| *other != index).map(|other| mesh.name(other).clone());
        let writer = QuorumWriter::new(
            QuorumPolicy::majority(n).expect("members"),
            mesh.name(index).clone(),
            others.collect(),
            Local(Arc::clone(&store)),
            endpoint.replicator(),
            TokioClock::new(),
            heard.clone(),
        );
        let writer = writer.expect("the members fit the policy");
        Self { name: mesh.name(index).clone(), store, heard, endpoint, writer }
    }

    pub(crate) async fn commit(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        w: usize,
    ) -> Result<Receipt, WriteError<<Local as LocalStore>::Error>> {
        self.commit_within(key, value, w, Duration::from_secs(30)).await
    }

    pub(crate) async fn commit_within(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        w: usize,
        timeout: Duration,
    ) -> Result<Receipt, WriteError<<Local as LocalStore>::Error>> {
        let mut options = CommitOptions::default();
        (options.w, options.timeout) = (Some(w), Some(timeout));
        self.writer.commit(KeyValue::new(key, value.into()), options).await
    }

    pub(crate) fn peer(&self, name: &PeerId) -> PeerStatus {
        let peers = self.endpoint.peers();
        peers.into_iter().find(|peer| peer.peer == *name).expect("a peer of the mesh")
    }

    pub(crate) fn is_linked_to(&self, name: &PeerId) -> bool {
        self.peer(name).connected_since.is_some()
    }

    pub(crate) async fn linked_to(&self, name: &PeerId) {
        eventually(&format!("{} is linked to {name}", self.name), || self.is_linked_to(name)).await;
    }

    /// Waits until the link to `name` is down because of `reason`, and says the error.
    pub(crate) async fn refused_by(&self, name: &PeerId, reason: HandshakeRefusal) -> String {
        let named = format!("({reason})");
        let error = || self.peer(name).last_error.unwrap_or_default();
        eventually(&format!("{} hears {reason} from {name}", self.name), || {
            error().contains(&named)
        })
        .await;
        error()
    }

    pub(crate) async fn stop(self) -> Arc<Levers> {
        self.endpoint.shutdown(GRACE).await;
        self.store
    }
}

/// A mesh of which all members run and are linked to each other.
pub(crate) async fn running(n: usize) -> (Loopback, Vec<Node>) {
    let mesh = Loopback::new(n).expect("loopback sockets");
    let nodes = all(&mesh, n).await;
    (mesh, nodes)
}

pub(crate) async fn all(mesh: &Loopback, n: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..n).map(|index| Node::start(mesh, index, n)).collect();
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.name != node.name) {
            node.linked_to(&other.name).await;
        }
    }
    nodes
}

/// Waits until every node holds exactly the same dots.
pub(crate) async fn converged(nodes: &[Node]) {
    eventually("all nodes hold the same", || {
        let first = nodes[0].store.frontier();
        nodes.iter().all(|node| node.store.frontier() == first)
    })
    .await;
}
