//! What one commit changes: jobs go in one after the other, a batch for the engine comes out.
//!
//! The draft sees the newest state, the jobs before it in the same commit included, so that merging many records of
//! one key in one commit gives what merging them one by one would. It does no I/O but reads.
//!
//! What cannot be read is the trouble of the job that needs it: a job reads before it changes anything, so one that ends with
//! an error leaves the draft as if it had never been there, and nothing is put over what might be newer.

mod covers;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use parking_lot::RwLock;
use quorum_core::{
    Busy, Durability, Hlc, Lineage, Origin, Record, Refusal, Reply, SeqSet, Version,
};

use self::covers::Left;
pub(super) use self::covers::gaps;
use super::changes::{ChangeEntry, change_key, encode_changes};
use super::config::StoreConfig;
use super::engine::{Batch, Space, View};
use super::error::StoreError;
use super::heads::Heads;
use super::lineages::Lineages;
use super::merge::{Contender, Merged, merge};
use super::schema::{
    Head, LineageNumber, LogEntry, RecordKey, WriteEntry, encode_lineage, encode_seqs, encode_u64,
    meta, tombstone_key,
};

/// Entries that are kept as one, at most: whoever looks for a dot reads them all.
const LOG_RUN_MAX: usize = 128;

/// What the committer knows beyond the engine: the frontier of everything committed, synced or not.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) frontier: HashMap<LineageNumber, SeqSet>,
    /// How many intervals it has in all behind a gap.
    pub(crate) gaps: usize,
    /// The durable bound at or above every timestamp this store must not issue again.
    pub(crate) bound: Hlc,
    /// The newest records of keys that were written of late.
    pub(crate) heads: Heads,
    /// The number of the last change, and of the first one that is kept.
    pub(crate) changes: u64,
    pub(crate) first_change: u64,
    /// Up to here tombstones are gone, so nothing unknown of that time is taken any more.
    pub(crate) purged: Hlc,
    /// Lives of members for which nobody waited when that was decided.
    pub(crate) forgotten: BTreeSet<Origin>,
}

/// What merging a record comes to.
struct Outcome {
    merged: Merged,
    /// The version that is there, if it is newer.
    newer: Option<Version>,
    /// The time of the tombstone that is there.
    tombstone: Option<Hlc>,
    /// The time of the newest write that is known by the same id.
    executed: Option<Hlc>,
}

/// A commit in the making.
pub(crate) struct Draft<'a> {
    held: &'a mut Held,
    view: &'a dyn View,
    lineages: &'a RwLock<Lineages>,
    config: &'a StoreConfig,
    touched: BTreeSet<LineageNumber>,
    seen: Hlc,
    /// The changes of this commit.
    changes: Vec<ChangeEntry>,
    /// What the log says about it.
    log: BTreeMap<LineageNumber, Vec<LogEntry>>,
    /// Items of peers so far.
    items: usize,
    /// What of them there is no room for yet.
    left: Vec<Left>,
    finished: Finished,
}

/// What a draft comes to.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    pub(crate) batch: Batch,
    /// Whether anything in it must be synced before it is answered.
    pub(crate) wants_sync: bool,
    /// Records merged.
    pub(crate) records: usize,
    /// Dots that become covered.
    pub(crate) covered: Vec<(LineageNumber, u64, u64)>,
    /// Logs that become shorter.
    pub(crate) trimmed: Vec<(LineageNumber, u64)>,
    /// Items of peers of which something is left that there was no room for, by their numbers in the commit, and what their
    /// senders are told in place of the reply.
    pub(crate) untaken: BTreeMap<usize, Busy>,
    /// What could not be read first.
    pub(crate) unreadable: Option<StoreError>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        held: &'a mut Held,
        view: &'a dyn View,
        lineages: &'a RwLock<Lineages>,
        config: &'a StoreConfig,
    ) -> Self {
        let (touched, finished) = (BTreeSet::new(), Finished::default());
        let (seen, changes, log) = (Hlc::ZERO, Vec::new(), BTreeMap::new());
        let (items, left) = (0, Vec::new());
        Self { held, view, lineages, config, touched, seen, changes, log, items, left, finished }
    }

    /// How many items of peers there were so far.
    pub(crate) const fn items(&self) -> usize {
        self.items
    }

    /// An item of a peer comes to this. One that needs what cannot be read may come again.
    pub(crate) fn end_item(
        &mut self,
        reply: Result<Reply, StoreError>,
    ) -> Result<Reply, StoreError> {
        self.items += 1;
        match reply {
            Err(error @ StoreError::Unreadable { .. }) => {
                self.found_unreadable(error);
                Ok(Reply::Busy { reason: Busy::Disk })
            }
            reply => reply,
        }
    }

    /// Merges a record of a peer, and covers its dot and the dots it stands for unless it is refused.
    ///
    /// Of what there is no room for in the frontier, a `durable` record is kept and not promised; one that its sender may
    /// still lose is not: it would remain here alone.
    pub(crate) fn merge(
        &mut self,
        record: &Record,
        key: &RecordKey,
        is_tombstone: bool,
        covers: &[(Lineage, SeqSet)],
        durable: bool,
    ) -> Result<Reply, StoreError> {
        if !durable {
            let number = self.lineages.read().number(&record.dot.lineage);
            if !self.has_room(number, record.dot.seq, record.dot.seq) {
                return Ok(Reply::Busy { reason: Busy::Gaps });
            }
        }
        self.merge_as(record, key, is_tombstone, covers, false)
    }

    /// Merges a local write.
    pub(crate) fn stage(
        &mut self,
        record: &Record,
        key: &RecordKey,
        is_tombstone: bool,
    ) -> Result<Reply, StoreError> {
        self.merge_as(record, key, is_tombstone, &[], true)
    }

    /// Notes that something could not be read.
    pub(crate) fn found_unreadable(&mut self, error: StoreError) {
        self.finished.unreadable.get_or_insert(error);
    }

    fn merge_as(
        &mut self,
        record: &Record,
        key: &RecordKey,
        is_tombstone: bool,
        covers: &[(Lineage, SeqSet)],
        is_local: bool,
    ) -> Result<Reply, StoreError> {
        if self.is_too_old(record) {
            return Ok(Reply::Refused { reason: Refusal::TooOld });
        }
        let Some(lineage) = self.number(&record.dot.lineage) else {
            return Ok(Reply::Refused { reason: Refusal::Policy });
        };
        if let Some(reply) = self.refuse_covers(covers) {
            return Ok(reply);
        }
        let held = self.held.frontier.entry(lineage).or_default();
        let is_covered = held.contains(record.dot.seq);
        let outcome = self.outcome_as(record, key, is_local)?;
        let (executed, about) = (outcome.executed, Some((key, record.hlc)));
        self.finished.wants_sync |= record.durability != Durability::Relaxed;
        let reply = match (outcome.merged, outcome.newer) {
            // The tombstone was here and is purged: what it stands for is as void here as it is itself.
            (Merged::Newest, _) if is_covered && is_tombstone && record.hlc <= self.held.purged => {
                self.remember(record, lineage, key, executed);
                self.cover_where_room(covers, about);
                return Ok(Reply::Stored);
            }
            // It was overwritten here by a delete that is purged by now.
            (Merged::Newest, _) if is_covered && record.hlc <= self.held.purged => {
                self.remember(record, lineage, key, executed);
                let origin = record.dot.lineage.origin.clone();
                let version = Version { hlc: self.held.purged, origin };
                self.cover_where_room(covers, about);
                return Ok(Reply::Superseded { version, is_same_write: false });
            }
            // The record of a covered dot was here, and is gone for good. A delete brings nothing back: it was covered by
            // somebody who had purged it, when others had not.
            (Merged::Newest, _) if is_covered && !is_tombstone => {
                return Ok(Reply::Refused { reason: Refusal::TooOld });
            }
            (Merged::Newest, _) => {
                self.put(record, lineage, key, is_tombstone, outcome.tombstone);
                Reply::Stored
            }
            (Merged::Duplicate, _) => Reply::Stored,
            (Merged::Superseded, Some(version)) => {
                let is_same_write = executed.is_some_and(|executed| executed > record.hlc);
                Reply::Superseded { version, is_same_write }
            }
            (Merged::Drift { replaces }, _) => {
                if replaces {
                    self.put(record, lineage, key, is_tombstone, outcome.tombstone);
                }
                Reply::Drift
            }
            (Merged::Superseded, None) => unreachable!("nothing was superseded by a record"),
        };
        self.finished.records += 1;
        self.seen = self.seen.max(record.hlc);
        // Also where the dot was covered by the record of a later write: what is counted as a copy must be known by its id.
        self.remember(record, lineage, key, executed);
        self.cover_where_room(covers, about);
        if !is_covered {
            self.cover_dot(lineage, record.dot.seq, about, is_local);
        }
        Ok(reply)
    }

    /// Whether a record whose dot is not known here lies at or below the time up to which tombstones are purged: every
    /// dot of that time is known, so this one comes from a clock that went back, or from a member that nobody waits for.
    /// What that member had told others before it was given up is taken all the same: they hold it as current.
    fn is_too_old(&self, record: &Record) -> bool {
        let lineage = &record.dot.lineage;
        let is_known = |number| {
            self.held.frontier.get(&number).is_some_and(|held| held.contains(record.dot.seq))
        };
        record.hlc <= self.held.purged
            && !self.held.forgotten.contains(&lineage.origin)
            && !self.lineages.read().number(lineage).is_some_and(is_known)
    }

    /// Adds what follows from all jobs together.
    pub(crate) fn finish(mut self) -> Result<Finished, StoreError> {
        if !self.left.is_empty() {
            self.finished.untaken = self.cover_what_is_left();
        }
        if !self.changes.is_empty() {
            let last = self.held.changes;
            let value = encode_changes(&self.changes);
            self.finished.batch.put(Space::Changes, change_key(last), value);
            if let Err(error) = self.trim_changes() {
                self.found_unreadable(error);
            }
            self.finished.batch.put(Space::Meta, meta::CHANGES, encode_u64(last));
        }
        for (lineage, mut entries) in std::mem::take(&mut self.log) {
            entries.sort_unstable_by_key(|entry| entry.first);
            let follows =
                |one: &LogEntry, next: &LogEntry| one.last.checked_add(1) == Some(next.first);
            for run in entries.chunk_by(follows).flat_map(|run| run.chunks(LOG_RUN_MAX)) {
                let (key, value) = LogEntry::encode_run(run, lineage);
                self.finished.batch.put(Space::Log, key, value);
            }
        }
        for lineage in self.touched {
            let seqs = encode_seqs(&self.held.frontier[&lineage]);
            self.finished.batch.put(Space::Frontier, lineage.key(), seqs);
        }
        if self.seen > self.held.bound {
            self.held.bound = self.seen;
            let seen = encode_u64(self.seen.as_u64());
            self.finished.batch.put(Space::Meta, meta::SEEN, seen);
        }
        Ok(self.finished)
    }

    /// What merging says. A local write has a version above everything that was ever here, so that it is the newest also where
    /// that cannot be read.
    fn outcome_as(
        &mut self,
        record: &Record,
        key: &RecordKey,
        is_local: bool,
    ) -> Result<Outcome, StoreError> {
        match self.outcome(record, key) {
            Err(error @ StoreError::Unreadable { .. }) if is_local => {
                self.found_unreadable(error);
                let merged = Merged::Newest;
                Ok(Outcome { merged, newer: None, tombstone: None, executed: None })
            }
            outcome => outcome,
        }
    }

    /// What merging says, with what is there.
    fn outcome(&mut self, record: &Record, key: &RecordKey) -> Result<Outcome, StoreError> {
        let incoming = Contender {
            hlc: record.hlc,
            origin: &record.dot.lineage.origin,
            digest: &record.digest,
        };
        let executed = self.executed(record)?;
        let Some(head) = self.head(key)? else {
            let merged = merge(None, incoming);
            return Ok(Outcome { merged, newer: None, tombstone: None, executed });
        };
        let lineages = self.lineages.read();
        let origin = &lineages.name(head.lineage)?.origin;
        let current = Contender { hlc: head.hlc, origin, digest: &head.digest };
        let merged = merge(Some(current), incoming);
        let newer = (merged == Merged::Superseded)
            .then(|| Version { hlc: head.hlc, origin: origin.clone() });
        let tombstone = head.is_tombstone.then_some(head.hlc);
        Ok(Outcome { merged, newer, tombstone, executed })
    }

    /// The newest record of a key, without its payload.
    fn head(&mut self, key: &RecordKey) -> Result<Option<Head>, StoreError> {
        if let Some(known) = self.held.heads.get(key) {
            return Ok(Some(known));
        }
        let Some(value) = self.newest(Space::Records, key.bytes())? else { return Ok(None) };
        let head = Head::decode(&value)?;
        self.held.heads.put(key, head.clone());
        Ok(Some(head))
    }

    fn newest(&self, space: Space, key: &Bytes) -> Result<Option<Bytes>, StoreError> {
        match self.finished.batch.change(space, key) {
            Some(change) => Ok(change.cloned()),
            None => Ok(self.view.get(space, key)?),
        }
    }

    /// `replaced` is the time of the tombstone that was there.
    fn put(
        &mut self,
        record: &Record,
        lineage: LineageNumber,
        key: &RecordKey,
        is_tombstone: bool,
        replaced: Option<Hlc>,
    ) {
        if let Some(hlc) = replaced {
            self.finished.batch.remove(Space::Tombstones, tombstone_key(hlc, key.bytes()));
        }
        if is_tombstone {
            let at = tombstone_key(record.hlc, key.bytes());
            self.finished.batch.put(Space::Tombstones, at, Bytes::new());
        }
        let head = Head {
            hlc: record.hlc,
            lineage,
            seq: record.dot.seq,
            write_id: record.write_id,
            digest: record.digest,
            durability: record.durability,
            is_tombstone,
        };
        let value = head.encode(&record.payload);
        self.held.heads.put(key, head);
        self.finished.batch.put(Space::Records, key.bytes().clone(), value);
        self.held.changes += 1;
        let seq = record.dot.seq;
        self.changes.push(ChangeEntry { lineage, seq, is_tombstone, key: key.clone() });
    }

    /// The time of the newest write that is known by the id of this one.
    fn executed(&self, record: &Record) -> Result<Option<Hlc>, StoreError> {
        let write_id = Bytes::copy_from_slice(record.write_id.as_bytes());
        let Some(known) = self.newest(Space::Writes, &write_id)? else { return Ok(None) };
        Ok(Some(WriteEntry::decode(&known)?.hlc))
    }

    /// Keeps the write id with the newest version that carries it. The newest one so far is of the time `executed`.
    fn remember(
        &mut self,
        record: &Record,
        lineage: LineageNumber,
        key: &RecordKey,
        executed: Option<Hlc>,
    ) {
        if executed.is_some_and(|executed| executed >= record.hlc) {
            return;
        }
        let write_id = Bytes::copy_from_slice(record.write_id.as_bytes());
        let entry = WriteEntry {
            hlc: record.hlc,
            lineage,
            seq: record.dot.seq,
            digest: record.digest,
            key: key.clone(),
        };
        self.finished.batch.put(Space::Writes, write_id, entry.encode());
    }

    /// The number of a lineage, given now if it has none and there is one left.
    fn number(&mut self, lineage: &Lineage) -> Option<LineageNumber> {
        if let Some(number) = self.lineages.read().number(lineage) {
            return Some(number);
        }
        if self.lineages.read().len() >= self.config.lineages_max {
            return None;
        }
        Some(self.give_number(lineage))
    }

    fn give_number(&mut self, lineage: &Lineage) -> LineageNumber {
        let number = self.lineages.write().add(lineage.clone());
        self.finished.batch.put(Space::Meta, meta::lineage(number), encode_lineage(lineage));
        number
    }
}
