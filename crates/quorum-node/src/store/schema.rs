//! The bytes of the format: how keys and values of every space are written and read.
//!
//! Integers are big-endian, so that keys order as the numbers do. Every reader treats its input as damaged until it
//! has seen otherwise.

use bytes::{BufMut, Bytes, BytesMut};
use quorum_core::{
    Digest, Dot, Durability, Epoch, Hlc, Incarnation, Lineage, Origin, PeerId, Record, SeqSet,
    WriteId,
};

use crate::record::{ContentRef, Key, Namespace};

/// The format this program writes.
///
/// Format 2 adds the changes, the list of tombstones, and the time of a write to its log entry. Format 3 has a log in front
/// of the tables. In format 4 no segment of the log begins its frames as another one does. Older ones are read, and written
/// on as this one.
pub(crate) const FORMAT: u32 = 4;

/// The oldest format that is read.
pub(crate) const FORMAT_MIN: u32 = 1;

/// The last format in which the engine's own journal was the log.
pub(crate) const FORMAT_WITHOUT_LOG: u32 = 2;

/// The last format without a list of tombstones.
pub(crate) const FORMAT_WITHOUT_TOMBSTONES: u32 = 1;

/// Bytes of the store that do not read as what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct Corrupt {
    /// What was being read.
    pub what: &'static str,
}

/// The short name of a lineage inside one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LineageNumber(pub(crate) u32);

impl LineageNumber {
    pub(crate) fn key(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    pub(crate) fn from_key(key: &[u8]) -> Result<Self, Corrupt> {
        let bytes = key.try_into().map_err(|_| Corrupt { what: "lineage number" })?;
        Ok(Self(u32::from_be_bytes(bytes)))
    }
}

/// A key of the records: namespace, a zero byte, key.
///
/// No namespace contains a zero byte, so records order by namespace and then by key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RecordKey(Bytes);

impl RecordKey {
    pub(crate) fn new(namespace: &Namespace, key: &Key) -> Self {
        Self::from_parts(namespace.as_str(), key.as_bytes())
    }

    pub(crate) fn of(content: &ContentRef<'_>) -> Self {
        Self::from_parts(content.namespace, content.key)
    }

    pub(crate) fn from_parts(namespace: &str, key: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(namespace.len() + 1 + key.len());
        bytes.put_slice(namespace.as_bytes());
        bytes.put_u8(0);
        bytes.put_slice(key);
        Self(bytes.freeze())
    }

    /// Whether a record reads as what it should be under this key: about it, and hashing to its digest.
    pub(crate) fn has(&self, record: &Record) -> bool {
        record.is_intact()
            && ContentRef::parse(&record.payload).is_ok_and(|content| self.is_of(&content))
    }

    fn is_of(&self, content: &ContentRef<'_>) -> bool {
        let rest = self.0.strip_prefix(content.namespace.as_bytes());
        rest.and_then(|rest| rest.strip_prefix(&[0])) == Some(content.key)
    }

    pub(crate) fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(crate) fn split(&self) -> Result<(Namespace, Key), Corrupt> {
        let corrupt = Corrupt { what: "record key" };
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(corrupt)?;
        let namespace = std::str::from_utf8(&self.0[..end]).map_err(|_| corrupt)?;
        let namespace = Namespace::new(namespace).map_err(|_| corrupt)?;
        let key = Key::new(self.0.slice(end + 1..)).map_err(|_| corrupt)?;
        Ok((namespace, key))
    }
}

/// What a stored record is, apart from its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) hlc: Hlc,
    pub(crate) lineage: LineageNumber,
    pub(crate) seq: u64,
    pub(crate) write_id: WriteId,
    pub(crate) digest: Digest,
    pub(crate) durability: Durability,
    pub(crate) is_tombstone: bool,
}

impl Head {
    const LEN: usize = 2 + 8 + 4 + 8 + 16 + 32;
    const VERSION: u8 = 1;
    const FLAG_RELAXED: u8 = 1;
    const FLAG_TOMBSTONE: u8 = 2;

    /// The value of a record: this head, then its payload.
    pub(crate) fn encode(&self, payload: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::LEN + payload.len());
        bytes.put_u8(Self::VERSION);
        let relaxed = if self.durability == Durability::Relaxed { Self::FLAG_RELAXED } else { 0 };
        let tombstone = if self.is_tombstone { Self::FLAG_TOMBSTONE } else { 0 };
        bytes.put_u8(relaxed | tombstone);
        bytes.put_u64(self.hlc.as_u64());
        bytes.put_u32(self.lineage.0);
        bytes.put_u64(self.seq);
        bytes.put_slice(self.write_id.as_bytes());
        bytes.put_slice(self.digest.as_bytes());
        bytes.put_slice(payload);
        bytes.freeze()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Corrupt> {
        let corrupt = Corrupt { what: "record head" };
        let mut rest = Reader(value, corrupt);
        let [version, flags] = rest.array()?;
        let is_known =
            version == Self::VERSION && flags & !(Self::FLAG_RELAXED | Self::FLAG_TOMBSTONE) == 0;
        if !is_known {
            return Err(corrupt);
        }
        let is_relaxed = flags & Self::FLAG_RELAXED != 0;
        Ok(Self {
            hlc: Hlc::from_u64(rest.u64()?),
            lineage: LineageNumber(rest.u32()?),
            seq: rest.u64()?,
            write_id: WriteId::from_bytes(rest.array()?),
            digest: Digest::from_bytes(rest.array()?),
            durability: if is_relaxed { Durability::Relaxed } else { Durability::Fsync },
            is_tombstone: flags & Self::FLAG_TOMBSTONE != 0,
        })
    }

    /// The record, with a payload that shares the memory of the stored value.
    pub(crate) fn into_record(self, lineage: Lineage, value: &Bytes) -> Record {
        Record {
            write_id: self.write_id,
            dot: Dot { lineage, seq: self.seq },
            hlc: self.hlc,
            digest: self.digest,
            durability: self.durability,
            payload: value.slice(Self::LEN..),
        }
    }
}

/// An entry of the log: which key the dots `first..=last` were about, or that they were about nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// `None` if no member holds a record of these dots.
    pub(crate) key: Option<RecordKey>,
    /// The time of the newest write among them, if the entry says it.
    pub(crate) hlc: Option<Hlc>,
}

impl LogEntry {
    const ONE_DOT: u8 = 0;
    const RANGE: u8 = 1;
    const VOID_RANGE: u8 = 2;
    /// Several entries, one directly behind the other.
    const RUN: u8 = 3;
    /// Added to the kind of an entry that tells its time.
    const WITH_TIME: u8 = 8;

    /// Entries order by their last dot, so that the one which covers a dot is the first at or after it.
    pub(crate) fn key(lineage: LineageNumber, last: u64) -> Bytes {
        let mut bytes = BytesMut::with_capacity(12);
        bytes.put_u32(lineage.0);
        bytes.put_u64(last);
        bytes.freeze()
    }

    /// The place up to which the entry under this key reaches.
    pub(crate) fn last_of(key: &[u8]) -> Result<u64, Corrupt> {
        let mut dot = Reader(key, Corrupt { what: "log entry" });
        let (_lineage, last) = (dot.u32()?, dot.u64()?);
        Ok(last)
    }

    /// Entries that lie one directly behind the other, as one: an entry for each dot would cost the engine as much as the
    /// record itself.
    pub(crate) fn encode_run(run: &[Self], lineage: LineageNumber) -> (Bytes, Bytes) {
        let [.., last] = run else { unreachable!("a run has entries") };
        if run.len() == 1 {
            return last.encode(lineage);
        }
        let keys: usize =
            run.iter().filter_map(|entry| entry.key.as_ref()).map(|key| key.bytes().len()).sum();
        let mut value = BytesMut::with_capacity(1 + 18 * run.len() + keys);
        value.put_u8(Self::RUN);
        for entry in run {
            let about = entry.key.as_ref().map_or(&[][..], |key| key.bytes().as_ref());
            value.put_u64(entry.last - entry.first + 1);
            value.put_u64(entry.hlc.map_or(0, Hlc::as_u64));
            value.put_u16(u16::try_from(about.len()).expect("a key is shorter than that"));
            value.put_slice(about);
        }
        (Self::key(lineage, last.last), value.freeze())
    }

    /// The entries under one key, in order.
    pub(crate) fn decode_run(
        key: &[u8],
        value: &Bytes,
    ) -> Result<(LineageNumber, Vec<Self>), Corrupt> {
        if value.first() != Some(&Self::RUN) {
            return Self::decode(key, value).map(|(lineage, entry)| (lineage, vec![entry]));
        }
        let corrupt = Corrupt { what: "log entry" };
        let mut dot = Reader(key, corrupt);
        let (lineage, last) = (LineageNumber(dot.u32()?), dot.u64()?);
        let mut rest = Reader(&value[1..], corrupt);
        let (mut run, mut length) = (Vec::new(), 0_u64);
        while !rest.0.is_empty() {
            let (dots, hlc) = (rest.u64()?, rest.u64()?);
            let about = usize::from(u16::from_be_bytes(rest.array()?));
            let at = value.len() - rest.0.len();
            rest.0 = rest.0.get(about..).ok_or(corrupt)?;
            let key = (about > 0).then(|| RecordKey::from_bytes(value.slice(at..at + about)));
            let hlc = (hlc > 0).then(|| Hlc::from_u64(hlc));
            // Counted from the beginning until it is known where that is.
            let first = length.checked_add(1).ok_or(corrupt)?;
            length = length.checked_add(dots).filter(|_| dots > 0).ok_or(corrupt)?;
            run.push(Self { first, last: length, key, hlc });
        }
        let before = last.checked_sub(length).filter(|_| !run.is_empty()).ok_or(corrupt)?;
        for entry in &mut run {
            (entry.first, entry.last) = (entry.first + before, entry.last + before);
        }
        Ok((lineage, run))
    }

    fn encode(&self, lineage: LineageNumber) -> (Bytes, Bytes) {
        let about = self.key.as_ref().map_or(&[][..], |key| key.bytes().as_ref());
        let mut value = BytesMut::with_capacity(17 + about.len());
        let is_one = self.first == self.last && self.key.is_some();
        let kind = match &self.key {
            Some(_) if is_one => Self::ONE_DOT,
            Some(_) => Self::RANGE,
            None => Self::VOID_RANGE,
        };
        value.put_u8(kind | self.hlc.map_or(0, |_| Self::WITH_TIME));
        if !is_one {
            value.put_u64(self.first);
        }
        if let Some(hlc) = self.hlc {
            value.put_u64(hlc.as_u64());
        }
        value.put_slice(about);
        (Self::key(lineage, self.last), value.freeze())
    }

    fn decode(key: &[u8], value: &Bytes) -> Result<(LineageNumber, Self), Corrupt> {
        let corrupt = Corrupt { what: "log entry" };
        let mut dot = Reader(key, corrupt);
        let (lineage, last) = (LineageNumber(dot.u32()?), dot.u64()?);
        let mut rest = Reader(value, corrupt);
        let [kind] = rest.array()?;
        let tells_time = kind & Self::WITH_TIME != 0;
        let kind = kind & !Self::WITH_TIME;
        let first = if kind == Self::ONE_DOT { last } else { rest.u64()? };
        let hlc = if tells_time { Some(Hlc::from_u64(rest.u64()?)) } else { None };
        let about = value.slice(value.len() - rest.0.len()..);
        let key = match kind {
            Self::ONE_DOT | Self::RANGE if !about.is_empty() => Some(RecordKey::from_bytes(about)),
            Self::VOID_RANGE if about.is_empty() => None,
            _ => return Err(corrupt),
        };
        if first == 0 || first > last || !dot.0.is_empty() {
            return Err(corrupt);
        }
        Ok((lineage, Self { first, last, key, hlc }))
    }
}

/// What became of a write that had a write id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteEntry {
    pub(crate) hlc: Hlc,
    pub(crate) lineage: LineageNumber,
    pub(crate) seq: u64,
    pub(crate) digest: Digest,
    pub(crate) key: RecordKey,
}

impl WriteEntry {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(8 + 4 + 8 + 32 + self.key.bytes().len());
        bytes.put_u64(self.hlc.as_u64());
        bytes.put_u32(self.lineage.0);
        bytes.put_u64(self.seq);
        bytes.put_slice(self.digest.as_bytes());
        bytes.put_slice(self.key.bytes());
        bytes.freeze()
    }

    pub(crate) fn decode(value: &Bytes) -> Result<Self, Corrupt> {
        let mut rest = Reader(value, Corrupt { what: "write id entry" });
        Ok(Self {
            hlc: Hlc::from_u64(rest.u64()?),
            lineage: LineageNumber(rest.u32()?),
            seq: rest.u64()?,
            digest: Digest::from_bytes(rest.array()?),
            key: RecordKey::from_bytes(value.slice(value.len() - rest.0.len()..)),
        })
    }
}

/// The key of [`Space::Tombstones`](super::engine::Space::Tombstones): time, then the key that is deleted.
pub(crate) fn tombstone_key(hlc: Hlc, key: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + key.len());
    bytes.put_u64(hlc.as_u64());
    bytes.put_slice(key);
    bytes.freeze()
}

pub(crate) fn decode_tombstone_key(at: &Bytes) -> Result<(Hlc, RecordKey), Corrupt> {
    let hlc = Reader(at, Corrupt { what: "tombstone" }).u64()?;
    Ok((Hlc::from_u64(hlc), RecordKey::from_bytes(at.slice(8..))))
}

/// The value of a lineage's frontier: its intervals, in order.
pub(crate) fn encode_seqs(seqs: &SeqSet) -> Bytes {
    let mut bytes = BytesMut::with_capacity(16 * seqs.interval_count());
    for (first, last) in seqs.intervals() {
        bytes.put_u64(first);
        bytes.put_u64(last);
    }
    bytes.freeze()
}

pub(crate) fn decode_seqs(value: &[u8]) -> Result<SeqSet, Corrupt> {
    let corrupt = Corrupt { what: "frontier" };
    let mut rest = Reader(value, corrupt);
    let mut seqs = SeqSet::new();
    while !rest.0.is_empty() {
        let (first, last) = (rest.u64()?, rest.u64()?);
        if first == 0 || first > last || first <= seqs.last() {
            return Err(corrupt);
        }
        seqs.insert_range(first, last);
    }
    Ok(seqs)
}

pub(crate) fn encode_lineage(lineage: &Lineage) -> Bytes {
    let node = lineage.origin.node.as_str();
    let mut bytes = BytesMut::with_capacity(16 + node.len());
    bytes.put_slice(lineage.origin.incarnation.as_bytes());
    bytes.put_u64(lineage.epoch.as_u64());
    bytes.put_slice(node.as_bytes());
    bytes.freeze()
}

pub(crate) fn decode_lineage(value: &[u8]) -> Result<Lineage, Corrupt> {
    let corrupt = Corrupt { what: "lineage" };
    let mut rest = Reader(value, corrupt);
    let incarnation = Incarnation::from_bytes(rest.array()?);
    let epoch = Epoch::from_u64(rest.u64()?);
    let node = decode_node(rest.0).map_err(|_| corrupt)?;
    Ok(Lineage { origin: Origin { node, incarnation }, epoch })
}

pub(crate) fn decode_node(value: &[u8]) -> Result<PeerId, Corrupt> {
    let corrupt = Corrupt { what: "node name" };
    PeerId::new(std::str::from_utf8(value).map_err(|_| corrupt)?).map_err(|_| corrupt)
}

/// The keys of [`Space::Meta`](super::engine::Space::Meta).
pub(crate) mod meta {
    use bytes::{BufMut, Bytes, BytesMut};

    use super::{Corrupt, LineageNumber};

    /// The number of the last change.
    pub(crate) const CHANGES: Bytes = Bytes::from_static(b"changes");
    /// The format of everything else.
    pub(crate) const FORMAT: Bytes = Bytes::from_static(b"format");
    /// The cluster whose data this is.
    pub(crate) const CLUSTER: Bytes = Bytes::from_static(b"cluster");
    /// The member whose data this is.
    pub(crate) const NODE: Bytes = Bytes::from_static(b"node");
    /// The current incarnation.
    pub(crate) const INCARNATION: Bytes = Bytes::from_static(b"incarnation");
    /// How often the current incarnation has been started.
    pub(crate) const STARTS: Bytes = Bytes::from_static(b"starts");
    /// The bound below which timestamps may have been issued.
    pub(crate) const CEILING: Bytes = Bytes::from_static(b"ceiling");
    /// The largest timestamp seen above that bound.
    pub(crate) const SEEN: Bytes = Bytes::from_static(b"seen");

    const LINEAGE: &[u8] = b"lineage/";
    const TRIMMED: &[u8] = b"trimmed/";

    /// The name of a lineage, by its number.
    pub(crate) fn lineage(number: LineageNumber) -> Bytes {
        numbered(LINEAGE, number)
    }

    /// Up to where the log of a lineage is trimmed.
    pub(crate) fn trimmed(number: LineageNumber) -> Bytes {
        numbered(TRIMMED, number)
    }

    /// The number of a lineage's name, if the key is one.
    pub(crate) fn lineage_number(key: &[u8]) -> Option<Result<LineageNumber, Corrupt>> {
        key.strip_prefix(LINEAGE).map(LineageNumber::from_key)
    }

    /// The number of a trimmed lineage, if the key is one.
    pub(crate) fn trimmed_number(key: &[u8]) -> Option<Result<LineageNumber, Corrupt>> {
        key.strip_prefix(TRIMMED).map(LineageNumber::from_key)
    }

    fn numbered(prefix: &[u8], number: LineageNumber) -> Bytes {
        let mut key = BytesMut::with_capacity(prefix.len() + 4);
        key.put_slice(prefix);
        key.put_u32(number.0);
        key.freeze()
    }
}

/// A number as a value of [`Space::Meta`](super::engine::Space::Meta).
pub(crate) fn encode_u64(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(crate) fn decode_u64(value: &[u8]) -> Result<u64, Corrupt> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| Corrupt { what: "number" })
}

/// No store counts as far: a number beyond is damage, and one below leaves room for those that follow.
const COUNT_MAX: u64 = 1 << 47;

/// A number that is counted up from zero, one by one.
pub(crate) fn decode_count(value: &[u8]) -> Result<u64, Corrupt> {
    let count = decode_u64(value)?;
    if count > COUNT_MAX { Err(Corrupt { what: "count" }) } else { Ok(count) }
}

/// A time above which every later write is stamped. Above the largest ones nothing could be: they are damage.
pub(crate) fn decode_floor(value: &[u8]) -> Result<Hlc, Corrupt> {
    const MILLIS_MAX: u64 = 1 << 46;
    let floor = Hlc::from_u64(decode_u64(value)?);
    if floor.millis() > MILLIS_MAX { Err(Corrupt { what: "time" }) } else { Ok(floor) }
}

/// Takes fixed-size fields off the front of bytes.
struct Reader<'a>(&'a [u8], Corrupt);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(self.1)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, Corrupt> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Corrupt> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        Head {
            hlc: Hlc::from_u64(0x0102_0304_0506_0708),
            lineage: LineageNumber(9),
            seq: 10,
            write_id: WriteId::from_bytes([11; 16]),
            digest: Digest::from_bytes([12; 32]),
            durability: Durability::Relaxed,
            is_tombstone: true,
        }
    }

    #[test]
    fn a_record_reads_back_and_shares_the_memory_of_its_value() {
        let value = head().encode(b"payload");
        assert_eq!(Head::decode(&value), Ok(head()));
        let origin = Origin {
            node: PeerId::new("n1").expect("a valid name"),
            incarnation: Incarnation::from_bytes([1; 8]),
        };
        let lineage = Lineage { origin, epoch: Epoch::new(1, 2) };
        let record = head().into_record(lineage, &value);
        assert_eq!(record.payload.as_ref(), b"payload");
        assert!(value.as_ptr_range().contains(&record.payload.as_ptr()));
    }

    #[test]
    fn records_order_by_namespace_and_then_by_key() {
        let key = |namespace: &str, key: &[u8]| RecordKey::from_parts(namespace, key);
        assert!(key("a", b"\xff") < key("a.b", b"\x01"));
        assert!(key("a", b"k") < key("a", b"k\x00"));
        let (namespace, name) = key("ns", b"k\x00\xff").split().expect("a valid key");
        assert_eq!((namespace.as_str(), name.as_bytes()), ("ns", &b"k\x00\xff"[..]));
    }

    #[test]
    fn log_entries_read_back_and_order_by_their_last_dot() {
        let about = Some(RecordKey::from_parts("ns", b"k"));
        for entry in [
            LogEntry { first: 7, last: 7, key: about.clone(), hlc: Some(Hlc::from_millis(5)) },
            LogEntry { first: 7, last: 7, key: about.clone(), hlc: None },
            LogEntry { first: 2, last: 7, key: about, hlc: Some(Hlc::from_millis(5)) },
            LogEntry { first: 7, last: 7, key: None, hlc: None },
        ] {
            let (key, value) = entry.encode(LineageNumber(3));
            assert_eq!(LogEntry::decode(&key, &value), Ok((LineageNumber(3), entry)));
        }
        let entry =
            |first, last, key| LogEntry { first, last, key, hlc: Some(Hlc::from_millis(5)) };
        let about = RecordKey::from_parts("ns", b"k");
        let run = [entry(3, 3, Some(about.clone())), entry(4, 9, None), entry(10, 12, Some(about))];
        let (key, value) = LogEntry::encode_run(&run, LineageNumber(3));
        assert_eq!(LogEntry::last_of(&key), Ok(12));
        assert_eq!(LogEntry::decode_run(&key, &value), Ok((LineageNumber(3), run.to_vec())));
        assert!(LogEntry::decode_run(&LogEntry::key(LineageNumber(3), 9), &value).is_err());
        assert!(LogEntry::key(LineageNumber(1), u64::MAX) < LogEntry::key(LineageNumber(2), 1));
    }

    #[test]
    fn a_count_leaves_room_for_those_that_follow() {
        for count in [0, 1, COUNT_MAX] {
            assert_eq!(decode_count(&encode_u64(count)), Ok(count));
        }
        for damaged in [COUNT_MAX + 1, u64::MAX] {
            assert!(decode_count(&encode_u64(damaged)).is_err(), "{damaged}");
        }
        assert!(decode_count(&[0; 7]).is_err() && decode_count(&[0; 9]).is_err());
    }

    proptest! {
        #[test]
        fn damaged_values_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            let bytes = Bytes::from(bytes);
            let _ = Head::decode(&bytes);
            let _ = LogEntry::decode(&bytes, &bytes);
            let _ = LogEntry::decode(&[0; 12], &bytes);
            let _ = LogEntry::decode_run(&[9; 12], &[&[LogEntry::RUN], &bytes[..]].concat().into());
            let _ = WriteEntry::decode(&bytes);
            let _ = decode_lineage(&bytes);
            let _ = RecordKey::from_bytes(bytes.clone()).split();
            if let Ok(seqs) = decode_seqs(&bytes) {
                prop_assert_eq!(decode_seqs(&encode_seqs(&seqs)), Ok(seqs));
            }
        }
    }
}
