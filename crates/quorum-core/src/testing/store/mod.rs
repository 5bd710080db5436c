//! The simplest store that keeps every promise of the ports: maps in memory, and a disk that does as it is told.

mod append;
mod disk;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::hlc::{Hlc, HlcClock};
use crate::error::Busy;
use crate::frontier::{Frontier, SeqSet};
use crate::id::{Incarnation, PeerId, WriteId};
use crate::ports::{
    Applied, Clock, Incoming, LocalStore, LogSource, Replay, ReplicaStore, Reply, SnapshotCursor,
    Staged, wall_millis,
};
use crate::query::{Answer, Newest, QuerySource, Question, Unavailable};
use crate::record::{Durability, Record};
use crate::version::{Dot, Epoch, Lineage, Origin, Version};

pub use append::Appending;
use disk::Disk;

/// How many timestamps are reserved at a time.
const HLC_HEADROOM: Duration = Duration::from_secs(1);
/// How far ahead of the wall clock a record may lie.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

/// A write of one key, as a [`MemoryStore`] takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct KeyValue {
    /// The write's name.
    pub write_id: WriteId,
    /// What it is about. Must not contain NUL.
    pub key: String,
    /// What it says.
    pub value: Bytes,
}

impl KeyValue {
    /// A write whose name is the beginning of the digest of its content: enough where contents differ.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        let (key, value) = (key.into(), value.into());
        let digest = blake3::hash(&Self::encode(&key, &value));
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_bytes()[..16]);
        Self { write_id: WriteId::from_bytes(id), key, value }
    }

    /// The payload of a record: key, NUL, value.
    #[must_use]
    pub fn encode(key: &str, value: &[u8]) -> Bytes {
        [key.as_bytes(), b"\0", value].concat().into()
    }

    /// Key and value of a payload; nothing if it is none.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<(&str, &[u8])> {
        let end = payload.iter().position(|byte| *byte == 0)?;
        let key = std::str::from_utf8(&payload[..end]).ok()?;
        Some((key, &payload[end + 1..]))
    }
}

/// When local appends of a [`MemoryStore`] become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "a disk does one of these")]
pub enum Appends {
    /// At once, before `stage` returns.
    #[default]
    Immediate,
    /// When [`MemoryStore::release`] is called.
    Held,
    /// Never: they fail.
    Failing,
}

/// Why a [`MemoryStore`] takes no write, or lost one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryStoreError {
    /// It was told to refuse writes.
    #[error("the store takes no writes")]
    ReadOnly,
    /// The key contains NUL.
    #[error("the key contains NUL")]
    InvalidKey,
    /// The append failed, and with it the epoch.
    #[error("the disk failed")]
    DiskFailed,
    /// An append failed earlier: nothing is taken in this epoch any more.
    #[error("the epoch has ended: restart the store")]
    EpochEnded,
    /// The store crashed before the record was on its disk.
    #[error("the store crashed")]
    Crashed,
}

/// A store in memory whose disk is slow, fails and crashes on demand. Clones are the same store.
///
/// Implements all three store ports over [`KeyValue`] writes. Records of other nodes are durable when `apply` returns;
/// local ones as [`Appends`] says.
#[derive(Clone)]
pub struct MemoryStore {
    origin: Origin,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

/// What is on disk, and what only this start of the process knows.
#[derive(Debug)]
struct State {
    disk: Disk,
    hlc: HlcClock,
    seq: u64,
    unsynced: Vec<(Arc<Record>, Appending)>,
    appends: Appends,
    read_only: bool,
    epoch_ended: bool,
    on_append: Option<OnAppend>,
}

/// Who hears that an append is held.
#[derive(Clone)]
struct OnAppend(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for OnAppend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("OnAppend")
    }
}

impl State {
    /// A process that starts on `disk`. The new epoch is on disk before its first use.
    fn start(mut disk: Disk) -> Self {
        disk.starts += 1;
        let mut hlc = HlcClock::resume(disk.hlc_ceiling);
        hlc.observe(disk.hlc_seen);
        Self {
            disk,
            hlc,
            seq: 0,
            unsynced: Vec::new(),
            appends: Appends::Immediate,
            read_only: false,
            epoch_ended: false,
            on_append: None,
        }
    }

    /// The next timestamp; the ceiling is on disk before anything below it is issued.
    fn tick_above(&mut self, floor: Hlc, wall_millis: u64) -> Hlc {
        self.hlc.observe(floor);
        self.hlc.tick(wall_millis).unwrap_or_else(|_| {
            self.disk.hlc_ceiling = self.hlc.ceiling_for(wall_millis, HLC_HEADROOM);
            self.hlc.raise_ceiling(self.disk.hlc_ceiling);
            self.hlc.tick(wall_millis).expect("the reserved second has room")
        })
    }
}

impl MemoryStore {
    /// An empty store of the member `node`.
    #[must_use]
    pub fn new(node: PeerId, incarnation: Incarnation, clock: impl Clock) -> Self {
        let state = State::start(Disk::default());
        let origin = Origin { node, incarnation };
        Self { origin, clock: Arc::new(clock), state: Arc::new(Mutex::new(state)) }
    }

    /// Ends the process and starts it again: what was not on disk is gone, waits for it fail, the epoch is new, and
    /// appends are immediate.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        let disk = std::mem::take(&mut state.disk);
        let lost = std::mem::replace(&mut *state, State::start(disk)).unsynced;
        drop(state);
        lost.into_iter()
            .for_each(|(_, appending)| appending.settle(Err(MemoryStoreError::Crashed)));
    }

    /// Whether a process has written through this store since it was made or crashed last, or could have.
    pub(crate) fn was_started(&self) -> bool {
        self.state.lock().disk.starts > 0
    }

    /// Calls this whenever an append is held.
    pub(crate) fn on_append(&self, ring: impl Fn() + Send + Sync + 'static) {
        self.state.lock().on_append = Some(OnAppend(Arc::new(ring)));
    }

    /// Whether the epoch goes on.
    pub(crate) fn takes_writes(&self) -> bool {
        !self.state.lock().epoch_ended
    }

    /// Tells what becomes of local appends from now on.
    pub fn set_appends(&self, appends: Appends) {
        self.state.lock().appends = appends;
    }

    /// Refuses local writes, or takes them again.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.lock().read_only = read_only;
    }

    /// Makes the held appends durable.
    pub fn release(&self) {
        let (now, mut state) = (self.clock.now(), self.state.lock());
        let held = std::mem::take(&mut state.unsynced);
        for (record, _) in &held {
            let record = Some(Arc::clone(record));
            state.disk.apply(&Incoming { record, ..Incoming::default() });
        }
        drop(state);
        held.into_iter().for_each(|(_, appending)| appending.settle(Ok(now)));
    }

    /// Fails the held appends, and with them the epoch: no write is taken until the next [`crash`](Self::crash).
    pub fn fail(&self) {
        let mut state = self.state.lock();
        state.epoch_ended = true;
        let held = std::mem::take(&mut state.unsynced);
        drop(state);
        held.into_iter()
            .for_each(|(_, appending)| appending.settle(Err(MemoryStoreError::DiskFailed)));
    }

    /// The current record of a key, if it is on disk.
    #[must_use]
    pub fn current(&self, key: &str) -> Option<Arc<Record>> {
        self.state.lock().disk.current(key).cloned()
    }

    /// The current value of a key, if it is on disk.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Bytes> {
        let record = self.current(key)?;
        KeyValue::decode(&record.payload).map(|(_, value)| Bytes::copy_from_slice(value))
    }

    fn lineage_of(&self, state: &State) -> Lineage {
        // The salt tells copies of one disk apart; there are none here.
        Lineage { origin: self.origin.clone(), epoch: Epoch::new(state.disk.starts, 0) }
    }

    fn append(
        &self,
        write_id: WriteId,
        payload: Bytes,
        durability: Durability,
        floor: Hlc,
    ) -> Result<Staged<Appending>, MemoryStoreError> {
        let mut state = self.state.lock();
        if state.read_only {
            return Err(MemoryStoreError::ReadOnly);
        }
        if state.epoch_ended {
            return Err(MemoryStoreError::EpochEnded);
        }
        let hlc = state.tick_above(floor, wall_millis(&*self.clock));
        state.seq += 1;
        let dot = Dot { lineage: self.lineage_of(&state), seq: state.seq };
        let record = Arc::new(Record::new(write_id, dot, hlc, durability, payload));
        let durable = Appending::default();
        state.unsynced.push((Arc::clone(&record), durable.clone()));
        let (appends, on_append) = (state.appends, state.on_append.clone());
        drop(state);
        match appends {
            Appends::Immediate => self.release(),
            Appends::Held => {
                if let Some(OnAppend(ring)) = on_append {
                    ring();
                }
            }
            Appends::Failing => self.fail(),
        }
        Ok(Staged { record, durable, is_known: false })
    }
}

impl LocalStore for MemoryStore {
    type Op = KeyValue;
    type Error = MemoryStoreError;
    type Durable = Appending;

    async fn stage(&self, op: KeyValue) -> Result<Staged<Appending>, MemoryStoreError> {
        if op.key.contains('\0') {
            return Err(MemoryStoreError::InvalidKey);
        }
        let payload = KeyValue::encode(&op.key, &op.value);
        self.append(op.write_id, payload, Durability::Fsync, Hlc::ZERO)
    }

    async fn restamp(
        &self,
        record: &Record,
        above: &Version,
    ) -> Result<Staged<Appending>, MemoryStoreError> {
        let floor = above.hlc.max(record.hlc);
        self.append(record.write_id, record.payload.clone(), record.durability, floor)
    }
}

impl ReplicaStore for MemoryStore {
    async fn apply(&self, _from: &PeerId, batch: Vec<Incoming>) -> Applied {
        let wall_millis = wall_millis(&*self.clock);
        let mut state = self.state.lock();
        let replies = batch
            .iter()
            .map(|item| {
                let hlc = item.record.as_ref().map_or(Hlc::ZERO, |record| record.hlc);
                if hlc.ahead_of(wall_millis) > CLOCK_SKEW_MAX {
                    return Reply::Busy { reason: Busy::Clock };
                }
                state.disk.apply(item)
            })
            .collect();
        let seen = state.disk.hlc_seen;
        state.hlc.observe(seen);
        Applied { replies, synced: true }
    }

    fn frontier(&self) -> Frontier {
        self.state.lock().disk.frontier()
    }

    fn lineage(&self) -> Lineage {
        self.lineage_of(&self.state.lock())
    }
}

impl QuerySource for MemoryStore {
    async fn answer(&self, _from: &PeerId, question: Question) -> Answer {
        let Question::Newest { key, with_record } = question else {
            return Answer::Unavailable(Unavailable::Unsupported);
        };
        let record = std::str::from_utf8(&key).ok().and_then(|key| self.current(key));
        Answer::Newest(record.map(|record| Newest {
            version: record.version(),
            digest: record.digest,
            record: with_record.then(|| (*record).clone()),
        }))
    }
}

impl LogSource for MemoryStore {
    async fn replay(&self, lineage: &Lineage, wanted: &SeqSet, bytes_max: usize) -> Replay {
        Replay::Items(self.state.lock().disk.replay(lineage, wanted, bytes_max))
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        self.state.lock().disk.snapshot(after, bytes_max)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        out.debug_struct("MemoryStore")
            .field("origin", &self.origin)
            .field("state", &*state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ManualClock, block_on};
    use std::task::{Context, Poll, Waker};

    fn store() -> MemoryStore {
        let node = PeerId::new("n1").expect("a valid name");
        MemoryStore::new(node, Incarnation::from_bytes([1; 8]), ManualClock::new())
    }

    fn stage(store: &MemoryStore, key: &str) -> Staged<Appending> {
        block_on(store.stage(KeyValue::new(key, "value"))).expect("the store takes writes")
    }

    fn is_pending(durable: &mut Appending) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(std::pin::Pin::new(durable).poll(&mut context), Poll::Pending)
    }

    #[test]
    fn a_held_append_is_neither_visible_nor_in_the_frontier_until_it_is_released() {
        let store = store();
        store.set_appends(Appends::Held);
        let mut staged = stage(&store, "k");
        assert!(is_pending(&mut staged.durable));
        assert!(store.current("k").is_none() && store.frontier().is_empty());
        store.release();
        assert_eq!(block_on(staged.durable), Ok(crate::testing::epoch()));
        assert_eq!(store.value("k"), Some("value".into()));
        assert!(store.frontier().contains(&staged.record.dot));
    }

    #[test]
    fn a_crash_forgets_what_was_held_and_begins_a_new_epoch() {
        let store = store();
        let kept = stage(&store, "kept");
        store.set_appends(Appends::Held);
        let lost = stage(&store, "lost");
        store.crash();
        assert_eq!(block_on(lost.durable), Err(MemoryStoreError::Crashed));
        assert!(store.current("kept").is_some() && store.current("lost").is_none());
        let next = stage(&store, "next").record;
        assert!(next.dot.lineage.epoch > kept.record.dot.lineage.epoch);
        assert!(next.version() > lost.record.version());
    }

    #[test]
    fn a_failed_append_ends_the_epoch() {
        let store = store();
        store.set_appends(Appends::Failing);
        let failed = stage(&store, "k");
        assert_eq!(block_on(failed.durable), Err(MemoryStoreError::DiskFailed));
        store.set_appends(Appends::Immediate);
        let refused = block_on(store.stage(KeyValue::new("k", "v"))).expect_err("no further write");
        assert_eq!(refused, MemoryStoreError::EpochEnded);
        store.crash();
        assert_eq!(stage(&store, "k").record.dot.seq, 1);
    }

    #[test]
    fn a_payload_reads_back_as_it_was_written() {
        let payload = KeyValue::encode("key", b"va\0lue");
        assert_eq!(KeyValue::decode(&payload), Some(("key", &b"va\0lue"[..])));
        assert_eq!(KeyValue::decode(b"no separator"), None);
    }
}
