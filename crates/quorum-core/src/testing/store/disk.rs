//! The synced state of a [`MemoryStore`](super::MemoryStore): a plain value that merges, replays and survives.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::hlc::Hlc;
use crate::error::Refusal;
use crate::frontier::{Frontier, SeqSet};
use crate::ports::{Incoming, Reply, SnapshotCursor};
use crate::record::Record;
use crate::testing::store::KeyValue;
use crate::version::Lineage;

/// Everything a crash leaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    keys: BTreeMap<String, Entry>,
    /// Dots that are covered without a key: their records were purged somewhere.
    keyless: Frontier,
    /// How often the store was started.
    pub(super) starts: u64,
    /// No timestamp at or above it was ever issued.
    pub(super) hlc_ceiling: Hlc,
    /// The largest timestamp that was merged.
    pub(super) hlc_seen: Hlc,
}

/// The current record of a key and every dot that it stands for: its own and those it has overwritten.
///
/// Keeping the overwritten dots with the key is what lets a replay send the current record in their place.
#[derive(Debug, Clone)]
struct Entry {
    current: Arc<Record>,
    stands_for: Frontier,
}

impl Entry {
    /// The current record, sent in the place of `dots`.
    fn standing_for(&self, mut dots: Frontier) -> Incoming {
        dots.remove(&self.current.dot);
        let covers = dots.iter().map(|(lineage, set)| (lineage.clone(), set.clone()));
        let covers = covers.filter(|(_, set)| !set.is_empty()).collect();
        Incoming { record: Some(Arc::clone(&self.current)), covers, ..Incoming::default() }
    }
}

impl Disk {
    pub(super) fn current(&self, key: &str) -> Option<&Arc<Record>> {
        self.keys.get(key).map(|entry| &entry.current)
    }

    pub(super) fn frontier(&self) -> Frontier {
        let mut frontier = self.keyless.clone();
        self.keys.values().for_each(|entry| frontier.merge(&entry.stands_for));
        frontier
    }

    /// Merges one item. Only what is not refused is covered.
    pub(super) fn apply(&mut self, item: &Incoming) -> Reply {
        let covers = item.covered();
        let Some(record) = &item.record else {
            self.keyless.merge(&covers.minus(&self.frontier()));
            return Reply::Stored;
        };
        if !record.is_intact() {
            return Reply::Refused { reason: Refusal::Corrupt };
        }
        let Some((key, _)) = KeyValue::decode(&record.payload) else {
            return Reply::Refused { reason: Refusal::Malformed };
        };
        self.hlc_seen = self.hlc_seen.max(record.hlc);
        let (reply, entry) = self.merge(key, record);
        entry.stands_for.insert(&record.dot);
        entry.stands_for.merge(&covers);
        reply
    }

    /// The larger version wins; of equal versions the larger digest, and that is drift.
    fn merge(&mut self, key: &str, record: &Arc<Record>) -> (Reply, &mut Entry) {
        let entry = self
            .keys
            .entry(key.to_owned())
            .or_insert_with(|| Entry { current: Arc::clone(record), stands_for: Frontier::new() });
        let current = (entry.current.version(), entry.current.digest);
        let offered = (record.version(), record.digest);
        let reply = if offered == current {
            Reply::Stored
        } else if offered.0 == current.0 {
            Reply::Drift
        } else if offered.0 < current.0 {
            Reply::Superseded { version: current.0.clone(), is_same_write: false }
        } else {
            Reply::Stored
        };
        if offered > current {
            entry.current = Arc::clone(record);
        }
        (reply, entry)
    }

    pub(super) fn replay(
        &self,
        lineage: &Lineage,
        wanted: &SeqSet,
        bytes_max: usize,
    ) -> Vec<Incoming> {
        // What a set of dots has in common with the wanted ones, after the smallest of these.
        let hits = |covered: &Frontier| {
            let hits = shared(covered.of(lineage)?, wanted);
            let (first, _) = hits.intervals().next()?;
            Some((first, hits))
        };
        let of_keys = self.keys.values().filter_map(|entry| {
            let (first, hits) = hits(&entry.stands_for)?;
            Some((first, entry.standing_for([(lineage.clone(), hits)].into_iter().collect())))
        });
        let keyless = hits(&self.keyless).map(|(first, hits)| {
            let covers = vec![(lineage.clone(), hits)];
            (first, Incoming { record: None, covers, ..Incoming::default() })
        });
        let mut found: Vec<_> = of_keys.chain(keyless).collect();
        found.sort_by_key(|(first, _)| *first);
        let items = found.into_iter().map(|(_, item)| item);
        page(items, bytes_max)
    }

    /// One page of current records with the dots they stand for, and the cursor unless it is the last one.
    pub(super) fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        let after = after.map(|cursor| String::from_utf8_lossy(&cursor).into_owned());
        let rest = || self.keys.iter().filter(|(key, _)| after.as_ref() < Some(*key));
        let items = rest().map(|(_, entry)| entry.standing_for(entry.stands_for.clone()));
        let items = page(items, bytes_max);
        let last = items.len().checked_sub(1).and_then(|last| rest().nth(last));
        let cursor = last.map(|(key, _)| key.clone().into_bytes());
        let cursor = cursor.filter(|_| rest().count() > items.len());
        (items, cursor)
    }
}

/// The numbers that are in both sets.
fn shared(one: &SeqSet, other: &SeqSet) -> SeqSet {
    one.minus(&one.minus(other))
}

/// Items until `bytes_max` of payload are together; at least one.
fn page(items: impl Iterator<Item = Incoming>, bytes_max: usize) -> Vec<Incoming> {
    let mut bytes = 0;
    let mut fits = |item: &Incoming| {
        let is_first = bytes == 0;
        // An item without a record counts as a byte, so that only one item is ever the first.
        bytes += item.record.as_ref().map_or(1, |record| record.payload.len().max(1));
        is_first || bytes <= bytes_max
    };
    items.take_while(|item| fits(item)).collect()
}
