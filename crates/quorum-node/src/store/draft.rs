//! What one commit changes: jobs go in one after the other, a batch for the engine comes out.
//!
//! The draft sees the newest state, the jobs before it in the same commit included, so that merging many records of
//! one key in one commit gives what merging them one by one would. It does no I/O but reads.
//!
//! What cannot be read is the trouble of the job that needs it: a job reads before it changes anything, so one that ends with
//! an error leaves the draft as if it had never been there, and nothing is put over what might be newer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;
use quorum_core::planted::{self, Bug};
use quorum_core::{
    Busy, Durability, Hlc, Lineage, Origin, Record, Refusal, Reply, SeqSet, StandIn, Version,
    WriteId,
};

use super::changes::{ChangeEntry, change_key, change_number, encode_changes};
use super::config::StoreConfig;
use super::engine::{Batch, PageLimit, Space, View};
use super::error::StoreError;
use super::facts::Fact;
use super::heads::Heads;
use super::lineages::Lineages;
use super::merge::{Contender, Merged, merge};
use super::schema::{
    Head, LineageNumber, LogEntry, RecordKey, WriteEntry, decode_tombstone_key, encode_lineage,
    encode_seqs, encode_u64, meta, tombstone_key,
};
use crate::record::ContentRef;

/// Log entries, or changes of so many commits, that one trimming step removes, and bytes of them after which it ends.
const TRIM_STEP: PageLimit = PageLimit::new(1_024, 4 << 20);

/// Entries that are kept as one, at most: whoever looks for a dot reads them all.
const LOG_RUN_MAX: usize = 128;

/// Tombstones that one purging step removes.
const PURGE_STEP: usize = 1_024;

/// Changes beyond the bound that are forgotten together.
const CHANGES_TRIM_STEP: u64 = 1_024;

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
        Self { held, view, lineages, config, touched, seen, changes, log, finished }
    }

    /// Merges a record of a peer, and covers its dot and the dots it stands for unless it is refused. One that would have to
    /// be compared with what cannot be read may come again.
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
        match self.merge_as(record, key, is_tombstone, covers, false) {
            Err(error @ StoreError::Unreadable { .. }) => {
                self.found_unreadable(error);
                Ok(Reply::Busy { reason: Busy::Disk })
            }
            merged => merged,
        }
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
                return Ok(self.cover_where_room(covers, about, Reply::Stored));
            }
            // It was overwritten here by a delete that is purged by now.
            (Merged::Newest, _) if is_covered && record.hlc <= self.held.purged => {
                self.remember(record, lineage, key, executed);
                let origin = record.dot.lineage.origin.clone();
                let version = Version { hlc: self.held.purged, origin };
                let reply = Reply::Superseded { version, is_same_write: false };
                return Ok(self.cover_where_room(covers, about, reply));
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
        // The dot may close what the others leave open, or the other way round.
        let early = self.cover_where_room(covers, about, Reply::Stored);
        if !is_covered && !self.cover_dot(lineage, record.dot.seq, about) {
            // A snapshot brings as many scattered dots as there are keys: once all its records are here, its claim covers
            // every one of them and closes the gaps.
            return Ok(Reply::Busy { reason: Busy::Kept });
        }
        let is_left = early != Reply::Stored;
        Ok(if is_left { self.cover_where_room(covers, about, reply) } else { reply })
    }

    /// Covers dots for which there is no record: those of a snapshot, which the log knows nothing about.
    pub(crate) fn adopt(&mut self, covers: &[(Lineage, SeqSet)]) -> Reply {
        if let Some(reply) = self.refuse_covers(covers) {
            return reply;
        }
        self.finished.wants_sync = true;
        let mut is_all = true;
        for (lineage, seqs) in covers {
            let lineage = self.number(lineage).expect("checked above");
            for (first, last) in self.lacking(lineage, seqs) {
                let has_room = self.has_room(Some(lineage), first, last);
                if has_room {
                    self.hold(lineage, first, last);
                }
                is_all &= has_room;
            }
        }
        if is_all { Reply::Stored } else { Reply::Busy { reason: Busy::Gaps } }
    }

    /// Covers dots that no member holds; the log says so to whoever asks for them.
    pub(crate) fn cover_void(&mut self, dots: &[(Lineage, SeqSet)]) {
        self.finished.wants_sync = true;
        for (lineage, seqs) in dots {
            let Some(lineage) = self.number(lineage) else { continue };
            for (first, last) in self.lacking(lineage, seqs) {
                self.cover(lineage, first, last, None);
            }
        }
    }

    /// Covers dots that no member holds, as a peer says.
    pub(crate) fn adopt_void(&mut self, dots: &[(Lineage, SeqSet)]) -> Reply {
        if let Some(reply) = self.refuse_covers(dots) {
            return reply;
        }
        self.finished.wants_sync = true;
        self.cover_where_room(dots, None, Reply::Stored)
    }

    /// Covers dots for which a record stands that is here already, or a newer one of its key.
    pub(crate) fn adopt_held(&mut self, covers: &[(Lineage, SeqSet)], stand_in: &StandIn) -> Reply {
        let lineage = self.lineages.read().number(&stand_in.dot.lineage);
        let held = lineage.and_then(|lineage| self.held.frontier.get(&lineage));
        let is_held = held.is_some_and(|held| held.contains(stand_in.dot.seq));
        if !is_held && !planted::is(Bug::RecordLeftOut) {
            return Reply::Busy { reason: Busy::Gaps };
        }
        if let Some(reply) = self.refuse_covers(covers) {
            return reply;
        }
        self.finished.wants_sync = true;
        let key = RecordKey::from_bytes(stand_in.key.clone());
        self.cover_where_room(covers, Some((&key, stand_in.hlc)), Reply::Stored)
    }

    /// Remembers something about a member.
    pub(crate) fn establish(&mut self, fact: &Fact) {
        self.finished.wants_sync = true;
        match fact {
            Fact::Purged(hlc) => self.held.purged = self.held.purged.max(*hlc),
            Fact::Forgotten(life) => {
                self.held.forgotten.insert(life.clone());
            }
            _ => {}
        }
        let (key, value) = fact.encode();
        self.finished.batch.put(Space::Meta, key, value);
    }

    /// Syncs what was committed before.
    pub(crate) fn sync(&mut self) {
        self.finished.wants_sync = true;
    }

    /// Issues nothing at or below this time any more, in this or any later start.
    pub(crate) fn close(&mut self, hlc: Hlc) {
        self.finished.wants_sync = true;
        self.seen = self.seen.max(hlc);
    }

    /// Removes the oldest tombstones up to a time, as far as they are still the newest of their keys. Tells how many, and
    /// whether there are no more. That they are purged must be durable by then: their log entries are void from now on.
    pub(crate) fn purge(&mut self, up_to: Hlc) -> Result<(u64, bool), StoreError> {
        // What was removed before something could not be read stays removed.
        self.finished.wants_sync = true;
        let up_to = up_to.min(self.held.purged);
        let end = tombstone_key(up_to.next(), &[]);
        let range = (Bound::Unbounded, Bound::Excluded(end.as_ref()));
        let page =
            self.view.page(Space::Tombstones, range, PageLimit::new(PURGE_STEP, usize::MAX))?;
        let (is_all, mut purged) = (page.len() < PURGE_STEP, 0);
        for (at, _) in page {
            let (hlc, key) = decode_tombstone_key(&at)?;
            if let Some(value) = self.newest(Space::Records, key.bytes())? {
                let head = Head::decode(&value)?;
                if head.is_tombstone && head.hlc == hlc {
                    self.finished.batch.remove(Space::Records, key.bytes().clone());
                    self.held.heads.forget(&key);
                    purged += 1;
                }
            }
            self.finished.batch.remove(Space::Tombstones, at);
        }
        Ok((purged, is_all))
    }

    /// Puts a record whose dot is covered over the one that is there, if that one is missing, damaged, older, or drifted with
    /// the smaller digest. Tells whether it was put.
    pub(crate) fn repair(&mut self, record: &Record) -> Result<bool, StoreError> {
        let lineage = &record.dot.lineage;
        let Some(number) = self.lineages.read().number(lineage) else { return Ok(false) };
        let is_covered =
            self.held.frontier.get(&number).is_some_and(|held| held.contains(record.dot.seq));
        let Some(content) = ContentRef::parse(&record.payload).ok().filter(|_| is_covered) else {
            return Ok(false);
        };
        let (key, is_tombstone) = (RecordKey::of(&content), content.value.is_none());
        if is_tombstone && record.hlc <= self.held.purged {
            return Ok(false);
        }
        let incoming =
            Contender { hlc: record.hlc, origin: &lineage.origin, digest: &record.digest };
        let (mut replaces, mut tombstone) = (true, None);
        if let Some(value) = self.newest(Space::Records, key.bytes())?
            && let Ok(head) = Head::decode(&value)
        {
            let lineages = self.lineages.read();
            let origin = &lineages.name(head.lineage)?.origin;
            let current = Contender { hlc: head.hlc, origin, digest: &head.digest };
            tombstone = head.is_tombstone.then_some(head.hlc);
            let merged = merge(Some(current), incoming);
            let here = head.into_record(lineage.clone(), &value);
            let is_sound = key.has(&here);
            replaces = match merged {
                Merged::Newest | Merged::Drift { replaces: true } => true,
                // Of a damaged record, the digest may be what is damaged.
                Merged::Duplicate | Merged::Drift { replaces: false } => !is_sound,
                // What is intact and of another key says nothing about this one.
                Merged::Superseded => here.is_intact() && !is_sound,
            };
        }
        if replaces {
            self.finished.wants_sync = true;
            self.finished.records += 1;
            self.seen = self.seen.max(record.hlc);
            self.put(record, number, &key, is_tombstone, tombstone);
        }
        Ok(replaces)
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

    /// Raises the clock's ceiling.
    pub(crate) fn reserve(&mut self, ceiling: Hlc) {
        self.finished.wants_sync = true;
        self.held.bound = self.held.bound.max(ceiling);
        self.finished.batch.put(Space::Meta, meta::CEILING, encode_u64(ceiling.as_u64()));
    }

    /// Removes the next log entries at or before `up_to`. Tells up to where the log is trimmed then.
    pub(crate) fn trim(&mut self, lineage: &Lineage, up_to: u64) -> Result<u64, StoreError> {
        let Some(lineage) = self.lineages.read().number(lineage) else { return Ok(up_to) };
        let (from, to) = (LogEntry::key(lineage, 0), LogEntry::key(lineage, up_to));
        let page = self.view.page(
            Space::Log,
            (Bound::Included(&from), Bound::Included(&to)),
            TRIM_STEP,
        )?;
        let bytes: usize = page.iter().map(|(key, value)| key.len() + value.len()).sum();
        let is_all = page.len() < TRIM_STEP.entries && bytes < TRIM_STEP.bytes;
        let trimmed = match page.last() {
            Some((key, _)) if !is_all => LogEntry::last_of(key)?,
            _ => up_to,
        };
        for (key, _) in page {
            self.finished.batch.remove(Space::Log, key);
        }
        self.finished.wants_sync = true;
        self.finished.batch.put(Space::Meta, meta::trimmed(lineage), encode_u64(trimmed));
        self.finished.trimmed.push((lineage, trimmed));
        Ok(trimmed)
    }

    /// Forgets a write id.
    pub(crate) fn forget(&mut self, write_id: &WriteId) {
        self.finished.wants_sync = true;
        let write_id = Bytes::copy_from_slice(write_id.as_bytes());
        self.finished.batch.remove(Space::Writes, write_id);
    }

    /// Makes a lineage the one that local writes are numbered in.
    ///
    /// It gets its number here: a limit on what peers bring must not stop local writes.
    pub(crate) fn begin(&mut self, lineage: &Lineage) {
        self.finished.wants_sync = true;
        let incarnation = Bytes::copy_from_slice(lineage.origin.incarnation.as_bytes());
        self.finished.batch.put(Space::Meta, meta::INCARNATION, incarnation);
        let starts = encode_u64(lineage.epoch.start());
        self.finished.batch.put(Space::Meta, meta::STARTS, starts);
        if self.lineages.read().number(lineage).is_none() {
            self.give_number(lineage);
        }
    }

    /// Adds what follows from all jobs together.
    pub(crate) fn finish(mut self) -> Result<Finished, StoreError> {
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

    /// Forgets the commits whose changes are all beyond the bound.
    fn trim_changes(&mut self) -> Result<(), StoreError> {
        let kept_from = (self.held.changes + 1).saturating_sub(self.config.changes_max);
        if kept_from < self.held.first_change + CHANGES_TRIM_STEP {
            return Ok(());
        }
        let end = change_key(kept_from);
        let range = (Bound::Unbounded, Bound::Excluded(end.as_ref()));
        for (key, _) in self.view.page(Space::Changes, range, TRIM_STEP)? {
            self.held.first_change = change_number(&key)? + 1;
            self.finished.batch.remove(Space::Changes, key);
        }
        Ok(())
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

    /// Why covers cannot be taken, if so: there is no number left for a lineage.
    fn refuse_covers(&mut self, covers: &[(Lineage, SeqSet)]) -> Option<Reply> {
        let are_numbered = covers.iter().all(|(lineage, _)| self.number(lineage).is_some());
        (!are_numbered).then_some(Reply::Refused { reason: Refusal::Policy })
    }

    /// Whether dots that are not held, one interval of them, may be covered. What begins a lineage or touches what is held
    /// always may: so whatever comes in order is taken, and gaps close however many there are. Anything else leaves one gap
    /// more, of which there is a bound for each lineage, and one for all: a frontier must fit into a frame.
    fn has_room(&self, lineage: Option<LineageNumber>, first: u64, last: u64) -> bool {
        let held = lineage.and_then(|lineage| self.held.frontier.get(&lineage));
        let touches = |held: &SeqSet| {
            [first - 1, first, last.saturating_add(1)].iter().any(|seq| held.contains(*seq))
        };
        first <= 1
            || held.is_some_and(touches)
            || held.map_or(0, gaps) < self.config.gaps_max
                && self.held.gaps < self.config.gaps_in_all_max
    }

    /// Covers what there is room for; the reply is for when that is everything. A receiver may promise less than it holds, so
    /// the rest can come again, and what is missing first in a lineage never waits for what is scattered behind it.
    fn cover_where_room(
        &mut self,
        covers: &[(Lineage, SeqSet)],
        about: Option<(&RecordKey, Hlc)>,
        reply: Reply,
    ) -> Reply {
        let mut is_all = true;
        for (lineage, seqs) in covers {
            let Some(lineage) = self.number(lineage) else { continue };
            for (first, last) in self.lacking(lineage, seqs) {
                let has_room = self.has_room(Some(lineage), first, last);
                if has_room {
                    self.cover(lineage, first, last, about);
                }
                is_all &= has_room;
            }
        }
        if is_all { reply } else { Reply::Busy { reason: Busy::Gaps } }
    }

    /// Covers the dot of a record, if there is room.
    fn cover_dot(
        &mut self,
        lineage: LineageNumber,
        seq: u64,
        about: Option<(&RecordKey, Hlc)>,
    ) -> bool {
        let has_room = self.has_room(Some(lineage), seq, seq);
        if has_room {
            let is_wide = planted::is(Bug::FrontierPastGap);
            self.cover(lineage, if is_wide { 1 } else { seq }, seq, about);
        }
        has_room
    }

    fn lacking(&mut self, lineage: LineageNumber, seqs: &SeqSet) -> Vec<(u64, u64)> {
        let held = self.held.frontier.entry(lineage).or_default();
        seqs.minus(held).intervals().collect()
    }

    /// Covers dots and says in the log which key they were about, so that whoever asks for one gets that key's current
    /// record.
    fn cover(
        &mut self,
        lineage: LineageNumber,
        first: u64,
        last: u64,
        about: Option<(&RecordKey, Hlc)>,
    ) {
        let (key, hlc) = (about.map(|(key, _)| key.clone()), about.map(|(_, hlc)| hlc));
        self.log.entry(lineage).or_default().push(LogEntry { first, last, key, hlc });
        self.hold(lineage, first, last);
    }

    fn hold(&mut self, lineage: LineageNumber, first: u64, last: u64) {
        let held = self.held.frontier.entry(lineage).or_default();
        let before = gaps(held);
        if first == last {
            held.insert(first);
        } else {
            held.insert_range(first, last);
        }
        self.held.gaps = self.held.gaps - before + gaps(held);
        self.touched.insert(lineage);
        match self.finished.covered.last_mut() {
            Some((at, _, end)) if *at == lineage && end.checked_add(1) == Some(first) => {
                *end = last
            }
            _ => self.finished.covered.push((lineage, first, last)),
        }
    }
}

/// How many intervals lie behind a gap.
pub(super) fn gaps(held: &SeqSet) -> usize {
    held.interval_count() - usize::from(held.contiguous() > 0)
}
