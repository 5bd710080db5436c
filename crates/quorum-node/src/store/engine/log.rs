//! The log in front of the tables: commits one behind the other, in files that are used again and again.
//!
//! A segment is a file named after its generation and its first commit. Generations only grow, and every frame is
//! checked with that of its segment, so what a file held in a former use is not mistaken for a commit. A segment whose
//! commits are all in the tables is kept as a spare: writing over a file that has its blocks already syncs faster than
//! making one grow.
//!
//! A power cut may tear the last commits: they were not acknowledged, so they are dropped and the store opens. Damage
//! before that has hit acknowledged writes, and must never be passed over. Numbers run on without a hole through all
//! segments, and every commit says how far commits were synced when it was written: one that cannot be read was
//! acknowledged exactly if some commit behind it says that it was synced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::frame::{self, CommitNumber};
use crate::store::directory::{create_directory, sync_directory};
use crate::store::error::OpenError;

const SEGMENT_EXTENSION: &str = "log";
const SPARE_EXTENSION: &str = "spare";
/// Spares beyond these are removed.
const SPARES_MAX: usize = 2;

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    path: PathBuf,
    generation: u64,
    first: u64,
}

/// What the directory of a log holds.
#[derive(Debug)]
pub(crate) struct Segments {
    directory: PathBuf,
    /// Those that were in use when it was listed, oldest first.
    pub(crate) found: Vec<Segment>,
    spares: Vec<PathBuf>,
    /// The largest generation there ever was.
    generation: u64,
    /// How long a file is from the beginning, in bytes; it takes no space before it is written.
    segment_len: u64,
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Writer {
    segment: Segment,
    file: File,
    end: u64,
}

impl Segments {
    /// Lists a directory; makes it if there is none.
    pub(crate) fn list(directory: PathBuf, segment_len: u64) -> Result<Self, OpenError> {
        create_directory(&directory)?;
        let (found, spares, generation) = (Vec::new(), Vec::new(), 0);
        let mut listed = Self { directory, found, spares, generation, segment_len };
        let list = || OpenError::io("list", &listed.directory);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&listed.directory).map_err(list())? {
            paths.push(entry.map_err(list())?.path());
        }
        for path in paths {
            let Some((generation, first)) = numbers(&path) else { continue };
            listed.generation = listed.generation.max(generation);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(SEGMENT_EXTENSION) => {
                    listed.found.push(Segment { path, generation, first });
                }
                Some(SPARE_EXTENSION) => listed.spares.push(path),
                _ => {}
            }
        }
        listed.found.sort_unstable_by_key(|segment| segment.generation);
        Ok(listed)
    }

    /// Reads every segment that holds commits after `applied`, hands each of their frames to `read`, and gives the last
    /// commit. What was never acknowledged is left out, whatever was and cannot be read is an error.
    pub(crate) fn read(
        &self,
        applied: u64,
        read: impl FnMut(&Segment, u64, Bytes) -> Result<(), OpenError>,
    ) -> Result<u64, OpenError> {
        let file = |segment: &Segment| {
            fs::read(&segment.path).map(Bytes::from).map_err(OpenError::io("read", &segment.path))
        };
        self.read_files(applied, file, read)
    }

    /// As [`read`](Self::read), with files that `file` reads.
    pub(super) fn read_files(
        &self,
        applied: u64,
        file: impl Fn(&Segment) -> Result<Bytes, OpenError>,
        mut read: impl FnMut(&Segment, u64, Bytes) -> Result<(), OpenError>,
    ) -> Result<u64, OpenError> {
        let mut last = applied;
        for (index, segment) in self.found.iter().enumerate() {
            let next = self.found.get(index + 1);
            if next.is_some_and(|next| next.first <= applied + 1) {
                continue;
            }
            if segment.first > last + 1 {
                let detail = format!("commit {} follows commit {last}", segment.first);
                return Err(OpenError::Damaged { file: segment.path.clone(), offset: 0, detail });
            }
            let end = segment.read(&file(segment)?, |number, frame| {
                last = last.max(number);
                if number > applied { read(segment, number, frame) } else { Ok(()) }
            })?;
            if next.is_some_and(|next| next.first != end.next) {
                let what = format!("commit {} of a complete segment is unreadable", end.next);
                return Err(segment.damaged(&end, what));
            }
            if next.is_none() {
                segment.check_end(&end)?;
            }
        }
        Ok(last)
    }

    /// Segments without files: generation and first commit of each.
    #[cfg(feature = "testing")]
    pub(super) fn in_memory(segments: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let named = |(generation, first)| Segment { path: PathBuf::new(), generation, first };
        let found = segments.into_iter().map(named).collect();
        let (directory, spares) = (PathBuf::new(), Vec::new());
        Self { directory, found, spares, generation: 0, segment_len: 0 }
    }

    /// Begins a segment, in a spare file if there is one.
    pub(crate) fn begin(&mut self, first: u64) -> Result<Writer, OpenError> {
        // What clients have written lies in files that are used again. With a step that nobody can foresee, nobody can write
        // a value that is taken for a commit of a segment to come, or that must be read to see that it is none.
        let step = 1 + u64::from(rand::random::<u32>());
        self.generation = self.generation.max(frame::MARKED_FROM) + step;
        let name = format!("{:016x}-{first:016x}.{SEGMENT_EXTENSION}", self.generation);
        let path = self.directory.join(name);
        let spare = self.spares.pop();
        let opened = self.open(&path, spare.as_deref());
        if opened.is_err() {
            // It may be tried again and again, until the disk has room.
            let _gone_or_never_there = match &spare {
                Some(spare) => fs::rename(&path, spare),
                None => fs::remove_file(&path),
            };
            self.spares.extend(spare);
        }
        let segment = Segment { path, generation: self.generation, first };
        Ok(Writer { segment, file: opened?, end: 0 })
    }

    /// Opens the file of a segment, which may be a spare so far.
    fn open(&self, path: &Path, spare: Option<&Path>) -> Result<File, OpenError> {
        if let Some(spare) = spare {
            fs::rename(spare, path).map_err(OpenError::io("rename", spare))?;
        }
        let open = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            // A sync of a file that has its length already need not write that, too.
            if file.metadata()?.len() < self.segment_len {
                file.set_len(self.segment_len)?;
            }
            Ok(file)
        };
        let file = open().map_err(OpenError::io("open", path))?;
        // The name must be there before anything in the file is acknowledged.
        self.sync()?;
        Ok(file)
    }

    /// All commits of a segment are in the tables: its file is free.
    pub(crate) fn retire(&mut self, segment: &Segment) -> io::Result<()> {
        if self.spares.len() >= SPARES_MAX {
            return fs::remove_file(&segment.path);
        }
        let spare = segment.path.with_extension(SPARE_EXTENSION);
        fs::rename(&segment.path, &spare)?;
        self.spares.push(spare);
        Ok(())
    }

    /// Makes it durable which files there are.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        sync_directory(&self.directory)
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bytes on disk.
    pub(crate) fn bytes(directory: &Path) -> u64 {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|found| 512 * found.blocks()).sum()
    }
}

/// Generation and first commit, as a file's name says.
fn numbers(path: &Path) -> Option<(u64, u64)> {
    let (generation, first) = path.file_stem()?.to_str()?.split_once('-')?;
    Some((u64::from_str_radix(generation, 16).ok()?, u64::from_str_radix(first, 16).ok()?))
}

/// Where the readable part of a segment ends.
struct End {
    bytes: Bytes,
    at: usize,
    /// The number of the commit that would be next.
    next: u64,
}

impl Segment {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(feature = "testing")]
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Hands on the frames from the beginning for as long as they are sound.
    fn read(
        &self,
        bytes: &Bytes,
        mut read: impl FnMut(u64, Bytes) -> Result<(), OpenError>,
    ) -> Result<End, OpenError> {
        let (mut at, mut next) = (0, self.first);
        while let Some((commit, len)) = frame::check(&bytes[at..], self.generation)
            && commit.number == next
        {
            read(next, bytes.slice(at..at + len))?;
            (at, next) = (at + len, next + 1);
        }
        Ok(End { bytes: bytes.clone(), at, next })
    }

    /// Whether the log may end here: nothing behind it proves that more was acknowledged.
    fn check_end(&self, end: &End) -> Result<(), OpenError> {
        let torn = frame::header(&end.bytes[end.at..], self.generation)
            .filter(|(torn, _)| torn.number == end.next);
        let mut from = end.at + 1;
        while let Some(at) = frame::next_candidate(&end.bytes, from, self.generation) {
            from = at + 1;
            // Looked at first, because the checksum of what only looks like a frame may take as long as that claims to be.
            let is_witness =
                |commit: CommitNumber| commit.number > end.next && commit.synced >= end.next;
            let claimed = frame::header(&end.bytes[at..], self.generation);
            if !claimed.is_some_and(|(commit, _)| is_witness(commit)) {
                continue;
            }
            if let Some((commit, _)) = frame::check(&end.bytes[at..], self.generation) {
                return Err(self.damaged(
                    end,
                    format!(
                        "commit {} is unreadable, and commit {} behind it proves that it was acknowledged",
                        end.next, commit.number
                    ),
                ));
            }
        }
        if torn.is_some() {
            tracing::warn!(
                segment = %self.path.display(),
                commit = end.next,
                "dropped a torn commit that was never acknowledged"
            );
        }
        Ok(())
    }

    fn damaged(&self, end: &End, detail: String) -> OpenError {
        OpenError::Damaged { file: self.path.clone(), offset: end.at as u64, detail }
    }
}

impl Writer {
    pub(crate) const fn segment(&self) -> &Segment {
        &self.segment
    }

    /// With which frames of this segment are checked.
    pub(crate) const fn generation(&self) -> u64 {
        self.segment.generation
    }

    /// Bytes of commits in it.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Hands a frame to the operating system.
    pub(crate) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write_all_at(frame, self.end)?;
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Writes to another file from now on.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    /// Everything appended is on stable storage.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::{Batch, Space};

    fn frame_of(number: u64, synced: u64, generation: u64) -> Bytes {
        let mut batch = Batch::default();
        batch.put(Space::Meta, Bytes::from("number"), Bytes::from(vec![number as u8; 100]));
        frame::encode(CommitNumber { number, synced }, &batch, generation).expect("small")
    }

    fn append(writer: &mut Writer, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            let frame = frame_of(number, number - 1, writer.generation());
            writer.append(&frame).expect("writable");
        }
        writer.sync().expect("syncable");
    }

    fn numbers_in(directory: &Path, applied: u64) -> Result<Vec<u64>, OpenError> {
        let mut numbers = Vec::new();
        let segments = Segments::list(directory.to_owned(), 1_000)?;
        let last = segments.read(applied, |_, number, _| {
            numbers.push(number);
            Ok(())
        })?;
        assert_eq!(last, numbers.last().copied().unwrap_or(applied));
        Ok(numbers)
    }

    /// Two segments of three commits each.
    fn two_segments(directory: &Path) -> (Segments, Segment, Writer) {
        let mut segments = Segments::list(directory.to_owned(), 1_000).expect("a log");
        let mut one = segments.begin(1).expect("writable");
        append(&mut one, 1..=3);
        let mut two = segments.begin(4).expect("writable");
        append(&mut two, 4..=6);
        (segments, one.segment, two)
    }

    #[test]
    fn commits_read_back_through_all_segments() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let _log = two_segments(directory.path());
        assert_eq!(numbers_in(directory.path(), 0).expect("sound"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers_in(directory.path(), 2).expect("sound"), [3, 4, 5, 6]);
        assert_eq!(numbers_in(directory.path(), 6).expect("sound"), [0_u64; 0]);
    }

    #[test]
    fn a_file_that_is_used_again_shows_nothing_of_its_former_use() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (mut segments, one, mut two) = two_segments(directory.path());
        segments.retire(&one).expect("renamed");
        append(&mut two, 7..=7);
        let mut three = segments.begin(8).expect("writable");
        assert!(
            fs::metadata(&three.segment.path).expect("there").len() > 0,
            "the file of the first"
        );
        assert_eq!(numbers_in(directory.path(), 3).expect("sound"), [4, 5, 6, 7]);
        append(&mut three, 8..=8);
        assert_eq!(numbers_in(directory.path(), 3).expect("sound"), [4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_value_that_looks_like_later_commits_is_not_taken_for_them() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut segments = Segments::list(directory.path().to_owned(), 1_000).expect("a log");
        let mut one = segments.begin(1).expect("writable");
        // What a client would write who knows the format, and tries the generations to come one by one.
        let generations = one.generation() + 1..one.generation() + 1_000;
        let forged: Vec<u8> =
            generations.flat_map(|generation| frame_of(u64::MAX, u64::MAX, generation)).collect();
        let mut batch = Batch::default();
        batch.put(Space::Records, Bytes::from("key"), Bytes::from(forged));
        let commit = CommitNumber { number: 1, synced: 0 };
        let frame = frame::encode(commit, &batch, one.generation()).expect("small");
        one.append(&frame).expect("writable");
        segments.retire(&one.segment).expect("renamed");
        let mut two = segments.begin(2).expect("writable");
        append(&mut two, 2..=2);
        assert_eq!(numbers_in(directory.path(), 1).expect("nothing is lost"), [2]);
    }

    /// Else a start would sum up every one of them to the end of the file.
    #[test]
    fn what_clients_write_does_not_even_look_like_commits() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut segments = Segments::list(directory.path().to_owned(), 1_000).expect("a log");
        let generation = segments.begin(1).expect("writable").generation();
        let known = (0..1_000).chain(frame::MARKED_FROM..frame::MARKED_FROM + 1_000);
        let mut bytes: Vec<u8> =
            known.flat_map(|known| frame_of(u64::MAX, u64::MAX, known)).collect();
        assert_eq!(frame::next_candidate(&bytes, 0, generation), None);
        let len = bytes.len();
        bytes.extend(frame_of(1, 0, generation));
        assert_eq!(frame::next_candidate(&bytes, 0, generation), Some(len));
    }

    #[test]
    fn segments_whose_frames_all_begin_alike_are_read_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(format!("{:016x}-{:016x}.log", 7, 1));
        let frames: Vec<u8> = (1..=3).flat_map(|number| frame_of(number, number - 1, 7)).collect();
        assert!(frames.starts_with(b"QLG1"));
        fs::write(&path, &frames).expect("writable");
        assert_eq!(numbers_in(directory.path(), 0).expect("sound"), [1, 2, 3]);
        let mut segments = Segments::list(directory.path().to_owned(), 1_000).expect("a log");
        let mut next = segments.begin(4).expect("writable");
        append(&mut next, 4..=5);
        assert_eq!(numbers_in(directory.path(), 0).expect("sound"), [1, 2, 3, 4, 5]);
        fs::remove_file(&next.segment.path).expect("there");
        let mut damaged = frames.clone();
        damaged[frames.len() / 2] ^= 1;
        fs::write(&path, &damaged).expect("writable");
        let found = numbers_in(directory.path(), 0);
        assert!(matches!(found, Err(OpenError::Damaged { .. })), "{found:?}");
    }

    #[test]
    fn a_segment_that_is_missing_is_damage() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (_, one, _) = two_segments(directory.path());
        fs::remove_file(&one.path).expect("there");
        assert!(matches!(numbers_in(directory.path(), 0), Err(OpenError::Damaged { .. })));
        assert_eq!(numbers_in(directory.path(), 3).expect("all of it is applied"), [4, 5, 6]);
    }

    #[test]
    fn damage_in_a_complete_segment_is_never_passed_over() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (_, one, _) = two_segments(directory.path());
        let file = OpenOptions::new().write(true).open(&one.path).expect("writable");
        let len = 3 * frame_of(1, 0, one.generation).len() as u64;
        file.write_all_at(b"?", len - 1).expect("writable");
        let damaged = numbers_in(directory.path(), 0);
        let Err(OpenError::Damaged { file, offset, .. }) = damaged else { panic!("{damaged:?}") };
        assert_eq!((file, offset), (one.path, len / 3 * 2));
        assert!(numbers_in(directory.path(), 3).is_ok(), "it is applied, so it is not read");
    }

    #[test]
    fn a_segment_that_cannot_be_begun_leaves_the_files_as_they_were() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut segments = Segments::list(directory.path().to_owned(), 1_000).expect("a log");
        let mut one = segments.begin(1).expect("writable");
        append(&mut one, 1..=1);
        segments.retire(&one.segment).expect("renamed");
        let spares = segments.spares.clone();
        // A file cannot be as long as that.
        segments.segment_len = u64::MAX;
        for spares_left in [1, 0] {
            let before = fs::read_dir(directory.path()).expect("there").count();
            segments.begin(2).map(|_| ()).expect_err("too long");
            assert_eq!(fs::read_dir(directory.path()).expect("there").count(), before);
            assert_eq!(segments.spares.len(), spares_left);
            for spare in segments.spares.drain(..) {
                assert_eq!(spares, std::slice::from_ref(&spare));
                fs::remove_file(spare).expect("there");
            }
        }
    }

    #[test]
    fn spares_are_bounded() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut segments = Segments::list(directory.path().to_owned(), 1_000).expect("a log");
        for first in 1..9 {
            let mut writer = segments.begin(first).expect("writable");
            append(&mut writer, first..=first);
            let held: Vec<Writer> =
                (0..3).map(|_| segments.begin(first + 1).expect("writable")).collect();
            segments.retire(&writer.segment).expect("renamed");
            for writer in held {
                segments.retire(&writer.segment).expect("renamed");
            }
        }
        assert_eq!(segments.spares.len(), SPARES_MAX);
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), SPARES_MAX);
    }
}
