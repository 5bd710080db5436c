//! An engine in memory whose disk can lose power and whose sync can fail, on demand and deterministically.
//!
//! A [`MemoryDisk`] outlives the engines opened on it, as a disk outlives processes: [`MemoryDisk::crash`] forgets
//! every commit that was not synced and makes the engines that are open on it fail, then another can be opened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Batch, DiskSpace, Engine, EngineError, Page, PageLimit, Sizes, Space, Sync, View};

/// The versions of one key, oldest first: the commit that made each, and the value or its absence.
type History = Vec<(u64, Option<Bytes>)>;

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<(Space, Bytes), History>,
    /// The last commit.
    committed: u64,
    /// The last commit that a crash does not undo.
    synced: u64,
    /// Syncs that succeeded.
    syncs: u64,
    /// Keys and pages that views were asked for.
    reads: u64,
    /// Commits that open views look at, one for each view.
    watched: BTreeSet<(u64, u64)>,
    views_opened: u64,
    /// Grows with every crash: engines of an earlier life fail.
    life: u64,
    fail_next_sync: bool,
    /// Syncs succeed and make nothing durable.
    is_lying: bool,
    is_poisoned: bool,
    /// Keys whose values up to a commit cannot be read.
    unreadable: BTreeMap<(Space, Bytes), u64>,
    /// What the disk says of its room.
    space: Option<DiskSpace>,
}

/// A disk that forgets what was not synced. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The engine of one process on this disk.
    #[must_use]
    pub fn engine(&self) -> MemoryEngine {
        let mut state = self.state.lock();
        state.is_poisoned = false;
        MemoryEngine { life: state.life, disk: self.clone() }
    }

    /// Power is lost: every commit that was not synced is gone, and every open engine fails.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        let synced = state.synced;
        state.entries.retain(|_, history| {
            history.retain(|(commit, _)| *commit <= synced);
            !history.is_empty()
        });
        state.committed = synced;
        state.life += 1;
    }

    /// Makes the next sync fail. What it would have made durable stays unsynced.
    pub fn fail_next_sync(&self) {
        self.state.lock().fail_next_sync = true;
    }

    /// Makes syncs succeed without making anything durable, or ends that: the next honest sync makes up for it.
    pub fn set_lying(&self, is_lying: bool) {
        self.state.lock().is_lying = is_lying;
    }

    /// Lets the disk say that it is so full. With nothing free it takes no commit; otherwise it takes everything.
    pub fn set_space(&self, space: DiskSpace) {
        self.state.lock().space = Some(space);
    }

    /// What is there under a key now cannot be read any more, as in a damaged block. What is put over it can.
    pub fn damage(&self, space: Space, key: Bytes) {
        let mut state = self.state.lock();
        let committed = state.committed;
        state.unreadable.insert((space, key), committed);
    }

    /// Everything is gone, as with a disk that was replaced.
    pub fn wipe(&self) {
        let mut state = self.state.lock();
        let life = state.life + 1;
        *state = State { life, ..State::default() };
    }

    /// The process is gone and the disk is not: what was committed without a sync may or may not be there later.
    pub fn forsake(&self) {
        self.state.lock().life += 1;
    }

    /// How many syncs succeeded so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// How often something was read so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state.lock().reads
    }
}

/// One process's engine on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryEngine {
    disk: MemoryDisk,
    life: u64,
}

impl Engine for MemoryEngine {
    fn view(&self) -> Arc<dyn View> {
        let mut state = self.disk.state.lock();
        state.views_opened += 1;
        let watched = (state.committed, state.views_opened);
        state.watched.insert(watched);
        Arc::new(MemoryView { disk: self.disk.clone(), watched })
    }

    fn commit(&self, batch: &Batch, sync: Sync) -> Result<(), EngineError> {
        let mut state = self.disk.state.lock();
        if state.life != self.life || state.is_poisoned {
            return Err(EngineError::new("commit", "the disk is gone"));
        }
        if !batch.is_empty() && state.space.is_some_and(|space| space.free == 0) {
            return Err(EngineError::before_it_began("commit", ErrorKind::StorageFull.into()));
        }
        if !batch.is_empty() {
            state.committed += 1;
        }
        let commit = state.committed;
        // Whatever the oldest view and a crash may still need stays.
        let oldest =
            state.watched.first().map_or(commit, |(watched, _)| *watched).min(state.synced);
        for (space, key, value) in batch.changes() {
            let history = state.entries.entry((space, key.clone())).or_default();
            history.push((commit, value.cloned()));
            let superseded = history.iter().rposition(|(made, _)| *made <= oldest).unwrap_or(0);
            history.drain(..superseded);
        }
        if sync == Sync::Data {
            if std::mem::take(&mut state.fail_next_sync) {
                state.is_poisoned = true;
                return Err(EngineError::new("sync", "input/output error"));
            }
            if !state.is_lying {
                state.synced = commit;
            }
            state.syncs += 1;
        }
        Ok(())
    }

    fn sizes(&self) -> Sizes {
        let state = self.disk.state.lock();
        let live = state.entries.iter().filter_map(|((space, key), history)| {
            let (_, value) = history.last()?;
            value.as_ref().map(|value| (*space, key.len() + value.len()))
        });
        live.fold(Sizes::default(), |sizes, (space, bytes)| Sizes {
            records: sizes.records + u64::from(space == Space::Records),
            bytes: sizes.bytes + bytes as u64,
        })
    }

    fn last_commit(&self) -> u64 {
        self.disk.state.lock().committed
    }

    fn reads_block(&self) -> bool {
        false
    }

    fn space(&self) -> Option<DiskSpace> {
        self.disk.state.lock().space
    }
}

struct MemoryView {
    disk: MemoryDisk,
    watched: (u64, u64),
}

impl MemoryView {
    /// What a key's history says as of this view.
    fn value(&self, state: &State, at: &(Space, Bytes)) -> Result<Option<Bytes>, EngineError> {
        let (watched, _) = self.watched;
        let history = state.entries.get(at);
        let newest = history.and_then(|made| made.iter().rfind(|(commit, _)| *commit <= watched));
        let Some((commit, value)) = newest else { return Ok(None) };
        match state.unreadable.get(at) {
            Some(damaged) if commit <= damaged => Err(EngineError::new("read", "a damaged block")),
            _ => Ok(value.clone()),
        }
    }
}

impl View for MemoryView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let mut state = self.disk.state.lock();
        state.reads += 1;
        self.value(&state, &(space, Bytes::copy_from_slice(key)))
    }

    fn page(
        &self,
        space: Space,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        let mut state = self.disk.state.lock();
        state.reads += 1;
        let from = match from {
            Bound::Unbounded => Bound::Included((space, Bytes::new())),
            bound => bound.map(|key| (space, Bytes::copy_from_slice(key))),
        };
        let is_within = |key: &[u8]| match to {
            Bound::Included(last) => key <= last,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        };
        let (mut page, mut bytes) = (Page::new(), 0);
        for (at, _) in state.entries.range((from, Bound::Unbounded)) {
            let (is_full, key) = (page.len() >= limit.entries || bytes >= limit.bytes, &at.1);
            if at.0 != space || !is_within(key) || (is_full && !page.is_empty()) {
                break;
            }
            if let Some(value) = self.value(&state, at)? {
                bytes += key.len() + value.len();
                page.push((key.clone(), value));
            }
        }
        Ok(page)
    }
}

impl Drop for MemoryView {
    fn drop(&mut self) {
        self.disk.state.lock().watched.remove(&self.watched);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(key: &'static str, value: &'static str) -> Batch {
        let mut batch = Batch::default();
        batch.put(Space::Meta, Bytes::from(key), Bytes::from(value));
        batch
    }

    fn value(engine: &MemoryEngine, key: &str) -> Option<Bytes> {
        engine.view().get(Space::Meta, key.as_bytes()).expect("memory reads do not fail")
    }

    #[test]
    fn a_crash_forgets_exactly_what_was_not_synced() {
        let disk = MemoryDisk::new();
        let before = disk.engine();
        before.commit(&batch("a", "1"), Sync::Data).expect("the disk works");
        before.commit(&batch("a", "2"), Sync::Buffered).expect("the disk works");
        before.commit(&batch("b", "1"), Sync::Buffered).expect("the disk works");
        disk.crash();
        assert!(before.commit(&batch("c", "1"), Sync::Data).is_err(), "that process is dead");
        let after = disk.engine();
        assert_eq!(value(&after, "a"), Some(Bytes::from("1")));
        assert_eq!(value(&after, "b"), None);
    }

    #[test]
    fn a_view_stands_still() {
        let engine = MemoryDisk::new().engine();
        engine.commit(&batch("a", "1"), Sync::Data).expect("the disk works");
        let view = engine.view();
        for round in ["2", "3", "4"] {
            engine.commit(&batch("a", round), Sync::Data).expect("the disk works");
        }
        assert_eq!(view.get(Space::Meta, b"a").expect("readable"), Some(Bytes::from("1")));
        assert_eq!(value(&engine, "a"), Some(Bytes::from("4")));
    }

    #[test]
    fn after_a_failed_sync_nothing_more_is_taken() {
        let disk = MemoryDisk::new();
        let engine = disk.engine();
        disk.fail_next_sync();
        assert!(engine.commit(&batch("a", "1"), Sync::Data).is_err());
        assert!(engine.commit(&batch("b", "1"), Sync::Buffered).is_err());
    }
}
