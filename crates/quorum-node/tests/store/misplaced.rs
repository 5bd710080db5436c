//! Entries that went bad below the checksums of the engine: refused, or said to be damaged, never served as sound.

use bytes::Bytes;
use quorum_core::{LogSource, Replay};
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::engine::{Batch, Engine, Space, Sync};
use quorum_node::store::{OpenError, Store, StoreConfig};

use crate::harness::{TestClock, identity, key, namespace, on_memory, op, seams, value, write};

fn at(name: &str) -> Bytes {
    [namespace().as_str().as_bytes(), &[0], name.as_bytes()].concat().into()
}

fn put(disk: &MemoryDisk, space: Space, at: Bytes, value: Bytes) {
    let mut batch = Batch::default();
    batch.put(space, at, value);
    disk.engine().commit(&batch, Sync::Data).expect("memory takes everything");
}

/// A store with records of "a" and "b", closed, and then the one of "a" under the key "b" as well.
async fn misplaced() -> (MemoryDisk, Store) {
    let disk = MemoryDisk::new();
    let store = on_memory(&disk);
    for name in ["a", "b"] {
        write(&store, op(name, name)).await;
    }
    store.close().await;
    let of_a = disk.engine().view().get(Space::Records, &at("a")).expect("readable");
    put(&disk, Space::Records, at("b"), of_a.expect("there"));
    let store = on_memory(&disk);
    (disk, store)
}

#[tokio::test]
async fn an_intact_record_of_another_key_is_never_served_for_this_one() {
    let (_disk, store) = misplaced().await;
    assert_eq!(value(&store, "a").as_deref(), Some(&b"a"[..]));
    let served = store.get(&namespace(), &key("b"));
    assert!(served.is_err(), "served {served:?}");
    assert!(store.export(None, 10).is_err(), "exported as if nothing were wrong");
}

/// Whoever took the claim of a dot with the record of another key would believe to hold what it lacks.
#[tokio::test]
async fn an_intact_record_of_another_key_is_not_passed_on_for_this_one() {
    let (_disk, store) = misplaced().await;
    for (lineage, held) in store.frontier().iter() {
        let Replay::Items(items) = store.replay(lineage, held, 10_000).await else {
            panic!("the log is complete")
        };
        assert!(
            items.iter().filter_map(|item| item.record.as_ref()).all(|record| record.dot.seq == 1)
        );
        let said = items.iter().flat_map(|item| &item.covers);
        assert!(said.clone().all(|(_, dots)| !dots.contains(2)), "the dot of the lost record");
    }
    let (items, _) = store.snapshot(None, 10_000).await;
    let intact: Vec<bool> = items
        .iter()
        .filter_map(|item| item.record.as_ref())
        .map(|record| record.is_intact())
        .collect();
    assert_eq!(intact, [true, false], "the receiver must refuse one, and with it the claim");
}

/// A write that must be stamped above the end of time would wait for ever.
#[tokio::test]
async fn a_time_above_which_nothing_can_be_is_refused() {
    for kept in ["ceiling", "seen"] {
        for time in [u64::MAX, u64::MAX - (1 << 20)] {
            let disk = MemoryDisk::new();
            on_memory(&disk).close().await;
            put(&disk, Space::Meta, kept.into(), Bytes::copy_from_slice(&time.to_be_bytes()));
            let seams = seams(&TestClock::new());
            let opened =
                Store::open_on(disk.engine(), &identity("n1"), StoreConfig::default(), seams);
            assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{kept}: {opened:?}");
        }
    }
}

/// Counting on from the largest number would panic, or begin again at zero and reuse what must never be reused.
#[tokio::test]
async fn a_count_that_cannot_be_counted_on_is_refused() {
    for counted in ["changes", "starts"] {
        let disk = MemoryDisk::new();
        on_memory(&disk).close().await;
        put(&disk, Space::Meta, counted.into(), Bytes::from_static(&[u8::MAX; 8]));
        let seams = seams(&TestClock::new());
        let opened = Store::open_on(disk.engine(), &identity("n1"), StoreConfig::default(), seams);
        assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{counted}: {opened:?}");
    }
}
