//! What holds of a store whatever became of its entries: claims that a fuzzer tries to refute.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::testing::{ManualClock, block_on};
use quorum_core::{
    ClockGuard, ClusterId, Durability, LocalStore, LogSource, PeerId, Random, Replay, Silent,
    WriteId,
};

use super::engine::memory::{MemoryDisk, MemoryEngine};
use super::engine::{Batch, Engine, PageLimit, Space, Sync};
use super::facts::Facts;
use super::open::Kept;
use super::schema::{
    Head, LogEntry, RecordKey, WriteEntry, decode_lineage, decode_seqs, decode_tombstone_key,
    encode_lineage, encode_seqs, tombstone_key,
};
use super::verify::verify_view;
use super::{DrivenCommitter, Store, StoreConfig, StoreIdentity, StoreSeams};
use crate::record::{Content, Key, Namespace, WriteOp};

/// The wall clock of every store here, in milliseconds since the Unix epoch.
const WALL_MILLIS: u64 = 1_700_000_000_000;

/// An input read as a script: byte by byte, and zeros behind its end.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) const fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte, which stays there.
    pub(crate) fn peek(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let byte = self.peek();
        self.0 = self.0.get(1..).unwrap_or_default();
        byte
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number below `bound`.
    pub(crate) fn one_of(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    /// So many bytes, or as many as there are.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// An entry of the store: the first byte chooses of which kind, the rest are its bytes.
///
/// Whatever is read reads back the same when it is written anew, and in the one form it has, is the same bytes.
///
/// # Panics
///
/// If a claim is false.
pub fn store_bytes(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let bytes = Bytes::copy_from_slice(bytes);
    match kind % 9 {
        0 => {
            if let Ok(head) = Head::decode(&bytes) {
                assert_eq!(head.encode(&bytes[HEAD_LEN..]), bytes);
            }
        }
        1 => {
            if let Ok(content) = Content::decode(&bytes) {
                assert_eq!(content.encode(), bytes, "a content has one form");
            }
        }
        2 => check_log_entries(&bytes),
        3 => {
            if let Ok(entry) = WriteEntry::decode(&bytes) {
                assert_eq!(entry.encode(), bytes);
            }
        }
        4 => {
            if let Ok(lineage) = decode_lineage(&bytes) {
                assert_eq!(encode_lineage(&lineage), bytes);
            }
        }
        5 => {
            if let Ok(seqs) = decode_seqs(&bytes) {
                assert_eq!(decode_seqs(&encode_seqs(&seqs)), Ok(seqs));
            }
        }
        6 => {
            if let Ok((namespace, key)) = RecordKey::from_bytes(bytes.clone()).split() {
                assert_eq!(RecordKey::new(&namespace, &key).bytes(), &bytes);
            }
        }
        7 => {
            if let Ok((hlc, key)) = decode_tombstone_key(&bytes) {
                assert_eq!(tombstone_key(hlc, key.bytes()), bytes);
            }
        }
        _ => {
            let mut parts = bytes.splitn(2, |byte| *byte == 0);
            let (key, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let mut facts = Facts::default();
            let _read_or_refused = facts.read(key, value);
        }
    }
}

const HEAD_LEN: usize = 70;

fn check_log_entries(bytes: &Bytes) {
    let (key, value) = (bytes.slice(..bytes.len().min(12)), bytes.slice(bytes.len().min(12)..));
    let Ok((lineage, run)) = LogEntry::decode_run(&key, &value) else { return };
    let last = LogEntry::last_of(&key).expect("it was read");
    assert!(run.iter().all(|entry| 0 < entry.first && entry.first <= entry.last));
    assert!(run.windows(2).all(|pair| pair[0].last + 1 == pair[1].first), "a hole in a run");
    assert_eq!(run.last().map(|entry| entry.last), Some(last), "a run ends where its key says");
    let (again, written) = LogEntry::encode_run(&run, lineage);
    assert_eq!(again, key);
    assert_eq!(LogEntry::decode_run(&again, &written), Ok((lineage, run)));
}

/// A store with a few records whose entries, below the checksums of the engine, went bad: the input says which and how.
///
/// It is refused, or opens and serves: then no key ever has a value that was not written under it, a record that is damaged
/// is said to be, none that is damaged is sent to anybody as sound, and it takes another write. An offline check finds
/// every record that is damaged or missing.
///
/// # Panics
///
/// If a claim is false.
pub fn store_with_damage(input: &[u8]) {
    let mut script = Script::new(input);
    let sound = sound_entries();
    let mut entries = sound.clone();
    while !script.is_over() {
        damage(&mut entries, &mut script);
    }
    let disk = MemoryDisk::new();
    fill(&disk.engine(), &entries);
    check_verification(&disk.engine(), sound, &entries);
    let Ok((store, committer)) = open(&disk) else { return };
    check_reads(&store, sound, &entries);
    check_replay(&store);
    let op = write(&key(0), Some("another"), 200);
    if let Ok(staged) = driven(&committer, store.stage(op)) {
        let _durable_or_stopped = driven(&committer, staged.durable);
    }
    finish(&committer);
}

/// Entries of a store, by space and key.
type Entries = BTreeMap<(Space, Bytes), Bytes>;

/// One thing goes bad.
fn damage(entries: &mut Entries, script: &mut Script<'_>) {
    let (kind, index) = (script.one_of(8), usize::from(script.byte()));
    let at = |entries: &Entries, index: usize| entries.keys().nth(index % entries.len()).cloned();
    if entries.is_empty() {
        return;
    }
    let Some(place) = at(entries, index) else { return };
    match kind {
        0 => drop(entries.remove(&place)),
        1 => {
            let other =
                at(entries, usize::from(script.byte())).and_then(|at| entries.get(&at).cloned());
            entries.extend(other.map(|value| (place, value)));
        }
        2 => {
            let len = usize::from(script.one_of(100));
            entries.insert(place, Bytes::copy_from_slice(script.bytes(len)));
        }
        3 => {
            let (space, len) = (Space::ALL[usize::from(script.one_of(7))], script.one_of(40));
            let key = Bytes::copy_from_slice(script.bytes(usize::from(len)));
            let len = usize::from(script.one_of(100));
            entries.insert((space, key), Bytes::copy_from_slice(script.bytes(len)));
        }
        4 => drop(entries.insert(place, Bytes::from_static(&[u8::MAX; 8]))),
        _ => {
            let mut value = entries[&place].to_vec();
            let offset = usize::from(script.byte());
            if let Some(byte) = value.get_mut(offset) {
                *byte ^= script.byte().max(1);
            }
            if kind == 5 {
                value.truncate(offset);
            }
            entries.insert(place, value.into());
        }
    }
}

/// An offline check of entries that went bad.
fn check_verification(engine: &MemoryEngine, sound: &Entries, entries: &Entries) {
    let Ok(verified) = verify_view(engine.view().as_ref()) else { return };
    let is_told = |at: &Bytes| {
        let at = at.escape_ascii().to_string();
        verified.findings.iter().any(|finding| finding.space == Space::Records && finding.at == at)
    };
    for ((space, key), value) in sound {
        if *space != Space::Records {
            continue;
        }
        match entries.get(&(*space, key.clone())) {
            Some(now) if now[DIGEST_AT.min(now.len())..] != value[DIGEST_AT..] => {
                assert!(is_told(key), "damage to {key:?} was not found: {:?}", verified.findings);
            }
            _ => {}
        }
    }
}

/// Where a record's digest begins; behind it comes the payload.
const DIGEST_AT: usize = 38;

fn check_reads(store: &Store, sound: &Entries, entries: &Entries) {
    // A record whose lineage has lost its name cannot be shown.
    let mut kept = sound.iter().filter(|((space, _), _)| *space == Space::Meta);
    let is_bookkeeping_sound = kept.all(|(at, value)| entries.get(at) == Some(value));
    for number in 0..KEYS {
        let (namespace, key) = (namespace(), key(number));
        let at = (Space::Records, RecordKey::new(&namespace, &key).bytes().clone());
        match store.get(&namespace, &key) {
            Ok(Some(found)) => {
                assert_eq!((&found.content.namespace, &found.content.key), (&namespace, &key));
                let written = sound.get(&at).expect("a key that has a record was written");
                assert_eq!(found.record.payload, written[HEAD_LEN..], "not what was written");
            }
            Ok(None) => assert!(!entries.contains_key(&at), "a record that is there is not shown"),
            Err(_) if !is_bookkeeping_sound => {}
            Err(_) => assert_ne!(entries.get(&at), sound.get(&at), "a sound record is refused"),
        }
    }
    if let Ok(export) = store.export(None, 100) {
        for record in export.records {
            let at = RecordKey::new(&record.content.namespace, &record.content.key);
            let written = sound.get(&(Space::Records, at.bytes().clone()));
            let written = written.expect("what is exported was written under its key");
            assert_eq!(record.record.payload, written[HEAD_LEN..], "not what was written");
        }
    }
    let _read_or_refused = store.scan(&namespace(), b"", None, 100);
    let _read_or_refused = store.content_digest();
    for id in 0..KEYS {
        let _read_or_refused = store.lookup(&write_id(id));
    }
}

/// What is sent to a member that lacks everything.
fn check_replay(store: &Store) {
    let frontier = store.shared.published.read().frontier.clone();
    for (lineage, held) in frontier.iter().take(8) {
        let _time_or_refused =
            store.logged_at(&quorum_core::Dot { lineage: lineage.clone(), seq: 1 });
        let replay = block_on(store.replay(lineage, held, 10_000));
        if let Replay::Items(items) | Replay::Partly(items) = replay {
            let records = items.iter().filter_map(|item| item.record.as_ref());
            assert!(records.clone().all(|record| record.is_intact()), "damage is passed on");
            let said = items.iter().flat_map(|item| &item.covers);
            assert!(said.clone().all(|(of, dots)| of != lineage || held.covers(dots)));
        }
    }
    let Ok(view) = store.shared.view() else { return };
    let all = (Bound::Unbounded, Bound::Unbounded);
    let kept = view.page(Space::Records, all, PageLimit::new(1_000, 1 << 20)).expect("readable");
    let (items, _) = block_on(store.snapshot(None, 1 << 20));
    // A page that cannot be read is empty, and asked for again.
    for ((key, _), item) in kept.iter().zip(&items) {
        let record = item.record.as_ref().expect("a snapshot is made of records");
        let is_told = !record.is_intact();
        assert!(is_told || RecordKey::from_bytes(key.clone()).has(record), "damage is passed on");
    }
}

/// Commits after which whoever still waits would wait for ever.
const COMMITS_MAX: usize = 16;

/// Keys that the sound store has records of.
const KEYS: u8 = 6;

fn namespace() -> Namespace {
    Namespace::new("ns").expect("a name")
}

fn key(number: u8) -> Key {
    Key::new(vec![b'a' + number]).expect("a key")
}

const fn write_id(number: u8) -> WriteId {
    WriteId::from_bytes([number; 16])
}

fn write(key: &Key, value: Option<&'static str>, id: u8) -> WriteOp {
    WriteOp {
        namespace: namespace(),
        key: key.clone(),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        write_id: write_id(id),
        durability: Durability::Fsync,
        above: None,
        deadline: None,
    }
}

/// The entries of a store that is sound: some keys written once, some again, one deleted.
fn sound_entries() -> &'static Entries {
    static ENTRIES: OnceLock<Entries> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        let disk = MemoryDisk::new();
        for start in 0..2 {
            let (store, committer) = open(&disk).expect("a sound store opens");
            for number in 0..KEYS - 2 * start {
                let value = (start + number != 4).then_some(if start == 0 { "one" } else { "two" });
                let op = write(&key(number), value, number + 50 * start);
                let staged = driven(&committer, store.stage(op)).expect("taken");
                driven(&committer, staged.durable).expect("durable");
            }
            finish(&committer);
        }
        let view = disk.engine().view();
        let mut entries = Entries::new();
        for space in Space::ALL {
            let all = (Bound::Unbounded, Bound::Unbounded);
            let page = view.page(space, all, PageLimit::new(1_000, 1 << 20)).expect("readable");
            entries.extend(page.into_iter().map(|(key, value)| ((space, key), value)));
        }
        Kept::read(view.as_ref()).expect("a sound store reads");
        assert!(verify_view(view.as_ref()).expect("readable").is_sound());
        entries
    })
}

fn fill(engine: &MemoryEngine, entries: &Entries) {
    let mut batch = Batch::default();
    for ((space, key), value) in entries {
        batch.put(*space, key.clone(), value.clone());
    }
    engine.commit(&batch, Sync::Data).expect("memory takes everything");
}

/// What comes of something that may wait for commits, each of which is made as soon as nothing else can happen: no thread is
/// begun and ended for an input.
fn driven<T>(committer: &DrivenCommitter, waiting: impl Future<Output = T>) -> T {
    let (mut waiting, mut context) = (pin!(waiting), Context::from_waker(Waker::noop()));
    for _ in 0..COMMITS_MAX {
        if let Poll::Ready(done) = waiting.as_mut().poll(&mut context) {
            return done;
        }
        committer.step();
    }
    panic!("waits for ever, whatever is committed");
}

/// Makes the commits that nobody waits for.
fn finish(committer: &DrivenCommitter) {
    let is_idle = (0..COMMITS_MAX).any(|_| !committer.step());
    assert!(is_idle, "there is always more to commit");
}

fn open(disk: &MemoryDisk) -> Result<(Store, DrivenCommitter), super::OpenError> {
    let node = PeerId::new("n1").expect("a name");
    let identity = StoreIdentity { cluster: ClusterId::from_bytes([7; 16]), node };
    let clock = ManualClock::new();
    clock.set_wall(Duration::from_millis(WALL_MILLIS));
    let seams = StoreSeams {
        clock: Arc::new(clock),
        guard: Arc::new(Mutex::new(ClockGuard::new(Duration::MAX))),
        observer: Arc::new(Silent),
        random: Arc::new(Counting::default()),
    };
    let config = StoreConfig { commit_interval: Duration::ZERO, ..StoreConfig::default() };
    Store::open_driven(disk.engine(), &identity, config, seams, || {})
}

/// One number after the other: the same run for the same input.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
