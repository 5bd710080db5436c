//! Purged tombstones: gone for good, and what they hid with them. Each test is a way in which deleted data comes back in
//! systems that purge by the clock.

use std::sync::Arc;

use quorum_core::{
    Answer, Hlc, Incoming, LocalStore, LogSource, QuerySource, Question, Record, Refusal, Replay,
    Reply, SeqSet,
};
use quorum_node::record::WriteOp;
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::{Store, StoreConfig, verify};

use crate::harness::{
    TestClock, WALL, apply, contiguous, incoming, key, lineage, namespace, on_disk, on_memory,
    on_memory_with, op, peer, receiver, record, value, write,
};

const TOO_OLD: Reply = Reply::Refused { reason: Refusal::TooOld };

async fn delete(store: &Store, name: &str) -> Arc<Record> {
    let op = WriteOp { value: None, ..op(name, "delete") };
    write(store, op).await
}

fn has_record(store: &Store, name: &str) -> bool {
    store.get(&namespace(), &key(name)).expect("readable").is_some()
}

async fn replayed(store: &Store, of: &quorum_core::Lineage, last: u64) -> Vec<Incoming> {
    match store.replay(of, &SeqSet::up_to(last), usize::MAX).await {
        Replay::Items(items) => items,
        Replay::Partly(_) | Replay::Trimmed => panic!("the log is not trimmed"),
    }
}

#[tokio::test]
async fn a_purged_tombstone_is_gone_and_its_dots_are_void_also_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = on_disk(directory.path());
    write(&store, op("a", "1")).await;
    let tombstone = delete(&store, "a").await;
    write(&store, op("b", "1")).await;
    assert_eq!(store.purge(tombstone.hlc).await, Ok(1));
    assert!(!has_record(&store, "a") && has_record(&store, "b"));
    let own = store.lineage();
    let items = replayed(&store, &own, 3).await;
    assert_eq!(items[0].record, None);
    assert!(items[0].void, "the delete and what it deleted");
    assert_eq!(items[0].covers, vec![(own.clone(), SeqSet::up_to(2))]);
    store.close().await;
    drop(store);

    let verified = verify(directory.path(), &StoreConfig::default()).expect("a store");
    assert!(verified.is_sound(), "{:?}", verified.findings);
    let store = on_disk(directory.path());
    assert_eq!(store.purged(), tombstone.hlc);
    assert!(!store.has_tombstones(Hlc::from_millis(u64::MAX >> 17)).expect("readable"));
    assert_eq!(contiguous(&store, &own), 3);
}

/// A store on an empty disk hears of the delete first from a member that has purged it, and then from one that has not.
#[tokio::test]
async fn a_delete_that_is_purged_elsewhere_is_taken_until_it_is_purged_here() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = on_disk(directory.path());
    let n2 = lineage("n2", 1);
    store.cover(vec![(n2.clone(), SeqSet::up_to(4))]).await.expect("durable");
    let (early, late) = (record(&n2, 2, "a", Some("1"), WALL), record(&n2, 3, "a", None, WALL + 1));
    let replies = apply(&store, vec![incoming(late.clone()), incoming(early)]).await;
    assert!(matches!(replies[..], [Reply::Stored, Reply::Superseded { .. }]), "{replies:?}");
    assert!(has_record(&store, "a") && value(&store, "a").is_none());
    assert_eq!(contiguous(&store, &n2), 4);
    store.close().await;
    drop(store);
    let verified = verify(directory.path(), &StoreConfig::default()).expect("a store");
    assert!(verified.is_sound(), "{:?}", verified.findings);
    let store = on_disk(directory.path());
    assert_eq!(store.purge(late.hlc).await, Ok(1));
    assert!(!has_record(&store, "a"));
    assert_eq!(apply(&store, vec![incoming(late)]).await, [Reply::Stored]);
    assert!(!has_record(&store, "a"), "it is not put back");
}

#[tokio::test]
async fn only_tombstones_of_age_are_purged_and_only_while_they_are_current() {
    let store = on_memory(&MemoryDisk::new());
    let n2 = lineage("n2", 1);
    let replies = apply(
        &store,
        vec![
            incoming(record(&n2, 1, "old", None, WALL - 5_000)),
            incoming(record(&n2, 2, "written again", None, WALL - 4_000)),
            incoming(record(&n2, 3, "written again", Some("2"), WALL - 3_000)),
            incoming(record(&n2, 4, "young", None, WALL)),
        ],
    )
    .await;
    assert_eq!(replies, vec![Reply::Stored; 4]);
    assert_eq!(store.purge(Hlc::from_millis(WALL - 1)).await, Ok(1));
    assert!(!has_record(&store, "old"));
    assert_eq!(value(&store, "written again").as_deref(), Some(&b"2"[..]));
    assert!(has_record(&store, "young"), "the tombstone of a delete that may still be unknown");
}

/// A purge by steps, more tombstones than one step takes.
#[tokio::test]
async fn many_tombstones_are_purged_in_steps() {
    const KEYS: u64 = 2_500;
    let (store, n2) = (on_memory(&MemoryDisk::new()), lineage("n2", 1));
    let records =
        (1..=KEYS).map(|seq| incoming(record(&n2, seq, &format!("k{seq}"), None, WALL - 9_000)));
    apply(&store, records.collect()).await;
    assert_eq!(store.purge(Hlc::from_millis(WALL - 9_000)).await, Ok(KEYS));
}

/// n2 writes, n3 deletes; the tombstone is purged; then a node that was slow sends n2's write again.
#[tokio::test]
async fn a_write_that_was_known_when_its_key_was_deleted_does_not_come_back() {
    let store = on_memory(&MemoryDisk::new());
    let (n2, n3) = (lineage("n2", 1), lineage("n3", 1));
    let written = record(&n2, 1, "a", Some("zombie"), WALL - 2_000);
    let deleted = record(&n3, 1, "a", None, WALL - 1_000);
    apply(&store, vec![incoming(written.clone()), incoming(deleted.clone())]).await;
    assert_eq!(store.purge(deleted.hlc).await, Ok(1));
    // It was overwritten here, whatever has become of what overwrote it: a retry of it is no new write, and no failure.
    let replies = apply(&store, vec![incoming(written)]).await;
    assert!(matches!(replies[..], [Reply::Superseded { .. }]), "{replies:?}");
    assert!(!has_record(&store, "a"));
}

/// A disk that went back and a clock that is behind: n2 numbers a write anew, below what everybody has purged.
#[tokio::test]
async fn an_unknown_write_older_than_what_is_purged_is_refused() {
    let store = on_memory(&MemoryDisk::new());
    let (n2, n3) = (lineage("n2", 1), lineage("n3", 1));
    let deleted = record(&n3, 1, "a", None, WALL - 1_000);
    apply(&store, vec![incoming(deleted.clone())]).await;
    assert_eq!(store.purge(deleted.hlc).await, Ok(1));
    let late = record(&n2, 7, "a", Some("zombie"), WALL - 1_500);
    assert_eq!(apply(&store, vec![incoming(late)]).await, [TOO_OLD]);
    assert!(!has_record(&store, "a"));
    let newer = record(&n2, 7, "a", Some("alive"), WALL - 500);
    assert_eq!(apply(&store, vec![incoming(newer)]).await, [Reply::Stored]);
}

/// What a member that was given up had told one other member reaches this one after the purge.
#[tokio::test]
async fn what_a_forgotten_member_told_others_is_taken_although_it_is_old() {
    let store = on_memory(&MemoryDisk::new());
    let (n2, n3) = (lineage("n2", 1), lineage("n3", 1));
    store.forget(n2.origin.clone()).await.expect("durable");
    let deleted = record(&n3, 1, "a", None, WALL - 1_000);
    apply(&store, vec![incoming(deleted.clone())]).await;
    assert_eq!(store.purge(deleted.hlc).await, Ok(1));
    let other = record(&n2, 1, "b", Some("kept"), WALL - 1_500);
    assert_eq!(apply(&store, vec![incoming(other)]).await, [Reply::Stored]);
    assert_eq!(value(&store, "b").as_deref(), Some(&b"kept"[..]));
}

/// The peer has not purged yet, and sends its tombstone in the place of a write that is not known here.
#[tokio::test]
async fn a_purged_tombstone_that_stands_for_unknown_dots_covers_them_and_stays_purged() {
    let store = on_memory(&MemoryDisk::new());
    let (n2, n3) = (lineage("n2", 1), lineage("n3", 1));
    let deleted = record(&n3, 1, "a", None, WALL - 1_000);
    apply(&store, vec![incoming(deleted.clone())]).await;
    assert_eq!(store.purge(deleted.hlc).await, Ok(1));
    let again = Incoming { covers: vec![(n2.clone(), SeqSet::up_to(3))], ..incoming(deleted) };
    assert_eq!(apply(&store, vec![again]).await, [Reply::Stored]);
    assert_eq!(contiguous(&store, &n2), 3, "nobody waits for them for ever");
    assert!(!has_record(&store, "a"));
}

/// Versions must lie above the purge of others, or they would be refused there.
#[tokio::test]
async fn a_closed_clock_issues_nothing_older_also_after_a_restart() {
    let (disk, clock) = (MemoryDisk::new(), TestClock::new());
    let closed = Hlc::from_millis(WALL + 60_000);
    {
        let store = on_memory_with(&disk, "n1", StoreConfig::default(), &clock);
        write(&store, op("a", "1")).await;
        let (lineage, issued) = store.close_clock(closed).await.expect("durable");
        assert_eq!((lineage, issued), (store.lineage(), 1));
        assert!(write(&store, op("a", "2")).await.hlc > closed);
        disk.crash();
    }
    let store = on_memory_with(&disk, "n1", StoreConfig::default(), &clock);
    assert!(write(&store, op("a", "3")).await.hlc > closed);
    let seen = Hlc::from_millis(WALL + 120_000);
    store.observe(seen);
    let staged = store.stage(op("a", "4")).await.expect("staged");
    assert!(staged.record.hlc > seen, "what others have purged");
}

/// Whoever asks says which tombstones are to be left out, and could have everything read, again and again, for one number.
#[tokio::test]
async fn a_sum_over_a_range_comes_to_an_end_also_where_all_of_it_is_left_out() {
    let (store, n2) = (on_memory(&MemoryDisk::new()), lineage("n2", 1));
    let deletes: Vec<u64> = (1..=4 * 8_192 + 1).collect();
    for batch in deletes.chunks(8_192) {
        let delete = |seq: &u64| incoming(record(&n2, *seq, &format!("k{seq:06}"), None, WALL));
        apply(&store, batch.iter().map(delete).collect()).await;
    }
    let ignore_tombstones_through = Hlc::from_millis(WALL + 1);
    let question = Question::RangeDigest { after: None, through: None, ignore_tombstones_through };
    match receiver(&store).answer(&peer("n2"), question).await {
        Answer::RangeDigest { records: 0, is_complete: false, .. } => {}
        other => panic!("{other:?}"),
    }
}
