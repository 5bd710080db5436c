//! Changes are numbered in the order in which they were applied, over restarts, and can be followed from any place that is
//! still known.

use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::{Changes, Store, StoreConfig};

use crate::harness::{
    TestClock, apply, incoming, key, lineage, on_disk, on_memory, on_memory_with, op, record, write,
};

fn page(store: &Store, after: u64) -> (Vec<(u64, String)>, u64) {
    match store.changes(after, 1_000).expect("readable") {
        Changes::Page { changes, next } => {
            let named =
                |change: quorum_node::store::Change| (change.number, change.key.to_string());
            (changes.into_iter().map(named).collect(), next)
        }
        trimmed => panic!("{trimmed:?}"),
    }
}

#[tokio::test]
async fn changes_are_followed_in_the_order_in_which_they_were_applied() {
    let store = on_memory(&MemoryDisk::new());
    let changed = store.subscribe_changes();
    write(&store, op("b", "1")).await;
    apply(
        &store,
        vec![incoming(record(&lineage("n2", 1), 1, "c", Some("1"), crate::harness::WALL))],
    )
    .await;
    write(&store, op("a", "1")).await;
    let (seen, next) = page(&store, 0);
    assert_eq!(seen, [(1, "b".into()), (2, "c".into()), (3, "a".into())]);
    assert_eq!((next, *changed.borrow()), (3, 3));
    assert_eq!(page(&store, 2), (vec![(3, "a".into())], 3));
    assert_eq!(page(&store, 3), (Vec::new(), 3));
}

#[tokio::test]
async fn a_change_that_was_overwritten_shows_as_the_later_one_only() {
    let store = on_memory(&MemoryDisk::new());
    for value in ["1", "2", "3"] {
        write(&store, op("a", value)).await;
    }
    let mut delete = op("b", "");
    delete.value = None;
    write(&store, delete).await;
    assert_eq!(page(&store, 0), (vec![(3, "a".into()), (4, "b".into())], 4));
    // What lost against a newer version is no change.
    let older = record(&lineage("n2", 1), 1, "a", Some("old"), crate::harness::WALL - 5_000);
    apply(&store, vec![incoming(older)]).await;
    assert_eq!(page(&store, 4), (Vec::new(), 4));
}

/// Whoever was away while a key was deleted and its tombstone purged must still hear of it: else it keeps the key for ever.
#[tokio::test]
async fn a_delete_is_shown_although_its_tombstone_is_purged() {
    let store = on_memory(&MemoryDisk::new());
    write(&store, op("a", "1")).await;
    let mut delete = op("a", "");
    delete.value = None;
    let tombstone = write(&store, delete).await;
    assert_eq!(store.purge(tombstone.hlc).await, Ok(1));
    let Changes::Page { changes, next } = store.changes(0, 10).expect("readable") else {
        panic!("everything is kept")
    };
    assert_eq!((changes.len(), next), (1, 2));
    assert_eq!((changes[0].number, changes[0].key.to_string()), (2, "a".to_owned()));
    assert_eq!(changes[0].record, None);
}

#[tokio::test]
async fn numbers_go_on_after_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = on_disk(directory.path());
    write(&store, op("a", "1")).await;
    drop(store);
    let store = on_disk(directory.path());
    write(&store, op("b", "1")).await;
    assert_eq!(page(&store, 0).0, [(1, "a".into()), (2, "b".into())]);
    assert_eq!(page(&store, 1).0, [(2, "b".into())]);
    let found =
        store.get(&crate::harness::namespace(), &key("b")).expect("readable").expect("there");
    let logged = store.logged_at(&found.record.dot).expect("readable");
    assert_eq!(logged, Some(found.record.hlc), "the log knows when it was");
}

#[tokio::test]
async fn old_changes_are_forgotten_and_whoever_comes_too_late_is_told() {
    let config = StoreConfig { changes_max: 10, ..StoreConfig::default() };
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    for index in 0..1_100 {
        write(&store, op(&format!("k{index}"), "1")).await;
    }
    let Changes::Trimmed { oldest, newest } = store.changes(0, 10).expect("readable") else {
        panic!("everything is kept")
    };
    assert_eq!(newest, 1_100);
    assert!((newest - oldest) >= 10, "what was promised is kept: {oldest}");
    assert_eq!(page(&store, oldest).1, newest);
    let beyond = store.changes(newest + 1, 10).expect("readable");
    assert_eq!(beyond, Changes::Trimmed { oldest, newest }, "a place of another life");
}
