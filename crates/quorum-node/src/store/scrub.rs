//! What the scrub asks of the store: pages of everything with their damage, sums over ranges, and the one way in which a
//! record is put over another that claims to be as good.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use quorum_core::{Digest, Hlc, RangeEntry, Record, Version, wall_millis};

use super::Store;
use super::engine::{PageLimit, Space};
use super::error::StoreError;
use super::intake::Job;
use super::replay::SNAPSHOT_RECORDS_MAX;
use super::schema::{Head, RecordKey};

/// Records of one page of the scrub, at most, and bytes after which it ends.
const SCRUB_PAGE: PageLimit = PageLimit::new(256, 1 << 20);
/// Records read at once to answer for a range.
const RANGE_PAGE: PageLimit = PageLimit::new(1_024, 1 << 20);
/// Records that are looked at for a sum over a range, at most, those that it leaves out included: more than a page of a
/// snapshot has.
const RANGE_DIGEST_RECORDS_MAX: u64 = 4 * SNAPSHOT_RECORDS_MAX as u64;
/// Records that an answer for a range tells of, at most, and bytes of their keys after which it ends.
const RANGE_RECORDS_MAX: usize = 2_048;
const RANGE_BYTES_MAX: usize = 128 << 10;
/// Keys of damaged records that wait to be looked at. Those beyond are found again.
const DAMAGED_MAX: usize = 1_024;

/// A range of keys, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScrubPage {
    /// Records looked at.
    pub(crate) records: u64,
    /// Their bytes.
    pub(crate) bytes: usize,
    /// Keys of those that are damaged.
    pub(crate) damaged: Vec<Bytes>,
    /// The last key; `None` if the range goes to the end of everything.
    pub(crate) last: Option<Bytes>,
}

/// How the records of a range add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeSum {
    pub(crate) records: u64,
    pub(crate) digest: Digest,
    /// Whether these are all.
    pub(crate) is_complete: bool,
}

impl Store {
    /// The next records behind a key, every byte of them checked.
    pub(crate) fn scrub_page(&self, after: Option<&[u8]>) -> Result<ScrubPage, StoreError> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let page = self.shared.view()?.page(Space::Records, range, SCRUB_PAGE)?;
        let mut scrubbed = ScrubPage::default();
        for (key, value) in &page {
            scrubbed.records += 1;
            scrubbed.bytes += key.len() + value.len();
            if !self.is_sound(key, value) {
                scrubbed.damaged.push(key.clone());
            }
        }
        let is_full = page.len() >= SCRUB_PAGE.entries || scrubbed.bytes >= SCRUB_PAGE.bytes;
        scrubbed.last = page.last().filter(|_| is_full).map(|(key, _)| key.clone());
        Ok(scrubbed)
    }

    /// Whether a key has no damaged record.
    pub(crate) fn is_sound_at(&self, key: &Bytes) -> Result<bool, StoreError> {
        let value = self.shared.view()?.get(Space::Records, key)?;
        Ok(value.is_none_or(|value| self.is_sound(key, &value)))
    }

    /// Whether a stored record reads as what it should be: of this key, and hashing to its digest.
    fn is_sound(&self, key: &Bytes, value: &Bytes) -> bool {
        let record = self.record_of(value);
        record.is_ok_and(|record| RecordKey::from_bytes(key.clone()).has(&record))
    }

    /// How many records there are behind `after` up to `through`, and a digest over their keys, versions and digests.
    /// Tombstones up to `ignored` are passed over. Tells whether the whole range was added up: one that is too long is not.
    pub(crate) fn range_digest(
        &self,
        after: Option<&[u8]>,
        through: Option<&[u8]>,
        ignored: Hlc,
    ) -> Result<RangeSum, StoreError> {
        let (mut looked_at, mut records, mut hasher) = (0, 0, blake3::Hasher::new());
        let is_complete = self.for_range(after, through, |entry| {
            looked_at += 1;
            if !(entry.is_tombstone && entry.version.hlc <= ignored) {
                records += 1;
                add(&mut hasher, &entry);
            }
            looked_at < RANGE_DIGEST_RECORDS_MAX
        })?;
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        Ok(RangeSum { records, digest, is_complete })
    }

    /// The records behind `after` up to `through`, without their payloads, and whether these are all.
    pub(crate) fn range(
        &self,
        after: Option<&[u8]>,
        through: Option<&[u8]>,
    ) -> Result<(Vec<RangeEntry>, bool), StoreError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let is_complete = self.for_range(after, through, |entry| {
            bytes += entry.key.len();
            entries.push(entry);
            entries.len() < RANGE_RECORDS_MAX && bytes < RANGE_BYTES_MAX
        })?;
        Ok((entries, is_complete))
    }

    /// Shows `each` entry of a range until it wants no more. Tells whether it has seen all.
    fn for_range(
        &self,
        after: Option<&[u8]>,
        through: Option<&[u8]>,
        mut each: impl FnMut(RangeEntry) -> bool,
    ) -> Result<bool, StoreError> {
        let view = self.shared.view()?;
        let to = through.map_or(Bound::Unbounded, Bound::Included);
        let mut after = after.map(Bytes::copy_from_slice);
        if let (Some(after), Some(through)) = (&after, through)
            && after.as_ref() >= through
        {
            return Ok(true);
        }
        loop {
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let page = view.page(Space::Records, (from, to), RANGE_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(true) };
            after = Some(last.clone());
            for (key, value) in page {
                let head = Head::decode(&value)?;
                let origin = self.shared.lineages.read().name(head.lineage)?.origin.clone();
                let version = Version { hlc: head.hlc, origin };
                let (digest, is_tombstone) = (head.digest, head.is_tombstone);
                if !each(RangeEntry { key, version, digest, is_tombstone }) {
                    return Ok(false);
                }
            }
            if after.as_deref() == through {
                return Ok(true);
            }
        }
    }

    /// Puts a record of another member over the one that is here, if that one is missing, damaged, older, or drifted with
    /// the smaller digest. Its dot must be covered here: anything else comes by replication. Tells whether it was put: not if
    /// what is here cannot be read, which may be newer, nor if it comes from the future.
    pub(crate) async fn repair(&self, record: Arc<Record>) -> Result<bool, StoreError> {
        if record.hlc.ahead_of(wall_millis(&self.shared.clock)) > self.shared.config.clock_skew_max
        {
            return Ok(false);
        }
        // Local writes lie above everything that is here.
        self.observe(record.hlc);
        self.ask(|done| Job::Repair { record, done }).await
    }

    /// The record, unless it is damaged: then somebody is told to look at it.
    pub(super) fn undamaged(
        &self,
        key: &RecordKey,
        record: Arc<Record>,
    ) -> Result<Arc<Record>, StoreError> {
        if key.has(&record) {
            return Ok(record);
        }
        self.note_damaged(key.bytes());
        let reason = format!("{} is damaged here; it is repaired from other members", record.dot);
        Err(StoreError::Unreadable { reason: reason.into() })
    }

    pub(super) fn note_damaged(&self, key: &Bytes) {
        let mut damaged = self.shared.damaged.lock();
        if damaged.len() < DAMAGED_MAX {
            damaged.insert(key.clone());
        }
    }

    /// Keys of damaged records that somebody came upon, each once.
    pub(crate) fn take_damaged(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.shared.damaged.lock()).into_iter().collect()
    }
}

fn add(hasher: &mut blake3::Hasher, entry: &RangeEntry) {
    let RangeEntry { key, version, digest, is_tombstone } = entry;
    let node = version.origin.node.as_str();
    for part in [key.as_ref(), node.as_bytes()] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(&version.hlc.as_u64().to_be_bytes());
    hasher.update(version.origin.incarnation.as_bytes());
    hasher.update(digest.as_bytes());
    hasher.update(&[u8::from(*is_tombstone)]);
}

/// For tests: damages the payload of a stored record, as a disk would. The store must be closed.
///
/// # Errors
///
/// [`OpenError`](super::OpenError) if the directory cannot be opened or has no such record.
#[cfg(any(test, feature = "testing"))]
pub fn damage(
    directory: &std::path::Path,
    namespace: &crate::record::Namespace,
    key: &crate::record::Key,
) -> Result<(), super::OpenError> {
    use super::engine::{Batch, Engine, Sync};

    let config = super::StoreConfig::default();
    let (directory, engine) = super::open::open_engine(directory, &config)?;
    let at = RecordKey::new(namespace, key);
    let missing = || super::OpenError::Corrupt { detail: "no such record".into() };
    let value = engine.view().get(Space::Records, at.bytes())?.ok_or_else(missing)?;
    let mut value = value.to_vec();
    *value.last_mut().ok_or_else(missing)? ^= 1;
    let mut batch = Batch::default();
    batch.put(Space::Records, at.bytes().clone(), value.into());
    engine.commit(&batch, Sync::Data)?;
    let last_commit = engine.last_commit();
    drop(engine);
    directory.mark_clean(last_commit)
}

/// For tests: loses a stored record, as a disk would. The store must be closed.
///
/// # Errors
///
/// [`OpenError`](super::OpenError) if the directory cannot be opened.
#[cfg(any(test, feature = "testing"))]
pub fn lose(
    directory: &std::path::Path,
    namespace: &crate::record::Namespace,
    key: &crate::record::Key,
) -> Result<(), super::OpenError> {
    use super::engine::{Batch, Engine, Sync};

    let config = super::StoreConfig::default();
    let (directory, engine) = super::open::open_engine(directory, &config)?;
    let mut batch = Batch::default();
    batch.remove(Space::Records, RecordKey::new(namespace, key).bytes().clone());
    engine.commit(&batch, Sync::Data)?;
    let last_commit = engine.last_commit();
    drop(engine);
    directory.mark_clean(last_commit)
}

#[cfg(test)]
mod tests {

    use quorum_core::{
        ClusterId, Dot, Durability, Epoch, Incarnation, Incoming, Lineage, LocalStore, Origin,
        PeerId, ReplicaStore, WriteId,
    };

    use super::*;
    use crate::receive::{AdmissionLimits, Receiver};
    use crate::record::{Content, Key, Namespace, WriteOp};
    use crate::store::engine::memory::MemoryDisk;
    use crate::store::{StoreConfig, StoreIdentity, StoreSeams};

    const KEY: &[u8] = b"ns\0k";

    fn peer(name: &str) -> PeerId {
        PeerId::new(name).expect("a name")
    }

    fn open(disk: &MemoryDisk) -> Store {
        let identity = StoreIdentity { cluster: ClusterId::from_bytes([1; 16]), node: peer("n1") };
        let seams = StoreSeams::trusting();
        let store = Store::open_on(disk.engine(), &identity, StoreConfig::default(), seams);
        store.expect("memory opens")
    }

    fn content(value: &'static str) -> Content {
        let (namespace, key) = (Namespace::new("ns").expect("valid"), Key::new("k"));
        Content { namespace, key: key.expect("valid"), value: Some(Bytes::from(value)) }
    }

    /// A record of another member, so many seconds from now.
    fn record(store: &Store, seq: u64, value: &'static str, seconds: u64) -> Record {
        let origin = Origin { node: peer("n2"), incarnation: Incarnation::from_bytes([2; 8]) };
        let dot = Dot { lineage: Lineage { origin, epoch: Epoch::new(1, 0) }, seq };
        let hlc = Hlc::from_millis(wall_millis(store.clock()) + 1_000 * seconds);
        let write_id = WriteId::from_bytes([u8::try_from(seq).expect("small"); 16]);
        Record::new(write_id, dot, hlc, Durability::Fsync, content(value).encode())
    }

    /// Holds the first record of the other member, and claims the next ones.
    async fn holding_one(disk: &MemoryDisk) -> Store {
        let store = open(disk);
        let held = record(&store, 1, "held", 0);
        let covers = vec![(held.dot.lineage.clone(), vec![(1, 9)].into())];
        let incoming = Incoming { record: Some(Arc::new(held)), covers, ..Incoming::default() };
        let limits = AdmissionLimits {
            value_bytes_max: 1 << 10,
            clock_skew_max: StoreConfig::default().clock_skew_max,
        };
        Receiver::new(store.clone(), limits, []).apply(&peer("n2"), vec![incoming]).await;
        store
    }

    fn value(store: &Store) -> Option<Bytes> {
        let content = content("");
        let got = store.get(&content.namespace, &content.key).expect("readable");
        got.and_then(|got| got.content.value)
    }

    /// It may be newer.
    #[tokio::test]
    async fn nothing_is_repaired_over_what_cannot_be_read() {
        let disk = MemoryDisk::new();
        drop(holding_one(&disk).await);
        disk.damage(Space::Records, Bytes::from_static(KEY));
        let store = open(&disk);
        let theirs = Arc::new(record(&store, 2, "theirs", 1));
        let repaired = store.repair(theirs).await;
        assert!(matches!(repaired, Err(StoreError::Unreadable { .. })), "{repaired:?}");
        assert_eq!(store.state(), crate::store::StoreState::Running);
    }

    /// Where it cannot be read what is there, a local write is put over it.
    #[tokio::test]
    async fn local_writes_lie_above_what_was_repaired() {
        let store = holding_one(&MemoryDisk::new()).await;
        let future = Arc::new(record(&store, 2, "future", 1_000));
        assert_eq!(store.repair(future).await, Ok(false));
        let theirs = Arc::new(record(&store, 3, "theirs", 100));
        assert_eq!(store.repair(Arc::clone(&theirs)).await, Ok(true));
        assert_eq!(value(&store), Some(Bytes::from("theirs")));
        let Content { namespace, key, value: written } = content("ours");
        let op = WriteOp {
            namespace,
            key,
            value: written,
            write_id: WriteId::from_bytes([99; 16]),
            durability: Durability::Fsync,
            above: None,
            deadline: None,
        };
        let staged = store.stage(op).await.expect("staged");
        assert!(staged.record.hlc > theirs.hlc);
        staged.durable.await.expect("durable");
        assert_eq!(value(&store), Some(Bytes::from("ours")));
    }
}
