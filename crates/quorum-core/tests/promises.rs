//! The suite of port promises: the simplest store keeps them all, and stores that break one are caught.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::testing::promises::{self, StoreUnderTest};
use quorum_core::testing::{
    Appending, Appends, KeyValue, ManualClock, MemoryStore, MemoryStoreError,
};
use quorum_core::{
    Applied, Digest, Epoch, Frontier, Hlc, Incarnation, Incoming, Lineage, LocalStore, LogSource,
    PeerId, Record, Replay, ReplicaStore, Reply, SeqSet, SnapshotCursor, Staged, Version,
};

/// One way to break one promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    DotsReusedAfterARestart,
    DotsHaveHoles,
    VersionNotIncreasing,
    DurableBeforeTheDiskHasIt,
    RestampKeepsTheVersion,
    StoredBeforeTheDiskHasIt,
    LastRecordWins,
    SupersededCalledStored,
    SmallerDigestWins,
    DriftCalledStored,
    RefusalStopsTheBatch,
    RefusalIsCovered,
    FrontierPastAGap,
    FrontierAheadOfTheDisk,
    FrontierForgottenInACrash,
    CoversIgnored,
    OverwrittenDotSkipped,
    ReplayIgnoresWanted,
    ReplayOfUnsynced,
    LogEmptyAfterACrash,
    SnapshotWithoutItsLastPage,
}

/// A [`MemoryStore`] with a fault around it.
struct FaultyStore {
    inner: MemoryStore,
    fault: Fault,
    /// What the fault remembers; a crash takes it.
    unsynced: Mutex<Vec<Arc<Record>>>,
    /// What the table shows instead of the truth.
    overlay: Mutex<BTreeMap<String, (Version, Digest)>>,
    crashed: bool,
}

impl FaultyStore {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn staged(&self, mut staged: Staged<Appending>) -> Staged<Appending> {
        let record = Arc::make_mut(&mut staged.record);
        match self.fault {
            Fault::DotsReusedAfterARestart => record.dot.lineage.epoch = Epoch::new(1, 0),
            Fault::DotsHaveHoles => record.dot.seq *= 2,
            Fault::VersionNotIncreasing => record.hlc = Hlc::from_millis(1_700_000_000_000),
            _ => {}
        }
        self.unsynced.lock().push(Arc::clone(&staged.record));
        staged
    }
}

/// An append that reaches the disk when somebody waits for it, or lies about being there.
enum MaybeEarly {
    OnDemand(MemoryStore, Appending),
    Early(Instant),
}

impl Future for MaybeEarly {
    type Output = Result<Instant, MemoryStoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::OnDemand(store, appending) => {
                store.release();
                Pin::new(appending).poll(context)
            }
            Self::Early(at) => Poll::Ready(Ok(*at)),
        }
    }
}

impl LocalStore for FaultyStore {
    type Op = KeyValue;
    type Error = MemoryStoreError;
    type Durable = MaybeEarly;

    async fn stage(&self, op: KeyValue) -> Result<Staged<MaybeEarly>, MemoryStoreError> {
        self.inner.set_appends(Appends::Held);
        let Staged { record, durable, is_known } = self.staged(self.inner.stage(op).await?);
        let durable = if self.is(Fault::DurableBeforeTheDiskHasIt) {
            MaybeEarly::Early(quorum_core::testing::epoch())
        } else {
            MaybeEarly::OnDemand(self.inner.clone(), durable)
        };
        Ok(Staged { record, durable, is_known })
    }

    async fn restamp(
        &self,
        record: &Record,
        above: &Version,
    ) -> Result<Staged<MaybeEarly>, MemoryStoreError> {
        let mut staged = self.staged(self.inner.restamp(record, above).await?);
        if self.is(Fault::RestampKeepsTheVersion) {
            Arc::make_mut(&mut staged.record).hlc = record.hlc;
        }
        let durable = MaybeEarly::OnDemand(self.inner.clone(), staged.durable);
        Ok(Staged { record: staged.record, durable, is_known: false })
    }
}

impl ReplicaStore for FaultyStore {
    async fn apply(&self, from: &PeerId, mut batch: Vec<Incoming>) -> Applied {
        let stored = |count| Applied { replies: vec![Reply::Stored; count], synced: true };
        match self.fault {
            Fault::StoredBeforeTheDiskHasIt => return stored(batch.len()),
            Fault::CoversIgnored => batch.iter_mut().for_each(|item| item.covers.clear()),
            Fault::RefusalStopsTheBatch => {
                let asked = batch.len();
                let intact = |item: &Incoming| item.record.as_ref().is_none_or(|r| r.is_intact());
                batch = batch.into_iter().take_while(intact).collect();
                let mut applied = self.inner.apply(from, batch).await;
                applied
                    .replies
                    .resize(asked, Reply::Refused { reason: quorum_core::Refusal::Corrupt });
                return applied;
            }
            Fault::RefusalIsCovered => {
                for item in &mut batch {
                    if let Some(record) = item.record.take_if(|record| !record.is_intact()) {
                        item.covers.push((
                            record.dot.lineage.clone(),
                            SeqSet::from(vec![(record.dot.seq, record.dot.seq)]),
                        ));
                    }
                }
            }
            Fault::LastRecordWins | Fault::SmallerDigestWins => {
                for record in batch.iter().filter_map(|item| item.record.as_ref()) {
                    self.merge_wrongly(record);
                }
            }
            _ => {}
        }
        let mut applied = self.inner.apply(from, batch).await;
        for reply in &mut applied.replies {
            match reply {
                Reply::Drift if self.is(Fault::DriftCalledStored) => *reply = Reply::Stored,
                Reply::Superseded { .. } if self.is(Fault::SupersededCalledStored) => {
                    *reply = Reply::Stored;
                }
                _ => {}
            }
        }
        applied
    }

    fn frontier(&self) -> Frontier {
        let truth = self.inner.frontier();
        match self.fault {
            Fault::FrontierPastAGap => truth
                .iter()
                .map(|(lineage, set)| (lineage.clone(), SeqSet::up_to(set.last())))
                .collect(),
            Fault::FrontierAheadOfTheDisk => {
                let mut ahead = truth;
                self.unsynced.lock().iter().for_each(|record| {
                    ahead.insert(&record.dot);
                });
                ahead
            }
            Fault::FrontierForgottenInACrash if self.crashed => Frontier::new(),
            _ => truth,
        }
    }

    fn lineage(&self) -> Lineage {
        self.inner.lineage()
    }
}

impl FaultyStore {
    /// Shows another winner than the truth, in the overlay.
    fn merge_wrongly(&self, record: &Arc<Record>) {
        let Some((key, _)) = KeyValue::decode(&record.payload) else { return };
        let offered = (record.version(), record.digest);
        let mut overlay = self.overlay.lock();
        let shown = overlay.entry(key.to_owned()).or_insert_with(|| offered.clone());
        let wins = match self.fault {
            Fault::LastRecordWins => true,
            _ => offered.0 > shown.0 || (offered.0 == shown.0 && offered.1 < shown.1),
        };
        if wins {
            *shown = offered;
        }
    }
}

impl LogSource for FaultyStore {
    async fn replay(&self, lineage: &Lineage, wanted: &SeqSet, bytes_max: usize) -> Replay {
        let everything = SeqSet::up_to(u64::MAX);
        let wanted_here = if self.is(Fault::ReplayIgnoresWanted) { &everything } else { wanted };
        let Replay::Items(mut items) = self.inner.replay(lineage, wanted_here, bytes_max).await
        else {
            return Replay::Trimmed;
        };
        match self.fault {
            Fault::LogEmptyAfterACrash if self.crashed => items.clear(),
            Fault::OverwrittenDotSkipped => items.retain(|item| {
                item.record.as_ref().is_some_and(|record| {
                    record.dot.lineage == *lineage && wanted.contains(record.dot.seq)
                })
            }),
            Fault::ReplayOfUnsynced => {
                items.extend(self.unsynced.lock().iter().map(|record| Incoming {
                    record: Some(Arc::clone(record)),
                    ..Incoming::default()
                }));
            }
            _ => {}
        }
        Replay::Items(items)
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        let (page, cursor) = self.inner.snapshot(after, bytes_max).await;
        match cursor {
            None if self.is(Fault::SnapshotWithoutItsLastPage) => (Vec::new(), None),
            cursor => (page, cursor),
        }
    }
}

/// Makes stores that all have the same fault.
struct Harness {
    clock: ManualClock,
    fault: Fault,
}

impl StoreUnderTest for Harness {
    type Store = FaultyStore;

    fn create(&self, member: &PeerId) -> FaultyStore {
        let incarnation = Incarnation::from_bytes([1; 8]);
        let inner = MemoryStore::new(member.clone(), incarnation, self.clock.clone());
        let (unsynced, overlay) = (Mutex::default(), Mutex::default());
        FaultyStore { inner, fault: self.fault, unsynced, overlay, crashed: false }
    }

    fn crash(&self, _member: &PeerId, store: FaultyStore) -> FaultyStore {
        store.inner.crash();
        store.unsynced.lock().clear();
        FaultyStore { crashed: true, ..store }
    }

    fn op(&self, key: &str, value: &str) -> KeyValue {
        KeyValue::new(key, value.to_owned())
    }

    fn payload(&self, key: &str, value: &str) -> Bytes {
        KeyValue::encode(key, value.as_bytes())
    }

    fn current(&self, store: &FaultyStore, key: &str) -> Option<(Version, Digest)> {
        if let Some(shown) = store.overlay.lock().get(key) {
            return Some(shown.clone());
        }
        store.inner.current(key).map(|record| (record.version(), record.digest))
    }
}

fn harness(fault: Fault) -> Harness {
    Harness { clock: ManualClock::new(), fault }
}

#[test]
fn the_simplest_store_keeps_every_promise() {
    promises::all(&harness(Fault::None));
}

type Check = fn(&Harness);

/// Runs one check against one fault and returns what it complained about.
fn complaint(fault: Fault, check: Check) -> Option<String> {
    let harness = harness(fault);
    let panic = catch_unwind(AssertUnwindSafe(|| check(&harness))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

/// Each fault is found by the check that is about it, and by the suite as a whole.
#[test]
fn a_store_that_breaks_a_promise_is_caught() {
    let caught_by: [(Fault, Check); 21] = [
        (Fault::DotsReusedAfterARestart, promises::dots_are_never_reused),
        (Fault::DotsHaveHoles, promises::dots_are_dense_and_in_the_order_of_versions),
        (Fault::VersionNotIncreasing, promises::versions_always_increase),
        (Fault::DurableBeforeTheDiskHasIt, promises::a_completed_append_survives_a_crash),
        (Fault::RestampKeepsTheVersion, promises::a_restamped_write_lies_above),
        (Fault::StoredBeforeTheDiskHasIt, promises::stored_survives_a_crash),
        (Fault::LastRecordWins, promises::merging_is_commutative_and_idempotent),
        (Fault::SupersededCalledStored, promises::a_newer_version_is_reported),
        (Fault::SmallerDigestWins, promises::on_drift_the_larger_digest_wins),
        (Fault::DriftCalledStored, promises::on_drift_the_larger_digest_wins),
        (Fault::RefusalStopsTheBatch, promises::a_refused_record_leaves_a_gap),
        (Fault::RefusalIsCovered, promises::a_refused_record_leaves_a_gap),
        (Fault::FrontierPastAGap, promises::a_gap_stays_a_gap),
        (Fault::FrontierAheadOfTheDisk, promises::a_frontier_is_durable_and_never_ahead),
        (Fault::FrontierForgottenInACrash, promises::a_frontier_is_durable_and_never_ahead),
        (Fault::CoversIgnored, promises::covered_dots_come_with_their_record),
        (Fault::OverwrittenDotSkipped, promises::an_overwritten_dot_replays_as_the_current_record),
        (Fault::ReplayIgnoresWanted, promises::a_replay_gives_wanted_dots_only),
        (Fault::ReplayOfUnsynced, promises::only_synced_state_is_replayed),
        (Fault::LogEmptyAfterACrash, promises::a_frontier_is_backed_by_records),
        (Fault::SnapshotWithoutItsLastPage, promises::a_snapshot_and_its_frontier_make_a_full_copy),
    ];
    for (fault, check) in caught_by {
        assert_eq!(complaint(Fault::None, check), None, "the check finds fault with a good store");
        let complaint = complaint(fault, check).unwrap_or_else(|| panic!("{fault:?} got through"));
        assert!(!complaint.is_empty(), "{fault:?} was caught without a word");
        assert!(self::complaint(fault, promises::all).is_some(), "{fault:?} got through the suite");
    }
}
