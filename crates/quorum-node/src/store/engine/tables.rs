//! The tables beneath the log: sorted, compacted in the background, kept by fjall.
//!
//! Only whole layers are put into them, in the order of keys and past fjall's own journal and memtables, which stay
//! empty. What was put is on stable storage when [`Tables::put`] returns.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::config::BloomConstructionPolicy;
use fjall::config::{FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, Readable};

use super::layer::Layer;
use super::{EngineError, Sizes, Space};
use crate::store::config::StoreConfig;

/// The key of [`Space::Meta`] that says up to which commit everything is in the tables.
pub(crate) const APPLIED_KEY: &[u8] = b"commit";

/// Compaction runs beside the writes; more threads would only compete with them.
const WORKER_THREADS: usize = 1;

/// Values of this many bytes and more lie in files of their own, which compaction leaves alone: they would be written again
/// with every small record beside them.
const LARGE_VALUE_BYTES: u32 = 8 << 10;

/// Tables of one space that wait for compaction, beyond which whoever puts more should wait.
const BEHIND_AT: usize = 24;

/// Open tables.
pub(crate) struct Tables {
    database: Database,
    spaces: Spaces,
}

/// The keyspaces, in the order of [`Space::ALL`].
#[derive(Clone)]
struct Spaces(Arc<[Keyspace; Space::ALL.len()]>);

impl Spaces {
    fn of(&self, space: Space) -> &Keyspace {
        &self.0[space as usize]
    }
}

impl Tables {
    /// Opens the tables in `directory`, or creates them there.
    pub(crate) fn open(directory: &Path, config: &StoreConfig) -> Result<Self, EngineError> {
        let opened = |error| EngineError::new("open", error);
        let database = Database::builder(directory)
            .cache_size(config.cache_bytes)
            .worker_threads(WORKER_THREADS)
            .open()
            .map_err(opened)?;
        let keyspace =
            |space: Space| database.keyspace(space.as_str(), || options(space)).map_err(opened);
        let spaces = Spaces(Arc::new([
            keyspace(Space::Records)?,
            keyspace(Space::Log)?,
            keyspace(Space::Frontier)?,
            keyspace(Space::Writes)?,
            keyspace(Space::Meta)?,
            keyspace(Space::Changes)?,
            keyspace(Space::Tombstones)?,
        ]));
        Ok(Self { database, spaces })
    }

    /// Up to which commit everything is in here.
    pub(crate) fn applied(&self) -> Result<u64, EngineError> {
        let applied = self.spaces.of(Space::Meta).get(APPLIED_KEY);
        let Some(applied) = applied.map_err(|error| EngineError::new("read", error))? else {
            return Ok(0);
        };
        // Formats without a log said more here.
        let number = applied.first_chunk().map(|number| u64::from_be_bytes(*number));
        number.ok_or_else(|| EngineError::new("read", "the number of the last commit is malformed"))
    }

    /// Puts the newest entries of a layer, up to and including the commit `last`.
    ///
    /// Cut short, it may have put a part of them. That is not visible while the layer lies above, and after a restart
    /// the log brings the layer back, because its last commit does not count as applied: that is put last.
    pub(crate) fn put(&self, layer: &Layer, last: u64) -> Result<(), EngineError> {
        let failed = |error| EngineError::new("put a layer into the tables", error);
        let spaces = Space::ALL.into_iter().filter(|space| *space != Space::Meta);
        for space in spaces.chain([Space::Meta]) {
            let mut entries = layer.newest(space);
            if space == Space::Meta {
                let applied = Bytes::copy_from_slice(&last.to_be_bytes());
                let key = Bytes::from_static(APPLIED_KEY);
                let at = entries.partition_point(|(other, _)| *other < key);
                entries.insert(at, (key, Some(applied)));
            }
            if entries.is_empty() {
                continue;
            }
            let mut ingestion = self.spaces.of(space).start_ingestion().map_err(failed)?;
            for (key, value) in entries {
                match value {
                    Some(value) => ingestion.write(key, value).map_err(failed)?,
                    None => ingestion.write_tombstone(key).map_err(failed)?,
                }
            }
            ingestion.finish().map_err(failed)?;
        }
        Ok(())
    }

    /// Whether compaction is so far behind that reads suffer.
    pub(crate) fn are_behind(&self) -> bool {
        self.spaces.0.iter().any(|keyspace| keyspace.l0_table_count() >= BEHIND_AT)
    }

    /// The state now, whatever is put later.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { snapshot: self.database.snapshot(), spaces: self.spaces.clone() }
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            records: self.spaces.of(Space::Records).approximate_len() as u64,
            bytes: self.database.disk_space().unwrap_or_default(),
        }
    }
}

fn options(space: Space) -> KeyspaceCreateOptions {
    // Ten bits a key answer "not here" for 99 of 100 unknown keys. The tighter default for fresh tables costs twice
    // the memory, which the filters of many small tables would add up to.
    let filters =
        FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0)));
    let large = KvSeparationOptions::default().separation_threshold(LARGE_VALUE_BYTES);
    KeyspaceCreateOptions::default()
        .with_kv_separation((space == Space::Records).then_some(large))
        .filter_policy(filters)
}

/// The tables as they were at one moment.
pub(crate) struct Snapshot {
    snapshot: fjall::Snapshot,
    spaces: Spaces,
}

impl Snapshot {
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.snapshot.get(self.spaces.of(space), key);
        Ok(value.map_err(|error| EngineError::new("read", error))?.map(Bytes::from))
    }

    /// The entries between two bounds, smallest first.
    pub(crate) fn range(
        &self,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), EngineError>> {
        self.snapshot.range::<&[u8], _>(self.spaces.of(space), range).map(|entry| {
            let (key, value) =
                entry.into_inner().map_err(|error| EngineError::new("read", error))?;
            Ok((key.into(), value.into()))
        })
    }
}
