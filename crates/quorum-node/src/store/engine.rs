//! What the store needs from a key-value engine, and no more.
//!
//! Seven ordered spaces of bytes, atomic batches over all of them, an explicit sync, and views that stand still. The
//! store's own logic runs over any engine: [`disk`], or `memory` in tests that need a disk which forgets.

pub(crate) mod disk;
mod frame;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod layer;
mod log;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod tables;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

/// An ordered space of keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Space {
    /// Namespace and key to the current record.
    Records,
    /// Dot to the key it was about.
    Log,
    /// Lineage to what is held of it.
    Frontier,
    /// Write id to what became of the write.
    Writes,
    /// Who and what this store is.
    Meta,
    /// What has changed here, by number.
    Changes,
    /// Which keys are deleted, by the time of their tombstones.
    Tombstones,
}

impl Space {
    /// Every space.
    pub const ALL: [Self; 7] = [
        Self::Records,
        Self::Log,
        Self::Frontier,
        Self::Writes,
        Self::Meta,
        Self::Changes,
        Self::Tombstones,
    ];

    /// Its name on disk.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Log => "log",
            Self::Frontier => "frontier",
            Self::Writes => "writes",
            Self::Meta => "meta",
            Self::Changes => "changes",
            Self::Tombstones => "tombstones",
        }
    }
}

/// How far a commit goes before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sync {
    /// The operating system has it: it survives the death of the process.
    Buffered,
    /// It is on stable storage, and so is every commit before it.
    Data,
}

/// Changes that happen together or not at all; the last one of a key counts.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: BTreeMap<(Space, Bytes), Option<Bytes>>,
    bytes: usize,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, space: Space, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.changes.insert((space, key), Some(value));
    }

    /// Removes a key.
    pub fn remove(&mut self, space: Space, key: Bytes) {
        self.bytes += key.len();
        self.changes.insert((space, key), None);
    }

    /// What this batch does to a key: nothing, remove it (`Some(None)`) or set it.
    #[must_use]
    pub fn change(&self, space: Space, key: &Bytes) -> Option<Option<&Bytes>> {
        self.changes.get(&(space, key.clone())).map(Option::as_ref)
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// About how many bytes it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes, in order of space and key.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = (Space, &Bytes, Option<&Bytes>)> {
        self.changes.iter().map(|((space, key), value)| (*space, key, value.as_ref()))
    }
}

/// How much one page may hold; it holds at least one entry if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageLimit {
    /// Most entries.
    pub entries: usize,
    /// No further entry once this many bytes of keys and values are reached.
    pub bytes: usize,
}

impl PageLimit {
    /// A limit by both.
    #[must_use]
    pub const fn new(entries: usize, bytes: usize) -> Self {
        Self { entries, bytes }
    }
}

/// Entries in key order.
pub type Page = Vec<(Bytes, Bytes)>;

/// The state at one moment, whatever is committed afterwards.
pub trait View: Send + std::marker::Sync {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// The engine could not read it.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The entries between two bounds, smallest first, up to a limit.
    ///
    /// # Errors
    ///
    /// The engine could not read them.
    fn page(
        &self,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: PageLimit,
    ) -> Result<Page, EngineError>;
}

/// How large the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Sizes {
    /// About how many records there are, tombstones included.
    pub records: u64,
    /// Bytes on disk, or in memory for an engine without one.
    pub bytes: u64,
}

/// The disk under an engine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "engines build it")]
pub struct DiskSpace {
    /// What may still be written.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// A key-value engine. Only one thread commits.
pub trait Engine: Send + std::marker::Sync + 'static {
    /// The state after the last commit, synced or not.
    fn view(&self) -> Arc<dyn View>;

    /// Makes all changes at once. An empty batch with [`Sync::Data`] syncs what was committed before.
    ///
    /// # Errors
    ///
    /// If the disk [is full](EngineError::is_full), nothing of the batch has happened, and the commit succeeds once there is room.
    /// An empty batch needs none. After any other error nothing is known about the batch, nor about unsynced batches before it; no
    /// later commit succeeds.
    fn commit(&self, batch: &Batch, sync: Sync) -> Result<(), EngineError>;

    /// About how large it is. Waits for no disk.
    fn sizes(&self) -> Sizes;

    /// How many commits there were, over all processes that had it open.
    fn last_commit(&self) -> u64;

    /// Whether reads may wait for a disk.
    fn reads_block(&self) -> bool;

    /// Whether what lies on disk is no longer compacted after an error: nothing is lost, but reads get slower and space is not
    /// freed until it is opened anew.
    fn compaction_has_ended(&self) -> bool {
        false
    }

    /// How full the disk is; `None` if there is none, or it does not say.
    fn space(&self) -> Option<DiskSpace> {
        None
    }
}

/// The engine failed.
#[derive(Debug)]
pub struct EngineError {
    doing: &'static str,
    source: Box<dyn Error + Send + std::marker::Sync>,
    is_full: bool,
}

impl EngineError {
    /// An error that says what was being done.
    pub fn new(
        doing: &'static str,
        source: impl Into<Box<dyn Error + Send + std::marker::Sync>>,
    ) -> Self {
        Self { doing, source: source.into(), is_full: false }
    }

    /// As [`new`](Self::new), for something of which nothing has happened if the disk was too full for it.
    pub fn before_it_began(doing: &'static str, source: std::io::Error) -> Self {
        let is_full = is_out_of_room(&source);
        Self { doing, source: source.into(), is_full }
    }

    /// Whether nothing has happened because the disk had no room.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.is_full
    }
}

/// Whether a disk, or what somebody may use of it, is full.
fn is_out_of_room(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

impl fmt::Display for EngineError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the storage engine failed to {}", self.doing)
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}
