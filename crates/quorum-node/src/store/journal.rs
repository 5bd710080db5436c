//! A look at the engine's journals before the engine sees them.
//!
//! A power cut may tear the last commit: it was not acknowledged, so it is cut off and the store opens. Damage before
//! that has hit acknowledged writes, and must never be passed over. The engine alone cannot tell the two apart: it
//! takes a zeroed page anywhere for the end of a journal, and gives up on a bad checksum anywhere. So this file reads
//! the journals with its own eyes first, and changes nothing but the tail of the last one.
//!
//! Every commit carries its number and the number up to which everything was synced when it was written (see
//! [`fjall`](super::engine::fjall)). Numbers run on without a hole through all journals. A commit that cannot be read
//! was acknowledged exactly if some commit behind it says that it was synced.
//!
//! After an unclean stop the last journal is also written anew: what it holds may exist in the page cache only, if a
//! sync failed before, and another sync of the same pages would then succeed without writing them.
//!
//! The format, of fjall 3: a batch is `1, count: u32, seqno: u64`, then `count` items, then `3, checksum: u64,
//! "FJL\x03"`. An item is `2, type: u8, compression: u8, keyspace: u64, key length: u16, value length: u32, stored
//! length: u32, key, value`, or `4, keyspace: u64`. The checksum is the XXH3 of all items. Integers are little-endian.
//! Journals are allocated ahead, so zeros follow the last batch.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::directory::sync_directory;
use super::engine::fjall::{COMMIT_NUMBER_KEY, CommitNumber};
use super::error::OpenError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8; 4] = b"FJL\x03";

/// Checks all journals of an engine directory, cuts off a torn tail, and rewrites the last journal unless the store
/// was closed cleanly. Gives the number of the last commit found, if any is found.
pub(crate) fn prepare(engine: &Path, was_closed: bool) -> Result<Option<u64>, OpenError> {
    let mut last = None;
    let mut journals = journals(engine)?;
    let Some(active) = journals.pop() else { return Ok(None) };
    for path in journals {
        let scan = Scan::read(&path, &mut last)?;
        if let Some(end) = scan.garbage_end {
            return Err(scan.damaged(end, "a journal that was complete has an unreadable commit"));
        }
    }
    let scan = Scan::read(&active, &mut last)?;
    if let Some(end) = scan.garbage_end {
        scan.check_torn(end, last.as_ref())?;
        if was_closed {
            return Err(
                scan.damaged(end, "the store was closed, yet its last commit is unreadable")
            );
        }
        tracing::warn!(
            journal = %active.display(),
            bytes = end - scan.valid_end,
            "cut off a torn commit that was never acknowledged"
        );
    }
    if !was_closed {
        rewrite(&active, scan.valid_end)?;
    }
    Ok(last.map(|commit| commit.number))
}

/// The journals, oldest first.
fn journals(engine: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(engine).map_err(OpenError::io("list", engine))? {
        let path = entry.map_err(OpenError::io("list", engine))?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (true, Some(number)) = (is_journal, number) {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// Copies the first `len` bytes to a file of their own, makes that durable, and puts it in the place of the old one.
fn rewrite(journal: &Path, len: u64) -> Result<(), OpenError> {
    let copy = journal.with_extension("rewritten");
    let write = || {
        let mut from = File::open(journal)?.take(len);
        let mut to = OpenOptions::new().write(true).create(true).truncate(true).open(&copy)?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()?;
        fs::rename(&copy, journal)
    };
    write().map_err(OpenError::io("rewrite", journal))?;
    sync_directory(journal.parent().unwrap_or_else(|| Path::new(".")))
}

/// What one journal holds.
struct Scan {
    path: PathBuf,
    /// Behind the last commit before anything unreadable.
    valid_end: u64,
    /// Behind the last byte that is not zero, if that lies behind the last readable commit.
    garbage_end: Option<u64>,
}

impl Scan {
    /// Reads commits from the start for as long as they are sound, each one number above the `last`.
    fn read(path: &Path, last: &mut Option<CommitNumber>) -> Result<Self, OpenError> {
        let unreadable = || OpenError::io("read", path);
        let file = File::open(path).map_err(unreadable())?;
        let len = file.metadata().map_err(unreadable())?.len();
        let mut source = Source { reader: BufReader::with_capacity(1 << 16, file), left: len };
        let mut scan = Self { path: path.to_owned(), valid_end: 0, garbage_end: None };
        let mut item = Vec::new();
        while let Some(commit) = source.batch(&mut item).map_err(unreadable())? {
            if let Some(last) = last
                && commit.number != last.number + 1
            {
                let detail = format!("commit {} follows commit {}", commit.number, last.number);
                return Err(scan.damaged_with(detail));
            }
            *last = Some(commit);
            scan.valid_end = len - source.left;
        }
        let mut file = source.reader.into_inner();
        scan.garbage_end = last_nonzero(&mut file, scan.valid_end).map_err(unreadable())?;
        Ok(scan)
    }

    /// Whether what is unreadable up to `end` is the torn end of the journal, and was never acknowledged.
    fn check_torn(&self, end: u64, last: Option<&CommitNumber>) -> Result<(), OpenError> {
        let unreadable = || OpenError::io("read", &self.path);
        let mut file = File::open(&self.path).map_err(unreadable())?;
        file.seek(SeekFrom::Start(self.valid_end)).map_err(unreadable())?;
        let mut rest = Vec::new();
        file.take(end - self.valid_end).read_to_end(&mut rest).map_err(unreadable())?;
        // A trailing checksum or seqno may end in zeros: they belong to the batch all the same.
        rest.resize(rest.len() + 16, 0);
        let (lost, mut at, mut item) = (last.map_or(0, |last| last.number) + 1, 0, Vec::new());
        while let Some(candidate) = rest[at..].iter().position(|byte| *byte == START) {
            at += candidate;
            let mut source = Source { reader: &rest[at..], left: (rest.len() - at) as u64 };
            let found = source.batch(&mut item).expect("memory is readable");
            match found {
                Some(commit) if commit.number > lost && commit.synced >= lost => {
                    let detail = format!(
                        "commit {lost} is unreadable, and commit {} behind it proves that it was acknowledged",
                        commit.number
                    );
                    return Err(self.damaged_with(detail));
                }
                _ => at += 1,
            }
        }
        Ok(())
    }

    fn damaged(&self, end: u64, what: &str) -> OpenError {
        self.damaged_with(format!("{what} ({} bytes)", end - self.valid_end))
    }

    fn damaged_with(&self, detail: String) -> OpenError {
        OpenError::Damaged { file: self.path.clone(), offset: self.valid_end, detail }
    }
}

/// Where the bytes that are not zero end, at or behind `from`.
fn last_nonzero(file: &mut File, from: u64) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(from))?;
    let (mut at, mut end) = (from, None);
    // Whole chunks are compared first: nearly all of them are zero, and there may be a thousand.
    let (mut chunk, zeros) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(end);
        }
        if chunk[..read] != zeros[..read] {
            let last = chunk[..read].iter().rposition(|byte| *byte != 0).unwrap_or(0);
            end = Some(at + last as u64 + 1);
        }
        at += read as u64;
    }
}

/// Bytes to take a batch from, and how many there are.
struct Source<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Source<R> {
    /// The next batch, if a sound one is next.
    fn batch(&mut self, item: &mut Vec<u8>) -> io::Result<Option<CommitNumber>> {
        let mut hasher = Xxh3::new();
        let mut commit = None;
        let Some([START]) = self.array()? else { return Ok(None) };
        let Some(count) = self.array()?.map(u32::from_le_bytes) else { return Ok(None) };
        let Some(_seqno) = self.array::<8>()? else { return Ok(None) };
        for _ in 0..count {
            let Some(key) = self.item(item)? else { return Ok(None) };
            hasher.update(item);
            if item[key.clone()] == *COMMIT_NUMBER_KEY {
                commit = CommitNumber::decode(&item[key.end..]);
            }
        }
        let Some([END]) = self.array()? else { return Ok(None) };
        let checksum = self.array()?.map(u64::from_le_bytes);
        let is_sound = checksum == Some(hasher.digest()) && self.array()?.as_ref() == Some(TRAILER);
        Ok(commit.filter(|_| is_sound))
    }

    /// The next item, all of its bytes, and where among them its key is.
    fn item(&mut self, item: &mut Vec<u8>) -> io::Result<Option<std::ops::Range<usize>>> {
        const FIXED: usize = 1 + 1 + 8 + 2 + 4 + 4;
        item.clear();
        let Some([tag]) = self.array()? else { return Ok(None) };
        item.push(tag);
        match tag {
            CLEAR => Ok(self.append(item, 8)?.then_some(0..0)),
            ITEM => {
                if !self.append(item, FIXED)? {
                    return Ok(None);
                }
                let key_len = u16::from_le_bytes([item[11], item[12]]);
                let stored_len = u32::from_le_bytes([item[17], item[18], item[19], item[20]]);
                let len = usize::from(key_len) + stored_len as usize;
                let key = item.len()..item.len() + usize::from(key_len);
                Ok(self.append(item, len)?.then_some(key))
            }
            _ => Ok(None),
        }
    }

    fn array<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.left < N as u64 {
            return Ok(None);
        }
        let mut array = [0; N];
        self.reader.read_exact(&mut array)?;
        self.left -= N as u64;
        Ok(Some(array))
    }

    /// Appends `len` bytes if there are as many: a wild length costs no memory.
    fn append(&mut self, to: &mut Vec<u8>, len: usize) -> io::Result<bool> {
        if self.left < len as u64 {
            return Ok(false);
        }
        let start = to.len();
        to.resize(start + len, 0);
        self.reader.read_exact(&mut to[start..])?;
        self.left -= len as u64;
        Ok(true)
    }
}
