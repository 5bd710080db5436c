//! The engine on disk: fjall, a log-structured merge tree with a write-ahead journal.
//!
//! Two of its habits shape this file. Its commits are *not* durable unless told so: every commit here names its
//! persist mode. And it takes the first undecodable byte of a journal for its end: every commit therefore carries its
//! number and how far commits are synced, so that a hole between acknowledged commits can be seen before fjall opens
//! the directory (see `journal.rs`).

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fjall::config::BloomConstructionPolicy;
use fjall::config::{FilterPolicy, FilterPolicyEntry};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::{Batch, Engine, EngineError, Page, PageLimit, Sizes, Space, Sync, View};
use crate::store::config::StoreConfig;

/// The key of [`Space::Meta`] that carries the number of the commit it was last written by.
pub(crate) const COMMIT_NUMBER_KEY: &[u8] = b"commit";

/// What every commit says about itself and those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitNumber {
    /// One larger than that of the commit before.
    pub(crate) number: u64,
    /// Up to which commit everything was synced when this one was written.
    pub(crate) synced: u64,
}

impl CommitNumber {
    fn encode(self) -> Bytes {
        Bytes::from([self.number.to_be_bytes(), self.synced.to_be_bytes()].concat())
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (number, synced) = value.split_first_chunk()?;
        let synced = synced.try_into().ok()?;
        Some(Self { number: u64::from_be_bytes(*number), synced: u64::from_be_bytes(synced) })
    }
}

/// Flushing and compaction run beside each other on two threads; more would only compete with the writes.
const WORKER_THREADS: usize = 2;

/// What the small spaces may hold in memory before they are written to a table: they change in every commit, in place.
const SMALL_MEMTABLE_BYTES: u64 = 1 << 20;

/// An open fjall database.
pub(crate) struct FjallEngine {
    database: Database,
    spaces: Spaces,
    committed: AtomicU64,
    synced: AtomicU64,
}

/// The keyspaces, in the order of [`Space::ALL`].
#[derive(Clone)]
struct Spaces(Arc<[Keyspace; Space::ALL.len()]>);

impl Spaces {
    fn of(&self, space: Space) -> &Keyspace {
        &self.0[space as usize]
    }
}

impl FjallEngine {
    /// Opens the database in `directory`, or creates it there.
    pub(crate) fn open(directory: &Path, config: &StoreConfig) -> Result<Self, EngineError> {
        let opened = |error| EngineError::new("open", error);
        let database = Database::builder(directory)
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes_max.max(StoreConfig::JOURNAL_BYTES_MIN))
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .worker_threads(WORKER_THREADS)
            .open()
            .map_err(opened)?;
        let keyspace = |space: Space| {
            database.keyspace(space.as_str(), || options(space, config)).map_err(opened)
        };
        let spaces = Spaces(Arc::new([
            keyspace(Space::Records)?,
            keyspace(Space::Log)?,
            keyspace(Space::Frontier)?,
            keyspace(Space::Writes)?,
            keyspace(Space::Meta)?,
            keyspace(Space::Changes)?,
            keyspace(Space::Tombstones)?,
        ]));
        let last = spaces.of(Space::Meta).get(COMMIT_NUMBER_KEY).map_err(opened)?;
        let last =
            last.and_then(|value| CommitNumber::decode(&value)).map_or(0, |last| last.number);
        // What an opened journal holds is durable: that was seen to before.
        Ok(Self { database, spaces, committed: AtomicU64::new(last), synced: AtomicU64::new(last) })
    }
}

fn options(space: Space, config: &StoreConfig) -> KeyspaceCreateOptions {
    let memtable_bytes = match space {
        Space::Records => config.memtable_bytes,
        Space::Log | Space::Writes | Space::Changes => config.memtable_bytes / 2,
        Space::Frontier | Space::Meta | Space::Tombstones => SMALL_MEMTABLE_BYTES,
    };
    // Ten bits a key answer "not here" for 99 of 100 unknown keys. The tighter default for fresh tables costs twice
    // the memory, which the filters of many small tables would add up to.
    let filters =
        FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0)));
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes)
        .filter_policy(filters)
        .manual_journal_persist(true)
}

impl Engine for FjallEngine {
    fn view(&self) -> Arc<dyn View> {
        Arc::new(FjallView { snapshot: self.database.snapshot(), spaces: self.spaces.clone() })
    }

    fn commit(&self, batch: Batch, sync: Sync) -> Result<(), EngineError> {
        let persist = match sync {
            Sync::Buffered => PersistMode::Buffer,
            Sync::Data => PersistMode::SyncData,
        };
        let last = self.last_commit();
        if batch.is_empty() {
            self.database.persist(persist).map_err(|error| EngineError::new("sync", error))?;
            if sync == Sync::Data {
                self.synced.store(last, Ordering::Relaxed);
            }
            return Ok(());
        }
        let commit = CommitNumber { number: last + 1, synced: self.synced.load(Ordering::Relaxed) };
        let changes = batch.into_changes();
        let mut write =
            fjall::OwnedWriteBatch::with_capacity(self.database.clone(), changes.len() + 1)
                .durability(Some(persist));
        for (space, key, value) in changes {
            let keyspace = self.spaces.of(space);
            match value {
                Some(value) => write.insert(keyspace, key, value),
                None => write.remove(keyspace, key),
            }
        }
        write.insert(self.spaces.of(Space::Meta), COMMIT_NUMBER_KEY, commit.encode());
        write.commit().map_err(|error| EngineError::new("commit", error))?;
        self.committed.store(commit.number, Ordering::Relaxed);
        if sync == Sync::Data {
            self.synced.store(commit.number, Ordering::Relaxed);
        }
        Ok(())
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            records: self.spaces.of(Space::Records).approximate_len() as u64,
            bytes: self.database.disk_space().unwrap_or_default(),
        }
    }

    fn last_commit(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    fn reads_block(&self) -> bool {
        true
    }
}

struct FjallView {
    snapshot: fjall::Snapshot,
    spaces: Spaces,
}

impl View for FjallView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.snapshot.get(self.spaces.of(space), key);
        Ok(value.map_err(|error| EngineError::new("read", error))?.map(Bytes::from))
    }

    fn page(
        &self,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        let (mut page, mut bytes) = (Page::new(), 0);
        for entry in self.snapshot.range::<&[u8], _>(self.spaces.of(space), range) {
            let (key, value) =
                entry.into_inner().map_err(|error| EngineError::new("read", error))?;
            bytes += key.len() + value.len();
            page.push((key.into(), value.into()));
            if page.len() >= limit.entries || bytes >= limit.bytes {
                break;
            }
        }
        Ok(page)
    }
}
