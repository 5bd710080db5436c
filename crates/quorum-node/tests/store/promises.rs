//! The promises of quorum-core's store ports, checked by quorum-core's own suite: over a disk that forgets, and over
//! directories that are opened again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;

use bytes::Bytes;
use quorum_core::testing::promises::{StoreUnderTest, all};
use quorum_core::{
    Applied, Digest, Frontier, Incoming, Lineage, LocalStore, LogSource, PeerId, Record, Replay,
    ReplicaStore, SeqSet, SnapshotCursor, Staged, Version, WriteId,
};
use quorum_node::receive::Receiver;
use quorum_node::record::{Content, WriteOp};
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::{Durable, Store, StoreConfig, StoreError};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::harness::{TestClock, identity, key, namespace, on_memory_with, op, receiver, seams};

/// Both sides of a store as one: local writes beside the door for peers.
struct Whole {
    store: Store,
    receiver: Receiver,
}

impl Whole {
    fn new(store: Store) -> Self {
        Self { receiver: receiver(&store), store }
    }
}

impl LocalStore for Whole {
    type Op = WriteOp;
    type Error = StoreError;
    type Durable = Durable;

    async fn stage(&self, op: WriteOp) -> Result<Staged<Durable>, StoreError> {
        self.store.stage(op).await
    }

    async fn restamp(
        &self,
        record: &Record,
        above: &Version,
    ) -> Result<Staged<Durable>, StoreError> {
        self.store.restamp(record, above).await
    }
}

impl ReplicaStore for Whole {
    async fn apply(&self, from: &PeerId, batch: Vec<Incoming>) -> Applied {
        self.receiver.apply(from, batch).await
    }

    fn frontier(&self) -> Frontier {
        self.receiver.frontier()
    }

    fn lineage(&self) -> Lineage {
        self.receiver.lineage()
    }
}

impl LogSource for Whole {
    async fn replay(&self, lineage: &Lineage, wanted: &SeqSet, bytes_max: usize) -> Replay {
        self.receiver.replay(lineage, wanted, bytes_max).await
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        self.receiver.snapshot(after, bytes_max).await
    }
}

/// Where a member's store lives.
trait Medium: Default {
    fn open(&self, member: &PeerId) -> Store;
    fn lose_power(&self);
}

impl Medium for MemoryDisk {
    fn open(&self, member: &PeerId) -> Store {
        on_memory_with(self, member.as_str(), StoreConfig::default(), &TestClock::new())
    }

    fn lose_power(&self) {
        self.crash();
    }
}

struct Directory(TempDir);

impl Default for Directory {
    fn default() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }
}

impl Medium for Directory {
    fn open(&self, member: &PeerId) -> Store {
        let path: &Path = self.0.path();
        let identity = identity(member.as_str());
        Store::open(path, &identity, StoreConfig::default(), seams(&TestClock::new()))
            .expect("opens")
    }

    /// The mark of a clean stop is gone: the next start goes the long way.
    fn lose_power(&self) {
        let _was_marked = std::fs::remove_file(self.0.path().join("CLEAN"));
    }
}

struct Harness<M> {
    media: RefCell<HashMap<PeerId, M>>,
    runtime: Runtime,
    writes: Cell<u64>,
}

impl<M: Medium> Harness<M> {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        Self { media: RefCell::default(), runtime, writes: Cell::new(0) }
    }
}

impl<M: Medium> StoreUnderTest for Harness<M> {
    type Store = Whole;

    fn create(&self, member: &PeerId) -> Whole {
        let mut media = self.media.borrow_mut();
        Whole::new(media.entry(member.clone()).or_default().open(member))
    }

    fn crash(&self, member: &PeerId, store: Whole) -> Whole {
        let media = self.media.borrow();
        let medium = media.get(member).expect("created before");
        // A disk in memory stops its engines; a directory must be let go of first.
        medium.lose_power();
        drop(store);
        medium.lose_power();
        Whole::new(medium.open(member))
    }

    /// Each a write of its own: the same id once more would be the same write once more.
    fn op(&self, name: &str, value: &str) -> WriteOp {
        let write_id = u128::from(self.writes.get() + 1).to_be_bytes();
        self.writes.set(self.writes.get() + 1);
        WriteOp { write_id: WriteId::from_bytes(write_id), ..op(name, value) }
    }

    fn payload(&self, name: &str, value: &str) -> Bytes {
        let value = Some(Bytes::from(value.to_owned()));
        Content { namespace: namespace(), key: key(name), value }.encode()
    }

    fn current(&self, store: &Whole, name: &str) -> Option<(Version, Digest)> {
        let stored = store.store.get(&namespace(), &key(name)).expect("readable")?;
        Some((stored.record.version(), stored.record.digest))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

#[test]
fn the_ports_promises_hold_over_a_disk_that_forgets() {
    all(&Harness::<MemoryDisk>::new());
}

#[test]
fn the_ports_promises_hold_over_directories() {
    all(&Harness::<Directory>::new());
}
