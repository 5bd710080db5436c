//! The newest records of keys that were written of late, without their payloads, so that merging need not read them from
//! a table.
//!
//! Only the committing thread has it. It says what the engine would say, everything committed and drafted included.

use quick_cache::unsync::Cache;

use super::schema::{Head, RecordKey};

/// The newest records of some keys.
#[derive(Debug)]
pub(crate) struct Heads(Cache<RecordKey, Head>);

impl Heads {
    /// Of so many keys at most.
    pub(super) fn new(keys_max: usize) -> Self {
        Self(Cache::new(keys_max))
    }

    /// The newest record of a key, if it is known.
    pub(super) fn get(&self, key: &RecordKey) -> Option<Head> {
        self.0.get(key).cloned()
    }

    /// A record is the newest of its key.
    pub(super) fn put(&mut self, key: &RecordKey, head: Head) {
        self.0.insert(key.clone(), head);
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
