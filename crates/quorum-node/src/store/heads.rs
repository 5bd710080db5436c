//! What the newest records of keys look like that were written of late, so that merging need not read them from a table.
//!
//! Only the committing thread has it. It says what the engine would say, everything committed and drafted included.

use quick_cache::unsync::Cache;
use quorum_core::{Digest, Hlc};

use super::schema::{Head, LineageNumber, RecordKey};

/// What merging looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Current {
    pub(super) hlc: Hlc,
    pub(super) lineage: LineageNumber,
    pub(super) digest: Digest,
    pub(super) is_tombstone: bool,
}

impl From<&Head> for Current {
    fn from(head: &Head) -> Self {
        let Head { hlc, lineage, digest, is_tombstone, .. } = *head;
        Self { hlc, lineage, digest, is_tombstone }
    }
}

/// The newest records of some keys.
#[derive(Debug)]
pub(crate) struct Heads(Cache<RecordKey, Current>);

impl Heads {
    /// Of so many keys at most.
    pub(super) fn new(keys_max: usize) -> Self {
        Self(Cache::new(keys_max))
    }

    /// The newest record of a key, if it is known.
    pub(super) fn get(&self, key: &RecordKey) -> Option<Current> {
        self.0.get(key).copied()
    }

    /// A record is the newest of its key.
    pub(super) fn put(&mut self, key: &RecordKey, current: Current) {
        self.0.insert(key.clone(), current);
    }

    /// There may be no record of a key any more.
    pub(super) fn forget(&mut self, key: &RecordKey) {
        self.0.remove(key);
    }
}

impl Default for Heads {
    fn default() -> Self {
        Self::new(0)
    }
}
