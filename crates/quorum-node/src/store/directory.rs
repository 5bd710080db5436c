//! The data directory as files: who may open it, in which format it is, and whether it was closed.
//!
//! ```text
//! LOCK     held by the process that has the store open, until the last reader of it has ended
//! FORMAT   the format of everything beside it
//! NEW      there only until the first start is synced: the engine may be half made, and nothing in it counts
//! CLEAN    there only between a close and the next start: the number of the last commit
//! engine/  the engine's own files
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::OpenError;
use super::schema::{FORMAT, FORMAT_MIN, FORMAT_WITHOUT_LOG};

const LOCK_FILE: &str = "LOCK";
/// How often a lock is tried that is held, and how long after one another: a store that was just closed may still have a
/// reader.
const LOCK_ATTEMPTS: u32 = 4;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
const FORMAT_FILE: &str = "FORMAT";
const NEW_FILE: &str = "NEW";
const CLEAN_FILE: &str = "CLEAN";
const ENGINE_DIRECTORY: &str = "engine";
/// Where in the engine's directory its tables are.
pub(super) const TABLES_DIRECTORY: &str = "tables";
/// What the engine's directory is called while it becomes that of its tables.
const MOVED_DIRECTORY: &str = "engine.moved";
const FORMAT_PREFIX: &str = "quorum store format ";

/// A locked data directory of a known format.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: Lock,
}

/// Keeps others out of a directory until the last clone is gone.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    /// The lock ends with the file.
    _file: Arc<File>,
}

impl Lock {
    fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(LOCK_FILE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(OpenError::io("open", &path))?;
        let mut attempts = LOCK_ATTEMPTS;
        loop {
            attempts -= 1;
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: Arc::new(file) }),
                Err(fs::TryLockError::WouldBlock) if attempts > 0 => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(OpenError::Locked { directory: directory.to_owned() });
                }
                Err(fs::TryLockError::Error(error)) => {
                    return Err(OpenError::io("lock", &path)(error));
                }
            }
        }
    }
}

impl Directory {
    /// Locks a data directory; makes one of a path that is empty or missing.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        create_directory(path)?;
        let directory = Self { path: path.to_owned(), lock: Lock::take(path)? };
        directory.check_format()?;
        Ok(directory)
    }

    /// Whether there is a store of any format at this path.
    pub(crate) fn is_store(path: &Path) -> bool {
        path.join(FORMAT_FILE).exists()
    }

    /// For whoever reads the directory longer than it is open.
    pub(crate) fn lock(&self) -> Lock {
        self.lock.clone()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine's files are.
    pub(crate) fn engine_path(&self) -> PathBuf {
        self.path.join(ENGINE_DIRECTORY)
    }

    /// Where nothing was ever acknowledged, clears away what a start that was cut short left: the engine cannot resume its own
    /// creation.
    pub(crate) fn begin_if_new(&self) -> Result<(), OpenError> {
        let (engine, new) = (self.engine_path(), self.path.join(NEW_FILE));
        if engine.exists() && !new.exists() {
            return Ok(());
        }
        write_whole(&new, "the first start is not synced yet\n")?;
        if engine.exists() {
            fs::remove_dir_all(&engine).map_err(OpenError::io("remove", &engine))?;
        }
        // Of an engine that somebody removed.
        self.remove_clean_mark()
    }

    /// The first start is synced: from now on everything counts.
    pub(crate) fn begun(&self) -> Result<(), OpenError> {
        self.remove(NEW_FILE)
    }

    /// After which commit the store was closed, if it was since it was last open.
    pub(crate) fn clean_mark(&self) -> Result<Option<u64>, OpenError> {
        let path = self.path.join(CLEAN_FILE);
        match fs::read_to_string(&path) {
            Ok(mark) => match mark.trim().parse() {
                Ok(commit) => Ok(Some(commit)),
                Err(_) => Err(OpenError::Corrupt { detail: format!("{CLEAN_FILE} says {mark:?}") }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::io("read", &path)(error)),
        }
    }

    /// From here on the store is not closed. Not before everything was found to be there: a start that refuses leaves the mark
    /// to the next one, which would take a log that lost its end for one whose end was torn.
    pub(crate) fn remove_clean_mark(&self) -> Result<(), OpenError> {
        self.remove(CLEAN_FILE)
    }

    /// Removes a file of this directory durably, if it is there.
    fn remove(&self, name: &str) -> Result<(), OpenError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(OpenError::io("remove", &path)(error)),
        }
    }

    /// Says that the store was closed after its last commit, and lets go of the directory but for its readers.
    pub(crate) fn mark_clean(self, last_commit: u64) -> Result<(), OpenError> {
        write_whole(&self.path.join(CLEAN_FILE), &format!("{last_commit}\n"))
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let path = self.path.join(FORMAT_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => self.check_format_text(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.begin_format(&path),
            Err(error) => Err(OpenError::io("read", &path)(error)),
        }
    }

    fn check_format_text(&self, text: &str) -> Result<(), OpenError> {
        let number = text.trim_end().strip_prefix(FORMAT_PREFIX).and_then(|rest| rest.parse().ok());
        match number {
            Some(FORMAT) => Ok(()),
            // The entries of older formats are read as they are; whatever is written from now on is of this one.
            Some(found @ FORMAT_MIN..FORMAT) => {
                if found <= FORMAT_WITHOUT_LOG {
                    self.move_tables(found)?;
                }
                self.say_format(&self.path.join(FORMAT_FILE))
            }
            Some(found) => {
                Err(OpenError::NewerFormat { directory: self.path.clone(), found, known: FORMAT })
            }
            None => Err(OpenError::Corrupt { detail: format!("{FORMAT_FILE} says {text:?}") }),
        }
    }

    /// The engine's directory of an older format becomes that of the tables. May be cut short, and done again: a name is durable
    /// where the directory comes to before it is gone where it was.
    fn move_tables(&self, found: u32) -> Result<(), OpenError> {
        let (engine, moved) = (self.engine_path(), self.path.join(MOVED_DIRECTORY));
        let tables = engine.join(TABLES_DIRECTORY);
        let is_new = self.path.join(NEW_FILE).exists() || !(engine.exists() || moved.exists());
        if is_new || tables.exists() {
            return Ok(());
        }
        if !self.path.join(CLEAN_FILE).exists() {
            return Err(OpenError::OlderFormatNotClosed { directory: self.path.clone(), found });
        }
        let rename =
            |from: &Path, to: &Path| fs::rename(from, to).map_err(OpenError::io("rename", from));
        if !moved.exists() {
            rename(&engine, &moved)?;
            sync_directory(&self.path)?;
        }
        create_directory(&engine)?;
        rename(&moved, &tables)?;
        sync_directory(&engine)?;
        sync_directory(&self.path)
    }

    /// A directory without a format is a new one if nothing else is in it.
    fn begin_format(&self, path: &Path) -> Result<(), OpenError> {
        let entries = fs::read_dir(&self.path).map_err(OpenError::io("list", &self.path))?;
        for entry in entries {
            let name = entry.map_err(OpenError::io("list", &self.path))?.file_name();
            let is_ours = name == LOCK_FILE || name == format!("{FORMAT_FILE}.new").as_str();
            if !is_ours {
                return Err(OpenError::NotAStore { directory: self.path.clone() });
            }
        }
        self.say_format(path)
    }

    fn say_format(&self, path: &Path) -> Result<(), OpenError> {
        write_whole(path, &format!("{FORMAT_PREFIX}{FORMAT}\n"))
    }
}

/// Writes a small file so that it is there in full or not at all, also after a power cut.
fn write_whole(path: &Path, text: &str) -> Result<(), OpenError> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(OpenError::io("write", path))?;
    sync_directory(path.parent().unwrap_or_else(|| Path::new(".")))
}

/// Makes a directory, with those above it that are missing, and their names durable.
pub(crate) fn create_directory(path: &Path) -> Result<(), OpenError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or_else(|| Path::new("."));
    create_directory(parent)?;
    fs::create_dir_all(path).map_err(OpenError::io("create", path))?;
    sync_directory(parent)
}

/// Makes created, renamed and removed names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), OpenError> {
    #[cfg(test)]
    tests::note_sync(path);
    File::open(path).and_then(|directory| directory.sync_all()).map_err(OpenError::io("sync", path))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::ffi::{OsStr, OsString};

    use super::*;
    use crate::store::StoreConfig;
    use crate::store::engine::Engine;
    use crate::store::open::open_engine;

    /// A directory that was synced, and the names that were in it then.
    type Synced = (PathBuf, BTreeSet<OsString>);

    thread_local! {
        static SYNCED: RefCell<Vec<Synced>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note_sync(path: &Path) {
        SYNCED.with_borrow_mut(|synced| synced.push((path.to_owned(), names(path))));
    }

    fn names(path: &Path) -> BTreeSet<OsString> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).collect()
    }

    fn directories(path: &Path, found: &mut Vec<PathBuf>) {
        for name in names(path) {
            let path = path.join(name);
            if path.is_dir() {
                directories(&path, found);
                found.push(path);
            }
        }
    }

    #[test]
    fn the_names_of_new_directories_are_durable() {
        let above = tempfile::tempdir().expect("a temporary directory");
        let opened = open_engine(&above.path().join("some/data"), &StoreConfig::default());
        let _open = opened.expect("a new store");
        let mut found = Vec::new();
        directories(above.path(), &mut found);
        assert!(found.iter().any(|path| path.ends_with("blobs")), "{found:?}");
        let synced = SYNCED.take();
        for path in found {
            let (parent, name) = (path.parent().expect("below"), path.file_name().expect("named"));
            let is_durable = |(at, names): &Synced| at == parent && names.contains(name);
            assert!(synced.iter().any(is_durable), "{}", path.display());
        }
    }

    #[test]
    fn a_moved_directory_is_durable_where_it_comes_to_before_it_is_gone_where_it_was() {
        let path = tempfile::tempdir().expect("a temporary directory");
        let at = path.path();
        fs::create_dir(at.join(ENGINE_DIRECTORY)).expect("writable");
        fs::write(at.join(FORMAT_FILE), "quorum store format 2\n").expect("writable");
        fs::write(at.join(CLEAN_FILE), "1\n").expect("writable");
        let directory = Directory::open(at).expect("taken over");
        let engine = directory.engine_path();
        let synced = SYNCED.take();
        let there = synced.iter().position(|(path, names)| {
            *path == engine && names.contains(OsStr::new(TABLES_DIRECTORY))
        });
        let gone = synced.iter().position(|(path, names)| {
            path == at
                && names.contains(OsStr::new(ENGINE_DIRECTORY))
                && !names.contains(OsStr::new(MOVED_DIRECTORY))
        });
        assert!(there.is_some() && there < gone, "{synced:?}");
    }

    #[test]
    fn a_directory_admits_one_at_a_time() {
        let path = tempfile::tempdir().expect("a temporary directory");
        let held = Directory::open(path.path()).expect("a new directory");
        let second = Directory::open(path.path());
        assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
        drop(held);
        Directory::open(path.path()).expect("free again");
    }

    #[test]
    fn a_directory_admits_nobody_before_its_last_reader_has_ended() {
        let path = tempfile::tempdir().expect("a temporary directory");
        let opened = open_engine(path.path(), &StoreConfig::default());
        let (directory, engine) = opened.expect("a new store");
        let reader = engine.view();
        drop(engine);
        directory.mark_clean(0).expect("writable");
        let second = Directory::open(path.path());
        assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
        drop(reader);
        Directory::open(path.path()).expect("free again");
    }

    #[test]
    fn a_later_format_and_foreign_files_are_refused() {
        let path = tempfile::tempdir().expect("a temporary directory");
        fs::write(path.path().join("notes.txt"), "mine").expect("writable");
        let refused = Directory::open(path.path());
        assert!(matches!(refused, Err(OpenError::NotAStore { .. })), "{refused:?}");

        let path = tempfile::tempdir().expect("a temporary directory");
        drop(Directory::open(path.path()).expect("a new directory"));
        fs::write(path.path().join(FORMAT_FILE), "quorum store format 5\n").expect("writable");
        let refused = Directory::open(path.path());
        assert!(matches!(refused, Err(OpenError::NewerFormat { found: 5, .. })), "{refused:?}");
    }

    #[test]
    fn the_clean_mark_stays_until_it_is_removed_and_must_be_readable() {
        let path = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(path.path()).expect("a new directory");
        assert_eq!(directory.clean_mark().expect("readable"), None);
        directory.mark_clean(17).expect("writable");
        let directory = Directory::open(path.path()).expect("free again");
        for _ in 0..2 {
            assert_eq!(directory.clean_mark().expect("readable"), Some(17));
        }
        for _ in 0..2 {
            directory.remove_clean_mark().expect("writable");
            assert_eq!(directory.clean_mark().expect("readable"), None);
        }
        fs::write(path.path().join(CLEAN_FILE), "1x7\n").expect("writable");
        let refused = directory.clean_mark();
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "{refused:?}");
    }
}
