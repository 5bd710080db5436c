//! A store with a clock, a random source and a disk that the test owns.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::{
    Clock, ClockGuard, ClusterId, Digest, Dot, Durability, Epoch, Hlc, Incarnation, Incoming,
    Lineage, LocalStore, Origin, PeerId, Random, Record, ReplicaStore, Reply, Silent, Sleep,
    WriteId,
};
use quorum_node::receive::{AdmissionLimits, Receiver};
use quorum_node::record::{Content, Key, Namespace, WriteOp};
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::{OpenError, Store, StoreConfig, StoreIdentity, StoreSeams};

/// The wall clock at the start of every test, in milliseconds.
pub(crate) const WALL: u64 = 1_700_000_000_000;

/// Real monotonic time, and a wall clock that stands where the test puts it.
#[derive(Debug)]
pub(crate) struct TestClock {
    wall_millis: AtomicU64,
}

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { wall_millis: AtomicU64::new(WALL) })
    }

    pub(crate) fn set_wall(&self, millis: u64) {
        self.wall_millis.store(millis, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_millis.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}

/// Numbers from a seed, by SplitMix64.
#[derive(Debug)]
pub(crate) struct TestRandom(AtomicU64);

impl TestRandom {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}

impl Random for TestRandom {
    fn next_u64(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[expect(clippy::print_stdout, reason = "a failed run is repeated with its seed")]
/// A seed that differs between runs and is printed.
pub(crate) fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = now.expect("after 1970").subsec_nanos().into();
    println!("seed {seed}");
    seed
}

pub(crate) fn identity(node: &str) -> StoreIdentity {
    StoreIdentity { cluster: ClusterId::from_bytes([7; 16]), node: peer(node) }
}

pub(crate) fn peer(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

pub(crate) fn seams(clock: &Arc<TestClock>) -> StoreSeams {
    let random = TestRandom::new(fresh_seed());
    let (observer, random) = (Arc::new(Silent), Arc::new(random));
    StoreSeams { clock: clock.clone(), guard: trusting(), observer, random }
}

/// Trusts every clock.
pub(crate) fn trusting() -> Arc<Mutex<ClockGuard>> {
    Arc::new(Mutex::new(ClockGuard::new(Duration::MAX)))
}

/// A store on a disk in memory.
pub(crate) fn on_memory(disk: &MemoryDisk) -> Store {
    on_memory_with(disk, "n1", StoreConfig::default(), &TestClock::new())
}

pub(crate) fn on_memory_with(
    disk: &MemoryDisk,
    node: &str,
    config: StoreConfig,
    clock: &Arc<TestClock>,
) -> Store {
    Store::open_on(disk.engine(), &identity(node), config, seams(clock)).expect("opens")
}

/// A store in a directory.
pub(crate) fn on_disk(directory: &Path) -> Store {
    try_on_disk(directory).expect("opens")
}

pub(crate) fn try_on_disk(directory: &Path) -> Result<Store, OpenError> {
    Store::open(directory, &identity("n1"), StoreConfig::default(), seams(&TestClock::new()))
}

pub(crate) fn receiver(store: &Store) -> Receiver {
    let limits =
        AdmissionLimits { value_bytes_max: 1 << 20, clock_skew_max: Duration::from_secs(300) };
    Receiver::new(store.clone(), limits, [])
}

pub(crate) fn namespace() -> Namespace {
    Namespace::new("test").expect("a valid namespace")
}

pub(crate) fn key(key: &str) -> Key {
    Key::new(key.to_owned()).expect("a valid key")
}

/// A write with an id made from its content.
pub(crate) fn op(name: &str, value: &str) -> WriteOp {
    let digest = Digest::of(format!("{name}\0{value}").as_bytes());
    let mut write_id = [0; 16];
    write_id.copy_from_slice(&digest.as_bytes()[..16]);
    // No UUID of version 7 by chance: it would say that it is too old.
    if write_id[6] >> 4 == 7 {
        write_id[6] = 0;
    }
    WriteOp {
        namespace: namespace(),
        key: key(name),
        value: Some(Bytes::from(value.to_owned())),
        write_id: WriteId::from_bytes(write_id),
        durability: Durability::Fsync,
        above: None,
        deadline: None,
    }
}

/// Stages a write and waits until it is durable.
pub(crate) async fn write(store: &Store, op: WriteOp) -> Arc<Record> {
    let staged = store.stage(op).await.expect("staged");
    staged.durable.await.expect("durable");
    staged.record
}

pub(crate) fn value(store: &Store, name: &str) -> Option<Bytes> {
    store.get(&namespace(), &key(name)).expect("readable")?.content.value
}

/// A lineage of another node.
pub(crate) fn lineage(node: &str, start: u64) -> Lineage {
    let origin = Origin { node: peer(node), incarnation: Incarnation::from_bytes([9; 8]) };
    Lineage { origin, epoch: Epoch::new(start, 1) }
}

/// A record of another node.
pub(crate) fn record(
    lineage: &Lineage,
    seq: u64,
    name: &str,
    value: Option<&str>,
    millis: u64,
) -> Record {
    let value = value.map(|value| Bytes::from(value.to_owned()));
    let payload = Content { namespace: namespace(), key: key(name), value }.encode();
    let dot = Dot { lineage: lineage.clone(), seq };
    let text = format!("{dot}{name}");
    let mut write_id = [0; 16];
    write_id.copy_from_slice(&Digest::of(text.as_bytes()).as_bytes()[..16]);
    let write_id = WriteId::from_bytes(write_id);
    Record::new(write_id, dot, Hlc::from_millis(millis), Durability::Fsync, payload)
}

pub(crate) fn incoming(record: Record) -> Incoming {
    Incoming { record: Some(Arc::new(record)), ..Incoming::default() }
}

/// Applies records as they come from a peer.
pub(crate) async fn apply(store: &Store, batch: Vec<Incoming>) -> Vec<Reply> {
    let applied = receiver(store).apply(&peer("n2"), batch).await;
    assert!(applied.synced);
    applied.replies
}

pub(crate) fn contiguous(store: &Store, lineage: &Lineage) -> u64 {
    store.frontier().of(lineage).map_or(0, quorum_core::SeqSet::contiguous)
}
