//! One store under a check, and the records of other members that checks feed it.

use std::sync::Arc;

use crate::clock::hlc::Hlc;
use crate::frontier::{Frontier, SeqSet};
use crate::id::{Digest, Incarnation, PeerId, WriteId};
use crate::ports::{Incoming, LocalStore, LogSource, Replay, ReplicaStore, Reply, Staged};
use crate::record::{Durability, Record};
use crate::testing::promises::StoreUnderTest;
use crate::version::{Dot, Epoch, Lineage, Origin, Version};

/// The store of one member, with panics instead of errors.
pub(super) struct Subject<'h, H: StoreUnderTest> {
    harness: &'h H,
    member: PeerId,
    pub(super) store: H::Store,
}

impl<'h, H: StoreUnderTest> Subject<'h, H> {
    pub(super) fn new(harness: &'h H, member: &str) -> Self {
        let member = peer(member);
        let store = harness.create(&member);
        Self { harness, member, store }
    }

    pub(super) fn crash(self) -> Self {
        let store = self.harness.crash(&self.member, self.store);
        Self { store, ..self }
    }

    /// Begins a local write and does not wait for it.
    pub(super) fn stage(
        &self,
        key: &str,
        value: &str,
    ) -> Staged<<H::Store as LocalStore>::Durable> {
        let staging = self.store.stage(self.harness.op(key, value));
        self.harness
            .block_on(staging)
            .unwrap_or_else(|error| panic!("the store refused a plain write: {error}"))
    }

    pub(super) fn await_durable(
        &self,
        staged: Staged<<H::Store as LocalStore>::Durable>,
    ) -> Arc<Record> {
        match self.harness.block_on(staged.durable) {
            Ok(_) => staged.record,
            Err(error) => panic!("the store lost a plain write: {error}"),
        }
    }

    pub(super) fn write(&self, key: &str, value: &str) -> Arc<Record> {
        self.await_durable(self.stage(key, value))
    }

    pub(super) fn restamp(&self, record: &Record, above: &Version) -> Arc<Record> {
        let staged = self.harness.block_on(self.store.restamp(record, above));
        self.await_durable(
            staged.unwrap_or_else(|error| panic!("the store refused a restamped write: {error}")),
        )
    }

    pub(super) fn apply(&self, batch: Vec<Incoming>) -> Vec<Reply> {
        let asked = batch.len();
        let applied = self.harness.block_on(self.store.apply(&peer("sender"), batch));
        assert_eq!(applied.replies.len(), asked, "a batch gets one reply for each item");
        assert!(applied.synced, "a batch that asks for fsync is synced when it is answered");
        applied.replies
    }

    pub(super) fn current(&self, key: &str) -> Option<(Version, Digest)> {
        self.harness.current(&self.store, key)
    }

    pub(super) fn assert_current(&self, key: &str, record: &Record, why: &str) {
        assert_eq!(
            self.current(key),
            Some((record.version(), record.digest)),
            "{why} (key {key:?}, current record)"
        );
    }

    pub(super) fn replay(
        &self,
        lineage: &Lineage,
        wanted: &SeqSet,
        bytes_max: usize,
    ) -> Vec<Incoming> {
        match self.harness.block_on(self.store.replay(lineage, wanted, bytes_max)) {
            Replay::Items(items) => items,
            Replay::Partly(_) | Replay::Trimmed => {
                panic!("the log trimmed dots that it was just given ({lineage})")
            }
        }
    }

    /// Brings `other` up to date from this store's log, a small page at a time.
    pub(super) fn replay_into(&self, other: &Self) {
        for (lineage, held) in self.store.frontier().iter() {
            loop {
                let wanted = held.minus(&other.held(lineage));
                if wanted.is_empty() {
                    break;
                }
                let items = self.replay(lineage, &wanted, 1);
                assert!(
                    !items.is_empty(),
                    "the frontier covers dots of {lineage} that the log does not give: {wanted:?}"
                );
                other.apply(items);
                let left = held.minus(&other.held(lineage));
                assert!(left.len() < wanted.len(), "a replay of {wanted:?} covered none of it");
            }
        }
    }

    pub(super) fn held(&self, lineage: &Lineage) -> SeqSet {
        self.store.frontier().of(lineage).cloned().unwrap_or_default()
    }

    /// Every page of a snapshot.
    pub(super) fn snapshot_pages(&self, bytes_max: usize) -> Vec<Vec<Incoming>> {
        let mut pages = Vec::new();
        let mut cursor = None;
        loop {
            let (page, next) = self.harness.block_on(self.store.snapshot(cursor, bytes_max));
            pages.push(page);
            assert!(pages.len() < 1_000, "a snapshot of a few records does not end");
            cursor = next;
            if cursor.is_none() {
                return pages;
            }
        }
    }
}

/// Another member that coordinates writes, seen from a store under test.
pub(super) struct Foreigner<'h, H> {
    harness: &'h H,
    pub(super) lineage: Lineage,
}

impl<'h, H: StoreUnderTest> Foreigner<'h, H> {
    pub(super) fn new(harness: &'h H, name: &str) -> Self {
        let origin = Origin { node: peer(name), incarnation: Incarnation::from_bytes([0xF0; 8]) };
        Self { harness, lineage: Lineage { origin, epoch: Epoch::new(1, 0) } }
    }

    pub(super) fn dot(&self, seq: u64) -> Dot {
        Dot { lineage: self.lineage.clone(), seq }
    }

    /// A record of long ago, so that no store finds it too far in the future.
    pub(super) fn record(&self, seq: u64, millis: u64, key: &str, value: &str) -> Arc<Record> {
        self.record_at(seq, Hlc::from_millis(millis), key, value)
    }

    pub(super) fn record_at(&self, seq: u64, hlc: Hlc, key: &str, value: &str) -> Arc<Record> {
        let payload = self.harness.payload(key, value);
        let mut id = [0; 16];
        id.copy_from_slice(
            &Digest::of(format!("{}{seq}", self.lineage).as_bytes()).as_bytes()[..16],
        );
        let id = WriteId::from_bytes(id);
        Arc::new(Record::new(id, self.dot(seq), hlc, Durability::Fsync, payload))
    }
}

/// A record alone, as the live stream brings it.
pub(super) fn alone(record: &Arc<Record>) -> Incoming {
    Incoming { record: Some(Arc::clone(record)), ..Incoming::default() }
}

/// Everything that the items cover once they are applied.
pub(super) fn covered_by(items: &[Incoming]) -> Frontier {
    let mut covered = Frontier::new();
    for item in items {
        covered.merge(&item.covered());
        if let Some(record) = &item.record {
            covered.insert(&record.dot);
        }
    }
    covered
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap_or_else(|error| panic!("a check names a member badly: {error}"))
}
