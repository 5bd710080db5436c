//! What holds of a log whatever became of its files: claims that a fuzzer tries to refute, over files in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::disk::enter;
use super::frame::{self, CommitNumber};
use super::layer::Layer;
use super::log::{Segment, Segments};
use super::{Batch, Space};
use crate::store::error::OpenError;
use crate::store::fuzzing::Script;

/// Most segments of a log.
const SEGMENTS_MAX: u8 = 3;

/// Most commits of a segment.
const COMMITS_MAX: u8 = 6;

/// A sector: what a disk writes whole or not at all. Small, so that a commit takes several.
const SECTOR_BYTES: usize = 32;

/// A log as a node wrote it, and what became of it: the input says what is committed, what is synced, and then either where
/// the power cut tore it or which bytes went bad.
///
/// Whatever was synced and is undamaged is read, byte for byte, in order, and nothing that was never committed. What a
/// power cut can do is never taken for damage. And damage to what was synced is never passed over as long as anything
/// behind it shows that it was synced.
///
/// The values that are committed are the input's, the [generations](first_generation) are not.
///
/// # Panics
///
/// If a claim is false.
pub fn log_with_damage(input: &[u8]) {
    let mut script = Script::new(input);
    let mut log = Log::write(first_generation(input), &mut script);
    let is_power_cut = script.one_of(2) == 0;
    if is_power_cut {
        log.cut_power(&mut script);
    } else {
        log.damage(&mut script);
    }
    let applied = u64::from(script.byte()) % (log.synced + 1);
    let (read, frames) = log.read(applied);
    let next = match read {
        Ok(last) => last + 1,
        Err(error) => {
            assert!(!is_power_cut, "a power cut was taken for damage: {error}");
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
            return;
        }
    };
    for (number, frame) in &frames {
        let place = log.commits.get(number).expect("a commit that was never made");
        assert_eq!(frame, &place.frame, "commit {number} reads otherwise than it was written");
        check_changes(*number, frame);
    }
    assert!(frames.keys().copied().eq(applied + 1..next), "{:?} from {applied}", frames.keys());
    if is_power_cut {
        assert!(next > log.synced, "commit {next} was synced and is gone");
    }
    let witness = |(number, place): (&u64, &Place)| {
        *number > next && place.synced >= next && log.is_untouched(place)
    };
    let shown = log.commits.iter().filter(|commit| witness(*commit)).map(|(number, _)| *number);
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [0_u64; 0],
        "{next} is gone, and these show that it was synced"
    );
}

/// A log of two files whose bytes are the input's. With the first byte odd, every checksum in it is made to fit.
///
/// Whatever is read is one commit after the other, and takes no more memory than the files.
///
/// # Panics
///
/// If a claim is false.
pub fn log_of_any_bytes(input: &[u8]) {
    let &[kind, applied, cut, ref rest @ ..] = input else { return };
    let (one, other) = rest.split_at(usize::from(cut).min(rest.len()));
    let segments = [(7, 1, one), (8, 1 + u64::from(kind >> 4), other)];
    let mut log = Segments::in_memory(segments.map(|(generation, first, _)| (generation, first)));
    let files: Vec<Bytes> = segments
        .map(|(generation, _, bytes)| {
            let mut bytes = bytes.to_vec();
            if kind & 1 != 0 {
                make_checksums_fit(&mut bytes, generation);
            }
            bytes.into()
        })
        .into();
    let applied = u64::from(applied & 7);
    let (mut next, layer) = (applied + 1, Layer::default());
    let file = |segment: &Segment| Ok(files[usize::from(segment.generation() == 8)].clone());
    let read = log.read_files(applied, file, |_, number, frame| {
        assert_eq!(number, next, "a commit was left out or came twice");
        next += 1;
        enter(&layer, number, number, &frame)?;
        Ok(())
    });
    assert!(read.is_err() || read.is_ok_and(|last| last + 1 == next));
    log.found.clear();
}

/// Generation of a log's first segment. Whoever writes a value cannot foresee that of the segment it will lie in. No more
/// can an input, which would otherwise learn to commit values that hold sound frames: a torn commit could leave one of
/// them behind, and it would be right to take that for a witness.
fn first_generation(input: &[u8]) -> u64 {
    frame::MARKED_FROM + 7 + (xxh3_64(input) >> 2)
}

/// A log in memory, and the truth about it.
struct Log {
    first_generation: u64,
    files: Vec<File>,
    commits: BTreeMap<u64, Place>,
    synced: u64,
}

struct File {
    generation: u64,
    first: u64,
    /// What it held before anything was written into it.
    former: Vec<u8>,
    bytes: Vec<u8>,
    is_lost: bool,
}

/// Where a commit lies.
struct Place {
    file: usize,
    at: Range<usize>,
    frame: Bytes,
    /// What it says was synced.
    synced: u64,
}

impl Log {
    /// Commits what the script says, the way the engine does it.
    fn write(first_generation: u64, script: &mut Script<'_>) -> Self {
        let (files, commits, synced) = (Vec::new(), BTreeMap::new(), 0);
        let (mut log, mut number) = (Self { first_generation, files, commits, synced }, 0);
        for _ in 0..1 + script.one_of(SEGMENTS_MAX) {
            // A segment that others follow is synced.
            log.synced = number;
            log.begin(number + 1, script);
            for _ in 0..script.one_of(COMMITS_MAX + 1) {
                number += 1;
                log.append(number, script);
                if script.one_of(2) == 0 {
                    log.synced = number;
                }
            }
        }
        log
    }

    /// A segment, in a file that may have been used before.
    fn begin(&mut self, first: u64, script: &mut Script<'_>) {
        let generation = self.first_generation + self.files.len() as u64;
        let mut former = vec![0; 512];
        if script.one_of(2) == 1 {
            let commit = CommitNumber { number: first + 1, synced: first };
            let old = frame::encode(commit, &batch(first, script), generation - 3).expect("small");
            old.iter().chain(old.iter()).zip(&mut former).for_each(|(old, byte)| *byte = *old);
        }
        let bytes = former.clone();
        self.files.push(File { generation, first, former, bytes, is_lost: false });
    }

    fn append(&mut self, number: u64, script: &mut Script<'_>) {
        let commit = CommitNumber { number, synced: self.synced };
        let at = self.end();
        let index = self.files.len() - 1;
        let file = &mut self.files[index];
        let frame = frame::encode(commit, &batch(number, script), file.generation).expect("small");
        let at = at..at + frame.len();
        if file.bytes.len() < at.end {
            file.bytes.resize(at.end, 0);
            file.former.resize(at.end, 0);
        }
        file.bytes[at.clone()].copy_from_slice(&frame);
        self.commits.insert(number, Place { file: index, at, frame, synced: self.synced });
    }

    /// Where the newest segment ends.
    fn end(&self) -> usize {
        let newest = self.files.len() - 1;
        let last = self.commits.values().next_back().filter(|place| place.file == newest);
        last.map_or(0, |place| place.at.end)
    }

    /// Of what was not synced, some sectors never reached the disk.
    fn cut_power(&mut self, script: &mut Script<'_>) {
        let newest = self.files.len() - 1;
        let synced = self.commits.get(&self.synced).filter(|place| place.file == newest);
        let from = synced.map_or(0, |place| place.at.end);
        let file = &mut self.files[newest];
        let mut at = from;
        while at < file.bytes.len() {
            let end = (at - at % SECTOR_BYTES + SECTOR_BYTES).min(file.bytes.len());
            if script.one_of(2) == 1 {
                file.bytes[at..end].copy_from_slice(&file.former[at..end]);
            }
            at = end;
        }
    }

    /// Bytes go bad, files are cut or lost.
    fn damage(&mut self, script: &mut Script<'_>) {
        for _ in 0..1 + script.one_of(4) {
            let index = usize::from(script.byte()) % self.files.len();
            let file = &mut self.files[index];
            let at = usize::from(script.short()) % (file.bytes.len() + 1);
            match script.one_of(8) {
                0 => file.is_lost = true,
                1 => file.bytes.truncate(at),
                2 => file.bytes[at..].fill(0),
                _ => {
                    if let Some(byte) = file.bytes.get_mut(at) {
                        *byte ^= script.byte().max(1);
                    }
                }
            }
        }
    }

    fn is_untouched(&self, place: &Place) -> bool {
        let file = &self.files[place.file];
        !file.is_lost && file.bytes.get(place.at.clone()) == Some(&place.frame[..])
    }

    /// What a start reads.
    fn read(&self, applied: u64) -> (Result<u64, OpenError>, BTreeMap<u64, Bytes>) {
        let here = self.files.iter().filter(|file| !file.is_lost);
        let segments = Segments::in_memory(here.map(|file| (file.generation, file.first)));
        let bytes = |segment: &Segment| {
            let file = &self.files[(segment.generation() - self.first_generation) as usize];
            Ok(Bytes::copy_from_slice(&file.bytes))
        };
        let mut frames = BTreeMap::new();
        let read = segments.read_files(applied, bytes, |_, number, frame| {
            assert!(frames.insert(number, frame).is_none(), "commit {number} came twice");
            Ok(())
        });
        (read, frames)
    }
}

/// A commit that says its number.
fn batch(number: u64, script: &mut Script<'_>) -> Batch {
    let mut batch = Batch::default();
    let value = Bytes::copy_from_slice(script.bytes(usize::from(script.peek() % 48)));
    batch.put(Space::Records, Bytes::copy_from_slice(&number.to_be_bytes()), value);
    if script.one_of(4) == 0 {
        batch.remove(Space::Meta, Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    batch
}

fn check_changes(number: u64, frame: &Bytes) {
    let changes: Option<Vec<_>> = frame::changes(frame).collect();
    let changes = changes.expect("a sound frame has sound changes");
    assert!(changes.iter().all(|(_, key, _)| key[..] == number.to_be_bytes()));
    assert!(changes.iter().any(|(space, _, value)| *space == Space::Records && value.is_some()));
}

/// Makes every frame whose length fits sound, as far as its checksum goes.
fn make_checksums_fit(bytes: &mut [u8], generation: u64) {
    let mut from = 0;
    while let Some(at) = frame::next_candidate(bytes, from, generation) {
        from = at + 1;
        if let Some((_, len)) = frame::header(&bytes[at..], generation)
            && let Some(frame) = bytes.get_mut(at..at + len)
        {
            frame::seal(frame, generation);
            from = at + len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One commit that a power cut tears: its first sector is gone, and its value is there.
    fn torn(value: &[u8]) -> Vec<u8> {
        let (one_segment, no_former, one_commit) = (0, 0, 1);
        let len = u8::try_from(1 + value.len()).expect("short");
        let (nothing_removed, not_synced, power_cut, sector_lost) = (1, 1, 0, 1);
        let head = [one_segment, no_former, one_commit, len];
        [&head, value, &[nothing_removed, not_synced, power_cut, sector_lost]].concat()
    }

    #[test]
    fn an_input_cannot_commit_a_value_that_holds_a_frame_of_its_own_segment() {
        let witness = CommitNumber { number: 9, synced: 1 };
        let mut input = torn(&[0; 32]);
        for _ in 0..100 {
            let frame = frame::encode(witness, &Batch::default(), first_generation(&input));
            input = torn(&frame.expect("small"));
            log_with_damage(&input);
        }
    }
}
