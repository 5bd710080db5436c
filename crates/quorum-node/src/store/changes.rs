//! What has changed on this node, in the order in which it was applied here: numbered, bounded, durable.
//!
//! A change names the key and the dot that made it. Those of one commit are kept together. Whoever follows reads the
//! record that is there now, so a change that was overwritten since is passed over: the later one shows the key's newest
//! value.

use std::ops::Bound;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorum_core::Record;
use tokio::sync::watch;

use super::Store;
use super::engine::{PageLimit, Space, View};
use super::error::StoreError;
use super::read::{StoredRecord, stored};
use super::schema::{Corrupt, LineageNumber, RecordKey, decode_count};
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

/// One change, as [`Space::Changes`] keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangeEntry {
    pub(super) lineage: LineageNumber,
    pub(super) seq: u64,
    /// Whether the key was deleted by it.
    pub(super) is_tombstone: bool,
    pub(super) key: RecordKey,
}

/// The value of [`Space::Changes`]: all changes of one commit, in order. Its key is the number of the last one: an entry
/// for each would cost the engine as much as the record itself.
pub(super) fn encode_changes(changes: &[ChangeEntry]) -> Bytes {
    let keys: usize = changes.iter().map(|change| change.key.bytes().len()).sum();
    let mut bytes = BytesMut::with_capacity(15 * changes.len() + keys);
    for ChangeEntry { lineage, seq, is_tombstone, key } in changes {
        bytes.put_u32(lineage.0);
        bytes.put_u64(*seq);
        bytes.put_u8(u8::from(*is_tombstone));
        bytes.put_u16(u16::try_from(key.bytes().len()).expect("a key is shorter than that"));
        bytes.put_slice(key.bytes());
    }
    bytes.freeze()
}

pub(super) fn decode_changes(value: &Bytes) -> Result<Vec<ChangeEntry>, Corrupt> {
    let corrupt = Corrupt { what: "changes" };
    let mut rest = value.clone();
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let lineage = LineageNumber(rest.try_get_u32().map_err(|_| corrupt)?);
        let seq = rest.try_get_u64().map_err(|_| corrupt)?;
        let is_tombstone = match rest.try_get_u8().map_err(|_| corrupt)? {
            0 => false,
            1 => true,
            _ => return Err(corrupt),
        };
        let length = usize::from(rest.try_get_u16().map_err(|_| corrupt)?);
        if rest.len() < length {
            return Err(corrupt);
        }
        let key = RecordKey::from_bytes(rest.split_to(length));
        changes.push(ChangeEntry { lineage, seq, is_tombstone, key });
    }
    if changes.is_empty() { Err(corrupt) } else { Ok(changes) }
}

pub(super) fn change_key(last: u64) -> Bytes {
    Bytes::copy_from_slice(&last.to_be_bytes())
}

pub(super) fn change_number(key: &[u8]) -> Result<u64, Corrupt> {
    decode_count(key).map_err(|_| Corrupt { what: "change number" })
}

/// The smallest number that is kept, or `None` if there is none.
pub(super) fn first_change(view: &dyn View) -> Result<Option<u64>, StoreError> {
    let first =
        view.page(Space::Changes, (Bound::Unbounded, Bound::Unbounded), PageLimit::new(1, 1))?;
    let Some((key, value)) = first.first() else { return Ok(None) };
    let (last, count) = (change_number(key)?, decode_changes(value)?.len() as u64);
    Ok(Some((last + 1).saturating_sub(count)))
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
        let from = change_key(after);
        let range = (Bound::Excluded(from.as_ref()), Bound::Unbounded);
        let (mut changes, mut next, mut bytes) = (Vec::new(), after, 0);
        if after == newest {
            return Ok(Changes::Page { changes, next });
        }
        // Commits rather than changes are counted here; one is looked at as far as the limit goes.
        let mut left = limit.max(1);
        for (key, value) in view.page(Space::Changes, range, PageLimit::new(left, PAGE_BYTES))? {
            let (last, entries) = (change_number(&key)?, decode_changes(&value)?);
            let first = (last + 1).saturating_sub(entries.len() as u64);
            for (number, entry) in (first..=last.min(newest)).zip(entries) {
                if number <= after {
                    continue;
                }
                if bytes > PAGE_BYTES || left == 0 {
                    return Ok(Changes::Page { changes, next });
                }
                (next, left) = (number, left - 1);
                if let Some(record) = self.shown(&*view, &entry)? {
                    bytes += record.as_ref().map_or(0, |record| record.payload.len());
                    let (namespace, key) = entry.key.split()?;
                    let record = record.map(stored).transpose()?;
                    changes.push(Change { number, namespace, key, record });
                }
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
        let entry = |seq, is_tombstone| ChangeEntry {
            lineage: LineageNumber(7),
            seq,
            is_tombstone,
            key: RecordKey::from_parts("ns", b"k"),
        };
        let changes = vec![entry(9, false), entry(10, true)];
        let encoded = encode_changes(&changes);
        assert_eq!(decode_changes(&encoded), Ok(changes));
        for cut in 0..encoded.len() {
            let cut = decode_changes(&encoded.slice(..cut));
            assert!(cut.is_err() || cut.is_ok_and(|cut| cut.len() == 1), "the first, or nothing");
        }
        assert!(change_key(255) < change_key(256));
        assert_eq!(change_number(&change_key(256)), Ok(256));
    }
}
