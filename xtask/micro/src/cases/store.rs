//! The store: so many records made durable together, staged as the coordinator of their writes does or merged as they
//! come from a peer. Once on an engine in memory, to see what the store itself costs, and once on the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorum_core::testing::{ManualClock, block_on};
use quorum_core::{ClockGuard, ClusterId, Incoming, LocalStore, ReplicaStore, Reply, Silent};
use quorum_node::receive::{AdmissionLimits, Receiver};
use quorum_node::record::WriteOp;
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::{Store, StoreConfig, StoreIdentity, StoreSeams};
use quorum_transport::testing::SeededRandom;
use tempfile::TempDir;

use super::records::{member, record, write};
use crate::case::{Case, Repeat};

pub(crate) const CASES: &[Case] = &[
    Case::counted("store-memory/stage-1", 300, || stage(Medium::Memory, 1)),
    // How many of these go into one commit is up to the threads, and with it the number of instructions.
    Case::timed("store-memory/stage-16", || stage(Medium::Memory, 16)),
    Case::timed("store-memory/stage-256", || stage(Medium::Memory, 256)),
    Case::counted("store-memory/merge-1", 300, || merge(Medium::Memory, 1)),
    Case::counted("store-memory/merge-16", 50, || merge(Medium::Memory, 16)),
    Case::counted("store-memory/merge-256", 5, || merge(Medium::Memory, 256)),
    Case::timed("store-disk/stage-1", || stage(Medium::Disk, 1)),
    Case::timed("store-disk/stage-16", || stage(Medium::Disk, 16)),
    Case::timed("store-disk/stage-256", || stage(Medium::Disk, 256)),
    Case::timed("store-disk/merge-1", || merge(Medium::Disk, 1)),
    Case::timed("store-disk/merge-16", || merge(Medium::Disk, 16)),
    Case::timed("store-disk/merge-256", || merge(Medium::Disk, 256)),
];

/// Records that one store takes: then the same ones go into a new store, so that it does not matter how many repetitions
/// there are.
const RECORDS_MAX: u64 = 16_384;

/// What keeps the records.
#[derive(Debug, Clone, Copy)]
enum Medium {
    Memory,
    Disk,
}

/// An open store, and its directory if it has one.
struct Opened {
    store: Store,
    // Removed after the store is closed.
    _directory: Option<TempDir>,
}

impl Opened {
    fn new(medium: Medium) -> Self {
        let (identity, config) = (identity(), StoreConfig::default());
        let (store, directory) = match medium {
            Medium::Memory => {
                let engine = MemoryDisk::new().engine();
                (Store::open_on(engine, &identity, config, seams()), None)
            }
            Medium::Disk => {
                let directory = tempfile::tempdir_in(beside_this_program());
                let directory = directory.expect("a folder can be made beside this program");
                (Store::open(directory.path(), &identity, config, seams()), Some(directory))
            }
        };
        Self { store: store.expect("a new store opens"), _directory: directory }
    }
}

fn identity() -> StoreIdentity {
    StoreIdentity { cluster: ClusterId::from_bytes([7; 16]), node: member(1) }
}

/// A wall clock that stands still and is trusted: versions are the same in every run.
fn seams() -> StoreSeams {
    StoreSeams {
        clock: Arc::new(ManualClock::new()),
        guard: Arc::new(Mutex::new(ClockGuard::new(Duration::MAX))),
        observer: Arc::new(Silent),
        random: Arc::new(SeededRandom::new(7)),
    }
}

/// In the target directory, which is on a disk, unlike many a temporary directory.
fn beside_this_program() -> PathBuf {
    let program = std::env::current_exe().expect("this program is a file");
    program.parent().expect("a file is in a folder").to_owned()
}

fn stage(medium: Medium, records: u64) -> Repeat {
    repeat(medium, records, write, |store, writes: Vec<WriteOp>| {
        block_on(async {
            let mut waiting = Vec::with_capacity(writes.len());
            for write in writes {
                waiting.push(store.stage(write).await.expect("staged").durable);
            }
            for durable in waiting {
                durable.await.expect("durable");
            }
        });
    })
}

fn merge(medium: Medium, records: u64) -> Repeat {
    let incoming = |seq| Incoming { record: Some(Arc::new(record(2, seq))), ..Incoming::default() };
    let from = member(2);
    repeat(medium, records, incoming, move |store, batch: Vec<Incoming>| {
        let limits = AdmissionLimits {
            value_bytes_max: StoreConfig::default().value_bytes_max,
            clock_skew_max: Duration::from_secs(300),
        };
        let applied = block_on(Receiver::new(store.clone(), limits, []).apply(&from, batch));
        assert!(applied.replies.iter().all(|reply| *reply == Reply::Stored), "new records");
    })
}

/// Takes batches of `records` items, made before, into a store; new stores are opened outside of the time.
fn repeat<T: Clone + 'static>(
    medium: Medium,
    records: u64,
    item: impl Fn(u64) -> T,
    take: impl Fn(&Store, Vec<T>) + 'static,
) -> Repeat {
    let items: Vec<T> = (1..=RECORDS_MAX).map(item).collect();
    let batches = move || -> Vec<Vec<T>> {
        items.chunks(records as usize).rev().map(<[T]>::to_vec).collect()
    };
    let (mut opened, mut waiting) = (Opened::new(medium), batches());
    Box::new(move |count| {
        let mut taken = Duration::ZERO;
        for _ in 0..count {
            let batch = waiting.pop().unwrap_or_else(|| {
                opened = Opened::new(medium);
                waiting = batches();
                waiting.pop().expect("there are records")
            });
            let began = Instant::now();
            take(&opened.store, batch);
            taken += began.elapsed();
        }
        taken
    })
}
