//! What has changed on this node, in the order in which it was applied here: numbered, bounded, durable.
//!
//! A change names the key and the dot that made it. Whoever follows reads the record that is there now, so a change that
//! was overwritten since is passed over: the later one shows the key's newest value.

use std::ops::Bound;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use quorum_core::Record;
use tokio::sync::watch;

use super::Store;
use super::engine::{PageLimit, Space, View};
use super::error::StoreError;
use super::read::{StoredRecord, stored};
use super::schema::{Corrupt, LineageNumber, RecordKey};
use crate::record::{Key, Namespace};

/// Payload and key bytes read at once.
const PAGE_BYTES: usize = 1 << 20;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Change {
    /// Its number on this node, from 1 in the life of the data directory.
    pub number: u64,
    /// Where its key lives.
    pub namespace: Namespace,
    /// The key.
    pub key: Key,
    /// The record, which is still the newest of its key; a tombstone is a change too. `None` if the key was deleted, and
    /// its tombstone is purged by now.
    pub record: Option<StoredRecord>,
}

/// A page of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the place is still there or not")]
pub enum Changes {
    /// The changes behind the place that was asked for, in order.
    Page {
        /// Those that are still visible.
        changes: Vec<Change>,
        /// The place behind the last one that was looked at.
        next: u64,
    },
    /// What came after that place is no longer known.
    Trimmed {
        /// The earliest place that can still be followed from.
        oldest: u64,
        /// The last change.
        newest: u64,
    },
}

/// An entry of [`Space::Changes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangeEntry {
    pub(super) lineage: LineageNumber,
    pub(super) seq: u64,
    /// Whether the key was deleted by it.
    pub(super) is_tombstone: bool,
    pub(super) key: RecordKey,
}

impl ChangeEntry {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(13 + self.key.bytes().len());
        bytes.put_u32(self.lineage.0);
        bytes.put_u64(self.seq);
        bytes.put_u8(u8::from(self.is_tombstone));
        bytes.put_slice(self.key.bytes());
        bytes.freeze()
    }

    pub(super) fn decode(value: &Bytes) -> Result<Self, Corrupt> {
        let corrupt = Corrupt { what: "change" };
        let (lineage, rest) = value.split_first_chunk().ok_or(corrupt)?;
        let (seq, rest) = rest.split_first_chunk().ok_or(corrupt)?;
        let (is_tombstone, key) = match rest.split_first().ok_or(corrupt)? {
            (0, key) => (false, key),
            (1, key) => (true, key),
            _ => return Err(corrupt),
        };
        Ok(Self {
            is_tombstone,
            lineage: LineageNumber(u32::from_be_bytes(*lineage)),
            seq: u64::from_be_bytes(*seq),
            key: RecordKey::from_bytes(value.slice(value.len() - key.len()..)),
        })
    }
}

pub(super) fn change_key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(super) fn change_number(key: &[u8]) -> Result<u64, Corrupt> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| Corrupt { what: "change number" })
}

/// The smallest number that is kept, or `None` if there is none.
pub(super) fn first_change(view: &dyn View) -> Result<Option<u64>, StoreError> {
    let first =
        view.page(Space::Changes, (Bound::Unbounded, Bound::Unbounded), PageLimit::new(1, 1))?;
    Ok(first.first().map(|(key, _)| change_number(key)).transpose()?)
}

impl Store {
    /// Changes behind the place `after`, at most `limit` looked at. Only synced ones.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`], or [`StoreError::Closed`].
    pub fn changes(&self, after: u64, limit: usize) -> Result<Changes, StoreError> {
        let newest = *self.shared.changes.borrow();
        let view = self.shared.view()?;
        let oldest = first_change(&*view)?.map_or(newest, |first| first.saturating_sub(1));
        if after < oldest || after > newest {
            return Ok(Changes::Trimmed { oldest, newest });
        }
        let (from, to) = (change_key(after), change_key(newest));
        let range = (Bound::Excluded(from.as_ref()), Bound::Included(to.as_ref()));
        let (mut changes, mut next, mut bytes) = (Vec::new(), after, 0);
        if after == newest {
            return Ok(Changes::Page { changes, next });
        }
        let limit = PageLimit::new(limit.max(1), PAGE_BYTES);
        for (key, value) in view.page(Space::Changes, range, limit)? {
            if bytes > PAGE_BYTES {
                break;
            }
            let (number, entry) = (change_number(&key)?, ChangeEntry::decode(&value)?);
            next = number;
            if let Some(record) = self.shown(&*view, &entry)? {
                bytes += record.as_ref().map_or(0, |record| record.payload.len());
                let (namespace, key) = entry.key.split()?;
                let record = record.map(stored).transpose()?;
                changes.push(Change { number, namespace, key, record });
            }
        }
        Ok(Changes::Page { changes, next })
    }

    /// What a change shows now: its record, or that its key is gone for good. Nothing if a later change shows the key.
    fn shown(
        &self,
        view: &dyn View,
        entry: &ChangeEntry,
    ) -> Result<Option<Option<Arc<Record>>>, StoreError> {
        let Some(record) = self.record_at(view, &entry.key)? else {
            return Ok(entry.is_tombstone.then_some(None));
        };
        let is_its = self.shared.lineages.read().name(entry.lineage)? == &record.dot.lineage
            && record.dot.seq == entry.seq;
        Ok((is_its && record.is_intact()).then_some(Some(record)))
    }

    /// The number of the last synced change, and a ring when there is a later one.
    #[must_use]
    pub fn subscribe_changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_and_order_by_number() {
        let key = RecordKey::from_parts("ns", b"k");
        for is_tombstone in [false, true] {
            let key = key.clone();
            let entry = ChangeEntry { lineage: LineageNumber(7), seq: 9, is_tombstone, key };
            assert_eq!(ChangeEntry::decode(&entry.encode()), Ok(entry));
        }
        assert!(ChangeEntry::decode(&Bytes::from_static(b"short")).is_err());
        assert!(change_key(255) < change_key(256));
        assert_eq!(change_number(&change_key(256)), Ok(256));
    }
}
