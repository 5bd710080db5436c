//! The tables beneath the log: sorted, compacted in the background, kept by fjall.
//!
//! Only whole layers are put into them, in the order of keys and past fjall's own journal and memtables, which stay
//! empty. What was put is on stable storage when [`Tables::put`] returns.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::config::BloomConstructionPolicy;
use fjall::config::{FilterPolicy, FilterPolicyEntry};
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable,
};

use super::layer::Layer;
use super::{EngineError, Sizes, Space};
use crate::store::config::StoreConfig;
use crate::store::directory::{create_directory, sync_directory};
use crate::store::error::OpenError;

/// The key of [`Space::Meta`] that says up to which commit everything is in the tables.
pub(crate) const APPLIED_KEY: &[u8] = b"commit";

/// A key that no space has.
const NO_KEY: &[u8] = &[0];

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
    /// As if the disk had no room.
    #[cfg(test)]
    pub(super) is_full: std::sync::atomic::AtomicBool,
    /// How often a layer was tried.
    #[cfg(test)]
    pub(super) puts: std::sync::atomic::AtomicUsize,
    /// As if the disk hung: whoever asks about them waits.
    #[cfg(test)]
    pub(super) hanging: parking_lot::Mutex<()>,
    /// How often somebody has asked.
    #[cfg(test)]
    pub(super) asked: std::sync::atomic::AtomicUsize,
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
    pub(crate) fn open(directory: &Path, config: &StoreConfig) -> Result<Self, OpenError> {
        create_directory(directory)?;
        let journals = journals(directory)?;
        if !journals.is_empty() {
            Self::open_database(directory, config)?.put_memtables()?;
            for journal in journals {
                empty(&journal).map_err(OpenError::io("empty", &journal))?;
            }
        }
        Self::open_database(directory, config)
    }

    fn open_database(directory: &Path, config: &StoreConfig) -> Result<Self, OpenError> {
        let opened = |error| EngineError::new("open", error);
        let database = Database::builder(directory)
            .cache_size(config.cache_bytes)
            .worker_threads(WORKER_THREADS)
            .open()
            .map_err(opened)?;
        let is_any_new =
            Space::ALL.into_iter().any(|space| !database.keyspace_exists(space.as_str()));
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
        if is_any_new {
            sync_names(directory)?;
        }
        Ok(Self {
            database,
            spaces,
            #[cfg(test)]
            is_full: false.into(),
            #[cfg(test)]
            puts: 0.into(),
            #[cfg(test)]
            hanging: parking_lot::Mutex::default(),
            #[cfg(test)]
            asked: 0.into(),
        })
    }

    /// Puts into tables what fjall has read from a journal: it does so itself with whatever comes before what is put.
    fn put_memtables(self) -> Result<(), EngineError> {
        for space in Space::ALL {
            let mut ingestion = self.spaces.of(space).start_ingestion().map_err(put_failed)?;
            ingestion.write_tombstone(NO_KEY).map_err(put_failed)?;
            ingestion.finish().map_err(put_failed)?;
        }
        Ok(())
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
    /// Cut short, also by a full disk, it may have put a part of them, and may be done again. That is not visible while the layer lies above, and after a restart
    /// the log brings the layer back, because its last commit does not count as applied: that is put last.
    pub(crate) fn put(&self, layer: &Layer, last: u64) -> Result<(), EngineError> {
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering::Relaxed;
            self.puts.fetch_add(1, Relaxed);
            if self.is_full.load(Relaxed) {
                return Err(put_failed(fjall::Error::Io(io::ErrorKind::StorageFull.into())));
            }
        }
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
            let mut ingestion = self.spaces.of(space).start_ingestion().map_err(put_failed)?;
            for (key, value) in entries {
                match value {
                    Some(value) => ingestion.write(key, value).map_err(put_failed)?,
                    None => ingestion.write_tombstone(key).map_err(put_failed)?,
                }
            }
            ingestion.finish().map_err(put_failed)?;
        }
        Ok(())
    }

    /// Waits while the disk hangs.
    #[cfg(test)]
    fn hang(&self) {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        drop(self.hanging.lock());
    }

    /// Whether compaction is so far behind that reads suffer. Waits for whoever holds their locks while it syncs.
    pub(crate) fn are_behind(&self) -> bool {
        #[cfg(test)]
        self.hang();
        self.spaces.0.iter().any(|keyspace| keyspace.l0_table_count() >= BEHIND_AT)
    }

    /// Whether compaction has failed: by damage, or because the disk was full. fjall does not try again before it is opened anew,
    /// takes further tables all the same, and tells only whoever writes to its journal.
    pub(crate) fn compaction_has_ended(&self) -> bool {
        self.database.persist(PersistMode::Buffer).is_err()
    }

    /// The state now, whatever is put later.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { snapshot: self.database.snapshot(), spaces: self.spaces.clone() }
    }

    /// How large they are. Waits for whoever holds their locks while it syncs.
    pub(crate) fn sizes(&self) -> Sizes {
        #[cfg(test)]
        self.hang();
        Sizes {
            records: self.spaces.of(Space::Records).approximate_len() as u64,
            bytes: self.database.disk_space().unwrap_or_default(),
        }
    }
}

fn put_failed(error: fjall::Error) -> EngineError {
    const DOING: &str = "put a layer into the tables";
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            EngineError::before_it_began(DOING, error)
        }
        other => EngineError::new(DOING, other),
    }
}

/// The journals of fjall in which there is something: they were the log of formats 1 and 2.
fn journals(directory: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(directory).map_err(OpenError::io("list", directory))? {
        let path = entry.map_err(OpenError::io("list", directory))?.path();
        if path.extension().is_some_and(|extension| extension == "jnl")
            && begins_with_an_entry(&path).map_err(OpenError::io("read", &path))?
        {
            journals.push(path);
        }
    }
    Ok(journals)
}

/// A journal that nothing was written to is empty, or zeros.
fn begins_with_an_entry(journal: &Path) -> io::Result<bool> {
    let mut first = [0];
    let len = File::open(journal)?.read(&mut first)?;
    Ok(len == 1 && first != [0])
}

/// Without its journals, fjall would begin to count anew. It removes by itself one that it has gone on from.
fn empty(journal: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    file.set_len(0)?;
    file.sync_all()
}

/// Makes it durable which directories there are: fjall syncs what is in one it makes, and leaves its name to the file system.
fn sync_names(directory: &Path) -> Result<(), OpenError> {
    let keyspaces = directory.join("keyspaces");
    let entries = fs::read_dir(&keyspaces).map_err(OpenError::io("list", &keyspaces))?;
    for entry in entries {
        sync_directory(&entry.map_err(OpenError::io("list", &keyspaces))?.path())?;
    }
    sync_directory(&keyspaces)?;
    sync_directory(directory)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_is_gone_need_not_be_emptied() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = directory.path().join("0.jnl");
        fs::write(&journal, "an entry").expect("writable");
        empty(&journal).expect("there");
        assert_eq!(fs::metadata(&journal).expect("there").len(), 0);
        fs::remove_file(&journal).expect("there");
        empty(&journal).expect("gone");
        assert!(!journal.exists());
    }
}
