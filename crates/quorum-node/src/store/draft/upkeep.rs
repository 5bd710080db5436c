//! What is not about a peer's record or a local write: the clock's ceiling, tombstones, the log, repair.

use std::ops::Bound;

use bytes::Bytes;
use quorum_core::{Hlc, Lineage, Record, WriteId};

use super::Draft;
use crate::record::ContentRef;
use crate::store::changes::{change_key, change_number};
use crate::store::engine::{PageLimit, Space};
use crate::store::error::StoreError;
use crate::store::facts::Fact;
use crate::store::merge::{Contender, Merged, merge};
use crate::store::schema::{
    Head, LogEntry, RecordKey, decode_tombstone_key, encode_u64, meta, tombstone_key,
};

/// Log entries, or changes of so many commits, that one trimming step removes, and bytes of them after which it ends.
const TRIM_STEP: PageLimit = PageLimit::new(1_024, 4 << 20);

/// Tombstones that one purging step removes.
const PURGE_STEP: usize = 1_024;

/// Changes beyond the bound that are forgotten together.
const CHANGES_TRIM_STEP: u64 = 1_024;

impl Draft<'_> {
    /// Raises the clock's ceiling.
    pub(crate) fn reserve(&mut self, ceiling: Hlc) {
        self.finished.wants_sync = true;
        self.held.bound = self.held.bound.max(ceiling);
        self.finished.batch.put(Space::Meta, meta::CEILING, encode_u64(ceiling.as_u64()));
    }

    /// Issues nothing at or below this time any more, in this or any later start.
    pub(crate) fn close(&mut self, hlc: Hlc) {
        self.finished.wants_sync = true;
        self.seen = self.seen.max(hlc);
    }

    /// Syncs what was committed before.
    pub(crate) fn sync(&mut self) {
        self.finished.wants_sync = true;
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

    /// Forgets the commits whose changes are all beyond the bound.
    pub(super) fn trim_changes(&mut self) -> Result<(), StoreError> {
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

    /// Forgets a write id.
    pub(crate) fn forget(&mut self, write_id: &WriteId) {
        self.finished.wants_sync = true;
        let write_id = Bytes::copy_from_slice(write_id.as_bytes());
        self.finished.batch.remove(Space::Writes, write_id);
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
}
