//! Reading the synced state: one key, a range of keys, everything, and a digest of everything.
//!
//! These functions may wait for the disk. Call those that page through many records from a thread that may block.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use quorum_core::{Digest, Dot, Record, Version, WriteId, wall_millis};

use super::Store;
use super::engine::{PageLimit, Space, View};
use super::error::StoreError;
use super::schema::{Head, RecordKey, WriteEntry};
use super::write_id_age::write_id_millis;
use crate::record::{Content, Key, Namespace};

/// Records read at once when everything is paged through.
const PAGE: PageLimit = PageLimit::new(1_024, 1 << 20);

/// A record as it is stored, with what its payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The envelope; cheap to send on.
    pub record: Arc<Record>,
    /// Namespace, key and value, in the memory of the payload.
    pub content: Content,
}

/// Where to go on with a range of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Live records in key order.
    pub records: Vec<StoredRecord>,
    /// The last key looked at, if there may be more behind it. A page may be short, even empty, before that: deleted
    /// keys are skipped.
    pub next: Option<Key>,
}

/// Where to go on with an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Live records in order of namespace and key.
    pub records: Vec<StoredRecord>,
    /// The last record looked at, if there may be more behind it.
    pub next: Option<ExportCursor>,
}

/// A place between two records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportCursor(Bytes);

/// What a write id names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundWrite {
    /// The write's dot; of a write that was stamped again, the last one seen here.
    pub dot: Dot,
    /// Its version.
    pub version: Version,
    /// The digest of its payload.
    pub digest: Digest,
    /// Where its key lives.
    pub namespace: Namespace,
    /// What it wrote.
    pub key: Key,
    /// The record itself, while no other write has taken its place.
    pub record: Option<Arc<Record>>,
    /// The newest version of its key; none if that was purged.
    pub newest: Option<Version>,
}

/// What is known here of a write id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever asks must judge every case")]
pub enum WriteLookup {
    /// Nothing.
    Unknown,
    /// It was used longer ago than ids are told apart, or says itself that it was made then.
    Expired,
    /// The write that it names.
    Known(Box<FoundWrite>),
}

impl Store {
    /// The current record of a key, a tombstone included.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`], or [`StoreError::Closed`].
    pub fn get(
        &self,
        namespace: &Namespace,
        key: &Key,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let at = RecordKey::new(namespace, key);
        let Some(record) = self.record_at(&*self.shared.view()?, &at)? else { return Ok(None) };
        stored(self.undamaged(&at, record)?).map(Some)
    }

    /// Live records of a namespace whose keys begin with `prefix` and lie behind `after`, at most `limit` looked at.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`], or [`StoreError::Closed`].
    pub fn scan(
        &self,
        namespace: &Namespace,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Scan, StoreError> {
        let first = RecordKey::from_parts(namespace.as_str(), prefix);
        let after = after.map(|key| RecordKey::new(namespace, key));
        let from = match &after {
            Some(after) if after >= &first => Bound::Excluded(after.bytes().as_ref()),
            _ => Bound::Included(first.bytes().as_ref()),
        };
        let end = end_of_prefix(first.bytes());
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_ref()));
        let limit = PageLimit::new(limit.max(1), PAGE.bytes);
        let view = self.shared.view()?;
        let page = view.page(Space::Records, (from, to), limit)?;
        // One that reached a limit may have more behind it; one that reached the end has not.
        let last = page.last().map(|(key, _)| key.clone());
        let is_full = page.len() >= limit.entries || page_bytes(&page) >= limit.bytes;
        let next = match last.filter(|_| is_full) {
            Some(last) => Some(RecordKey::from_bytes(last).split()?.1),
            None => None,
        };
        Ok(Scan { records: self.live(page)?, next })
    }

    /// Live records of all namespaces, page by page.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`], or [`StoreError::Closed`].
    pub fn export(&self, after: Option<&ExportCursor>, limit: usize) -> Result<Export, StoreError> {
        let limit = PageLimit::new(limit.max(1), PAGE.bytes);
        let after = after.map(|cursor| cursor.0.as_ref());
        let page = self.shared.view()?.page(Space::Records, behind(after), limit)?;
        let next = page.last().map(|(key, _)| ExportCursor(key.clone()));
        Ok(Export { records: self.live(page)?, next })
    }

    /// A digest over every record and tombstone with its version: equal on replicas that hold the same.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`], or [`StoreError::Closed`].
    pub fn content_digest(&self) -> Result<Digest, StoreError> {
        let view = self.shared.view()?;
        let mut hasher = blake3::Hasher::new();
        let mut after: Option<Bytes> = None;
        loop {
            let page = view.page(Space::Records, behind(after.as_deref()), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in &page {
                let head = Head::decode(value)?;
                let lineages = self.shared.lineages.read();
                let origin = &lineages.name(head.lineage)?.origin;
                hasher.update(&(key.len() as u64).to_be_bytes());
                hasher.update(key);
                hasher.update(&head.hlc.as_u64().to_be_bytes());
                hasher.update(origin.incarnation.as_bytes());
                hasher.update(&(origin.node.as_str().len() as u64).to_be_bytes());
                hasher.update(origin.node.as_str().as_bytes());
                hasher.update(head.digest.as_bytes());
            }
        }
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// What a write id names, if the write is synced here.
    ///
    /// A write that is still on its way to the disk is found by staging it again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`], or [`StoreError::Closed`].
    pub fn lookup(&self, write_id: &WriteId) -> Result<WriteLookup, StoreError> {
        let Some(entry) = self.write_entry(write_id)? else {
            let is_too_old = write_id_millis(write_id).is_some_and(|made| self.is_expired(made));
            return Ok(if is_too_old { WriteLookup::Expired } else { WriteLookup::Unknown });
        };
        if self.is_expired(entry.hlc.millis()) {
            return Ok(WriteLookup::Expired);
        }
        let lineage = self.shared.lineages.read().name(entry.lineage)?.clone();
        let record = self.record_at(&*self.shared.view()?, &entry.key)?;
        let dot = Dot { lineage, seq: entry.seq };
        let (namespace, key) = entry.key.split()?;
        Ok(WriteLookup::Known(Box::new(FoundWrite {
            version: Version { hlc: entry.hlc, origin: dot.lineage.origin.clone() },
            newest: record.as_ref().map(|record| record.version()),
            record: record.filter(|record| record.dot == dot),
            dot,
            digest: entry.digest,
            namespace,
            key,
        })))
    }

    pub(super) fn write_entry(&self, write_id: &WriteId) -> Result<Option<WriteEntry>, StoreError> {
        let entry = self.shared.view()?.get(Space::Writes, write_id.as_bytes())?;
        Ok(entry.map(|value| WriteEntry::decode(&value)).transpose()?)
    }

    /// Whether a write of this time is older than ids are told apart.
    pub(super) fn is_expired(&self, millis: u64) -> bool {
        millis < self.millis_ago(1)
    }

    /// So many horizons ago.
    pub(super) fn millis_ago(&self, horizons: u64) -> u64 {
        let horizon = self.shared.config.write_id_horizon.as_millis();
        let horizon = u64::try_from(horizon).unwrap_or(u64::MAX);
        wall_millis(&self.shared.clock).saturating_sub(horizon.saturating_mul(horizons))
    }

    pub(super) fn record_at(
        &self,
        view: &dyn View,
        key: &RecordKey,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let value = view.get(Space::Records, key.bytes())?;
        value.map(|value| self.record_of(&value)).transpose()
    }

    pub(super) fn record_of(&self, value: &Bytes) -> Result<Arc<Record>, StoreError> {
        let head = Head::decode(value)?;
        let lineage = self.shared.lineages.read().name(head.lineage)?.clone();
        Ok(Arc::new(head.into_record(lineage, value)))
    }

    fn live(&self, page: Vec<(Bytes, Bytes)>) -> Result<Vec<StoredRecord>, StoreError> {
        let mut live = Vec::with_capacity(page.len());
        for (key, value) in page {
            if !Head::decode(&value)?.is_tombstone {
                let record = self.record_of(&value)?;
                live.push(stored(self.undamaged(&RecordKey::from_bytes(key), record)?)?);
            }
        }
        Ok(live)
    }
}

pub(super) fn stored(record: Arc<Record>) -> Result<StoredRecord, StoreError> {
    let content = Content::decode(&record.payload)
        .map_err(|error| StoreError::Unreadable { reason: error.to_string().into() })?;
    Ok(StoredRecord { record, content })
}

fn page_bytes(page: &[(Bytes, Bytes)]) -> usize {
    page.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// Everything behind a key, or simply everything.
pub(super) fn behind(after: Option<&[u8]>) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// The smallest key that no longer begins with `prefix`; none if every larger key does.
fn end_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(end_of_prefix(b"ab"), Some(Bytes::from_static(b"ac")));
        assert_eq!(end_of_prefix(b"a\xff\xff"), Some(Bytes::from_static(b"b")));
        assert_eq!(end_of_prefix(b"\xff"), None);
    }
}
