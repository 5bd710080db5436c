//! One commit as bytes of the log: its numbers, what it changes, and a checksum over all of it.
//!
//! A frame is `mark: u32, length of the body: u32, checksum: u64, number: u64, synced: u64, body`. The body is a row of
//! changes: `space: u8, 1 to set or 0 to remove: u8, length of the key: u16, length of the value: u32, key, value`.
//! Integers are little-endian. The checksum is the XXH3 of everything behind it, seeded with the generation of the
//! segment, so that what a file held before it was used again does not read as a commit. The mark follows from the
//! generation, too.

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Batch, Space};

/// How frames began when all of them began alike, in segments before [`MARKED_FROM`].
const MARK_OF_ALL: [u8; 4] = *b"QLG1";
/// The generation from which on each has a mark of its own. Nobody outside can foresee it: were it known, a value full of
/// what looks like frames would have to be summed up from each of them to the end before a log could be said to end there.
pub(crate) const MARKED_FROM: u64 = 1 << 63;
const MARK_LEN: usize = MARK_OF_ALL.len();
const CHECKSUM_AT: usize = 8;
const CHECKED_FROM: usize = 16;
const HEADER_LEN: usize = 32;
const CHANGE_HEADER_LEN: usize = 8;

/// What every commit says about itself and those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitNumber {
    /// One larger than that of the commit before.
    pub(crate) number: u64,
    /// Up to which commit everything was synced when this one was written.
    pub(crate) synced: u64,
}

/// One change: a key of a space is set, or removed.
pub(crate) type Change = (Space, Bytes, Option<Bytes>);

/// How the frames of a generation begin.
fn mark(generation: u64) -> [u8; MARK_LEN] {
    if generation < MARKED_FROM {
        return MARK_OF_ALL;
    }
    let [a, b, c, d, ..] = xxh3_64_with_seed(&MARK_OF_ALL, generation).to_le_bytes();
    [a, b, c, d]
}

/// The bytes of a commit; `None` if it is larger than a frame can be.
pub(crate) fn encode(commit: CommitNumber, batch: &Batch, generation: u64) -> Option<Bytes> {
    let changes = batch.changes();
    let len = HEADER_LEN + changes.len() * CHANGE_HEADER_LEN + batch.bytes();
    let mut frame = BytesMut::with_capacity(len);
    frame.put_slice(&mark(generation));
    frame.put_bytes(0, CHECKED_FROM - MARK_LEN);
    frame.put_u64_le(commit.number);
    frame.put_u64_le(commit.synced);
    for (space, key, value) in changes {
        frame.put_u8(space as u8);
        frame.put_u8(u8::from(value.is_some()));
        frame.put_u16_le(u16::try_from(key.len()).ok()?);
        frame.put_u32_le(u32::try_from(value.map_or(0, Bytes::len)).ok()?);
        frame.put_slice(key);
        frame.put_slice(value.map(Bytes::as_ref).unwrap_or_default());
    }
    let body = u32::try_from(frame.len() - HEADER_LEN).ok()?;
    frame[MARK_LEN..CHECKSUM_AT].copy_from_slice(&body.to_le_bytes());
    seal(&mut frame, generation);
    Some(frame.freeze())
}

/// Writes the checksum of a frame that has everything else.
pub(super) fn seal(frame: &mut [u8], generation: u64) {
    let checksum = xxh3_64_with_seed(&frame[CHECKED_FROM..], generation);
    frame[CHECKSUM_AT..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
}

/// The frame at the beginning of `bytes`, if a sound one of this generation is there: its numbers, and its length.
pub(crate) fn check(bytes: &[u8], generation: u64) -> Option<(CommitNumber, usize)> {
    let (commit, len) = header(bytes, generation)?;
    let frame = bytes.get(..len)?;
    let checksum = u64_at(frame, CHECKSUM_AT)?;
    (checksum == xxh3_64_with_seed(&frame[CHECKED_FROM..], generation)).then_some((commit, len))
}

/// What a frame of this generation claims to be, sound or not.
pub(crate) fn header(bytes: &[u8], generation: u64) -> Option<(CommitNumber, usize)> {
    let rest = bytes.strip_prefix(&mark(generation))?;
    let body = u32::from_le_bytes(*rest.first_chunk()?) as usize;
    let commit = CommitNumber {
        number: u64_at(bytes, CHECKED_FROM)?,
        synced: u64_at(bytes, CHECKED_FROM + 8)?,
    };
    Some((commit, HEADER_LEN + body))
}

/// Where the next frame of this generation might begin, at or behind `from`.
pub(crate) fn next_candidate(bytes: &[u8], from: usize, generation: u64) -> Option<usize> {
    let (rest, mark) = (bytes.get(from..)?, mark(generation));
    rest.windows(MARK_LEN).position(|window| window == mark).map(|at| from + at)
}

/// The changes of a sound frame. They share its memory.
pub(crate) fn changes(frame: &Bytes) -> impl Iterator<Item = Option<Change>> + '_ {
    let mut at = HEADER_LEN;
    std::iter::from_fn(move || {
        if at >= frame.len() {
            return None;
        }
        let change = change(frame, at);
        at = change.as_ref().map_or(frame.len(), |(_, end)| *end);
        Some(change.map(|(change, _)| change))
    })
}

fn change(frame: &Bytes, at: usize) -> Option<(Change, usize)> {
    let [space, is_set, k0, k1, v0, v1, v2, v3] =
        *frame.get(at..)?.first_chunk::<CHANGE_HEADER_LEN>()?;
    let space = *Space::ALL.get(usize::from(space))?;
    let key_at = at + CHANGE_HEADER_LEN;
    let value_at = key_at + usize::from(u16::from_le_bytes([k0, k1]));
    let end = value_at.checked_add(u32::from_le_bytes([v0, v1, v2, v3]) as usize)?;
    if end > frame.len() || is_set > 1 {
        return None;
    }
    let value = (is_set == 1).then(|| frame.slice(value_at..end));
    Some(((space, frame.slice(key_at..value_at), value), end))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: CommitNumber = CommitNumber { number: 7, synced: 5 };

    fn frame() -> Bytes {
        let mut batch = Batch::default();
        batch.put(Space::Records, Bytes::from("a"), Bytes::from("1"));
        batch.put(Space::Meta, Bytes::from("empty"), Bytes::new());
        batch.remove(Space::Log, Bytes::from("b"));
        encode(COMMIT, &batch, 3).expect("small")
    }

    #[test]
    fn a_frame_reads_back() {
        let frame = frame();
        assert_eq!(check(&frame, 3), Some((COMMIT, frame.len())));
        let expected: Vec<Change> = vec![
            (Space::Records, Bytes::from("a"), Some(Bytes::from("1"))),
            (Space::Log, Bytes::from("b"), None),
            (Space::Meta, Bytes::from("empty"), Some(Bytes::new())),
        ];
        assert_eq!(changes(&frame).collect::<Option<Vec<_>>>(), Some(expected));
        let behind = [&frame[..], b"more"].concat();
        assert_eq!(check(&behind, 3), Some((COMMIT, frame.len())));
    }

    #[test]
    fn nothing_else_reads_as_one() {
        let frame = frame();
        assert_eq!(check(&frame, 4), None, "of another generation");
        for cut in 0..frame.len() {
            assert_eq!(check(&frame[..cut], 3), None, "cut at {cut}");
        }
        for at in 0..frame.len() {
            let mut damaged = frame.to_vec();
            damaged[at] ^= 0x10;
            assert_eq!(check(&damaged, 3), None, "damaged at {at}");
        }
    }

    #[test]
    fn a_wild_length_is_no_change() {
        let mut frame = BytesMut::zeroed(HEADER_LEN);
        frame.put_slice(&[0, 1, 255, 255, 255, 255, 255, 255, b'x']);
        let read: Vec<_> = changes(&frame.freeze()).collect();
        assert_eq!(read, [None]);
    }
}
