//! Peers' records: merging, gaps, covers and the frontier that follows from them.

use bytes::Bytes;
use quorum_core::{Busy, Incoming, Lineage, LogSource, Refusal, Replay, Reply, SeqSet};
use quorum_node::store::engine::Space;
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::{Store, StoreConfig, StoreError, StoreState, WriteLookup};

use crate::harness::{
    TestClock, TestRandom, WALL, apply, contiguous, fresh_seed, incoming, key, lineage, namespace,
    on_memory, on_memory_with, op, record, value, write,
};
use quorum_core::Random;

fn covering(record: quorum_core::Record, lineage: &Lineage, seqs: Vec<(u64, u64)>) -> Incoming {
    Incoming { covers: vec![(lineage.clone(), SeqSet::from(seqs))], ..incoming(record) }
}

/// As from the log of a peer, or a snapshot of it.
fn logged(record: quorum_core::Record) -> Incoming {
    Incoming { durable: true, ..incoming(record) }
}

#[tokio::test]
async fn the_newest_version_wins_and_every_dot_is_covered() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    let newer = record(&n2, 2, "a", Some("new"), WALL + 2);
    let older = record(&n2, 1, "a", Some("old"), WALL + 1);
    assert_eq!(apply(&store, vec![incoming(newer.clone())]).await, [Reply::Stored]);
    let replies = apply(&store, vec![incoming(older), incoming(newer.clone())]).await;
    assert_eq!(
        replies,
        [Reply::Superseded { version: newer.version(), is_same_write: false }, Reply::Stored]
    );
    assert_eq!(value(&store, "a"), Some(Bytes::from("new")));
    assert_eq!(contiguous(&store, &n2), 2);
    disk.crash();
    let restarted = on_memory(&disk);
    assert_eq!(value(&restarted, "a"), Some(Bytes::from("new")));
    assert_eq!(contiguous(&restarted, &n2), 2);
}

/// What is there may be newer than what comes, so nothing of a peer is put over it.
#[tokio::test]
async fn what_cannot_be_read_holds_up_what_needs_it_and_nothing_else() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    let known = record(&n2, 2, "b", Some("1"), WALL);
    apply(&store, vec![incoming(record(&n2, 1, "a", Some("1"), WALL)), incoming(known)]).await;
    let deleted = record(&n2, 3, "c", None, WALL - 10);
    apply(&store, vec![incoming(deleted)]).await;
    drop(store);
    for key in ["test\0a", "test\0c"] {
        disk.damage(Space::Records, Bytes::from(key));
    }
    let store = on_memory(&disk);
    let newer = |seq, name| incoming(record(&n2, seq, name, Some("2"), WALL + seq));
    let busy = Reply::Busy { reason: Busy::Disk };
    let replies = apply(&store, vec![newer(4, "a"), newer(5, "b")]).await;
    assert_eq!(replies, [busy, Reply::Stored]);
    assert_eq!(store.frontier().of(&n2), Some(&vec![(1, 3), (5, 5)].into()));
    assert_eq!(value(&store, "b"), Some(Bytes::from("2")));
    let purged = store.purge(quorum_core::Hlc::from_millis(WALL - 1)).await;
    assert!(matches!(purged, Err(StoreError::Unreadable { .. })), "{purged:?}");
    assert_eq!(store.state(), StoreState::Running);
    // A local write is newer than whatever was there.
    let local = write(&store, op("a", "3")).await;
    assert_eq!(value(&store, "a"), Some(Bytes::from("3")));
    let superseded = Reply::Superseded { version: local.version(), is_same_write: false };
    assert_eq!(apply(&store, vec![newer(4, "a")]).await, [superseded]);
    assert_eq!(contiguous(&store, &n2), 5);
}

/// A retry of the same write must not pass for another one.
#[tokio::test]
async fn a_write_whose_id_cannot_be_looked_up_may_come_again() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    let once = record(&n2, 1, "a", Some("1"), WALL);
    let write_id = Bytes::copy_from_slice(once.write_id.as_bytes());
    apply(&store, vec![incoming(once.clone())]).await;
    drop(store);
    disk.damage(Space::Writes, write_id);
    let store = on_memory(&disk);
    let mut again = record(&n2, 2, "a", Some("1"), WALL + 1);
    again.write_id = once.write_id;
    let replies = apply(&store, vec![incoming(again)]).await;
    assert_eq!(replies, [Reply::Busy { reason: Busy::Disk }]);
    assert_eq!(value(&store, "a"), Some(Bytes::from("1")));
    assert_eq!(contiguous(&store, &n2), 1, "nothing of it is there");
    assert_eq!(store.state(), StoreState::Running);
}

#[tokio::test]
async fn a_duplicate_is_answered_without_another_sync() {
    let disk = MemoryDisk::new();
    let store = on_memory(&disk);
    let once = record(&lineage("n2", 1), 1, "a", Some("1"), WALL);
    apply(&store, vec![incoming(once.clone())]).await;
    let syncs = disk.syncs();
    assert_eq!(apply(&store, vec![incoming(once)]).await, [Reply::Stored]);
    assert_eq!(disk.syncs(), syncs);
}

#[tokio::test]
async fn a_batch_is_merged_in_order_with_one_sync() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    apply(&store, vec![incoming(record(&n2, 1, "a", Some("1"), WALL))]).await;
    let syncs = disk.syncs();
    let batch: Vec<Incoming> = (2..200)
        .map(|seq| incoming(record(&n2, seq, "a", Some(&seq.to_string()), WALL + seq)))
        .collect();
    assert_eq!(apply(&store, batch).await, vec![Reply::Stored; 198]);
    assert_eq!(disk.syncs(), syncs + 1);
    assert_eq!(value(&store, "a"), Some(Bytes::from("199")));
}

#[tokio::test]
async fn the_same_version_with_another_digest_is_drift_and_the_larger_digest_wins() {
    let n2 = lineage("n2", 1);
    let one = record(&n2, 1, "a", Some("1"), WALL);
    let other = record(&n2, 1, "a", Some("2"), WALL);
    let larger = if one.digest > other.digest { &one } else { &other };
    let mut digests = Vec::new();
    for (first, second) in [(&one, &other), (&other, &one)] {
        let store = on_memory(&MemoryDisk::new());
        apply(&store, vec![incoming(first.clone())]).await;
        assert_eq!(apply(&store, vec![incoming(second.clone())]).await, [Reply::Drift]);
        let stored = store.get(&namespace(), &key("a")).expect("readable").expect("there");
        assert_eq!(stored.record.digest, larger.digest);
        digests.push(store.content_digest().expect("readable"));
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn a_refused_record_leaves_a_gap_and_nothing_waits_behind_it() {
    let n2 = lineage("n2", 1);
    let store = on_memory(&MemoryDisk::new());
    let mut damaged = record(&n2, 2, "b", Some("1"), WALL);
    damaged.payload = Bytes::from_static(b"other");
    let early = record(&n2, 3, "c", Some("1"), WALL + 301_000);
    let replies = apply(
        &store,
        vec![
            incoming(record(&n2, 1, "a", Some("1"), WALL)),
            covering(damaged, &n2, vec![(10, 12)]),
            covering(early.clone(), &n2, vec![(20, 22)]),
            incoming(record(&n2, 4, "d", Some("1"), WALL)),
        ],
    )
    .await;
    let expected = [
        Reply::Stored,
        Reply::Refused { reason: Refusal::Corrupt },
        Reply::Busy { reason: Busy::Clock },
        Reply::Stored,
    ];
    assert_eq!(replies, expected);
    let held = store.frontier().of(&n2).cloned().expect("known");
    assert_eq!(held, SeqSet::from(vec![(1, 1), (4, 4)]), "nor are the covers of what was refused");
}

#[tokio::test]
async fn covers_come_with_their_record_only() {
    let (disk, n2, n3) = (MemoryDisk::new(), lineage("n2", 1), lineage("n3", 1));
    let store = on_memory(&disk);
    let newest = record(&n2, 9, "a", Some("9"), WALL + 9);
    let item = Incoming {
        covers: vec![
            (n2.clone(), SeqSet::from(vec![(1, 3), (5, 5)])),
            (n3.clone(), SeqSet::from(vec![(7, 7)])),
        ],
        ..incoming(newest)
    };
    assert_eq!(apply(&store, vec![item]).await, [Reply::Stored]);
    disk.crash();
    let store = on_memory(&disk);
    let frontier = store.frontier();
    assert_eq!(frontier.of(&n2), Some(&SeqSet::from(vec![(1, 3), (5, 5), (9, 9)])));
    assert_eq!(frontier.of(&n3), Some(&SeqSet::from(vec![(7, 7)])));
}

#[tokio::test]
async fn gaps_are_capped_and_what_fills_one_is_still_taken() {
    let config = StoreConfig { gaps_max: 2, ..StoreConfig::default() };
    let n2 = lineage("n2", 1);
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    let put = |seq: u64| incoming(record(&n2, seq, &format!("k{seq}"), Some("1"), WALL));
    let busy = Reply::Busy { reason: Busy::Gaps };
    let replies = apply(&store, [1, 3, 5, 7].map(put).into()).await;
    assert_eq!(replies, [Reply::Stored, Reply::Stored, Reply::Stored, busy.clone()]);
    let bare = Incoming {
        record: None,
        covers: vec![(n2.clone(), SeqSet::from(vec![(9, 9)]))],
        ..Incoming::default()
    };
    assert_eq!(apply(&store, vec![bare]).await, [busy]);
    assert_eq!(apply(&store, [6, 2, 7].map(put).into()).await, vec![Reply::Stored; 3]);
    let held = store.frontier().of(&n2).cloned().expect("known");
    assert_eq!(held, SeqSet::from(vec![(1, 3), (5, 7)]));
}

/// Its sender may lose it before it is synced there. Kept here without a promise it would be here alone, while everybody
/// agrees that its dot is void.
#[tokio::test]
async fn what_is_sent_as_it_is_written_is_not_kept_beyond_the_cap() {
    let config = StoreConfig { gaps_max: 1, ..StoreConfig::default() };
    let n2 = lineage("n2", 1);
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    let put = |seq: u64, key: &str| record(&n2, seq, key, Some("1"), WALL);
    let busy = |reason| Reply::Busy { reason };
    let live = vec![incoming(put(3, "a")), incoming(put(5, "live"))];
    assert_eq!(apply(&store, live).await, [Reply::Stored, busy(Busy::Gaps)]);
    assert_eq!(value(&store, "live"), None);
    assert_eq!(apply(&store, vec![logged(put(7, "logged"))]).await, [busy(Busy::Kept)]);
    assert!(value(&store, "logged").is_some());
}

/// Keys that were written in turn arrive key by key, and each leaves the gaps that the next one fills. Judged as one, each
/// would wait for the others for ever.
#[tokio::test]
async fn what_is_missing_first_is_covered_however_many_gaps_there_are() {
    let config = StoreConfig { gaps_max: 2, ..StoreConfig::default() };
    let n2 = lineage("n2", 1);
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    let of = |first: u64| {
        let others = (0..9).map(|i| (first + 2 * i, first + 2 * i)).collect();
        let current = record(&n2, first + 18, &format!("k{first}"), Some("1"), WALL);
        Incoming { durable: true, ..covering(current, &n2, others) }
    };
    let held = || store.frontier().of(&n2).cloned().expect("known");
    assert_eq!(apply(&store, vec![of(1)]).await, [Reply::Busy { reason: Busy::Gaps }]);
    assert_eq!(held(), SeqSet::from(vec![(1, 1), (3, 3), (5, 5)]), "as far as there is room");
    assert_eq!(apply(&store, vec![of(1), of(2)]).await, vec![Reply::Stored; 2]);
    assert_eq!(held(), SeqSet::up_to(20));
}

/// Keys that were all overwritten out of order: what a log replays of the first round stands for those dots, and has its own far
/// behind.
#[tokio::test]
async fn what_comes_in_order_is_covered_although_the_records_that_stand_for_it_are_only_kept() {
    let config = StoreConfig { gaps_max: 2, ..StoreConfig::default() };
    let n2 = lineage("n2", 1);
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    // Key i was written as i, and again far behind.
    let dot = |i: u64| 101 + 2 * (7 * i % 20);
    let current = |i: u64| record(&n2, dot(i), &format!("k{i}"), Some("1"), WALL + dot(i));
    let of = |i: u64| Incoming { durable: true, ..covering(current(i), &n2, vec![(i, i)]) };
    let replies = apply(&store, (1..=20).map(of).collect()).await;
    assert_eq!(replies[..2], vec![Reply::Stored; 2]);
    assert!(replies.contains(&Reply::Busy { reason: Busy::Kept }), "{replies:?}");
    assert!(!replies.contains(&Reply::Busy { reason: Busy::Gaps }), "{replies:?}");
    assert_eq!(contiguous(&store, &n2), 20);
    // What stands for others of these keys needs no record again, promised or not.
    let held = store.frontier().of(&n2).cloned().expect("known");
    let kept = (1..=20).find(|i| !held.contains(dot(*i))).expect("some are only kept");
    let wanted = SeqSet::from(vec![(kept, kept)]);
    let replay = store.replay(&n2, &wanted, usize::MAX).await;
    let Replay::Items(mut items) = replay else { panic!("{replay:?}") };
    let mut held_here = items.pop().expect("it is in the log");
    held_here.record = None;
    held_here.covers = vec![(n2.clone(), SeqSet::from(vec![(21, 21)]))];
    assert_eq!(apply(&store, vec![held_here]).await, [Reply::Stored]);
    assert_eq!(contiguous(&store, &n2), 21);
}

/// A lineage that comes in order has no gaps, whatever the others have; so neither has it when a record stands for others.
#[tokio::test]
async fn a_record_that_stands_for_the_ones_before_it_is_taken_in_order_when_there_is_no_room() {
    let config = StoreConfig { gaps_in_all_max: 1, ..StoreConfig::default() };
    let (n2, n3) = (lineage("n2", 1), lineage("n3", 1));
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    let put = |of: &Lineage, seq: u64| record(of, seq, "k", Some("1"), WALL + seq);
    assert_eq!(apply(&store, vec![incoming(put(&n3, 2))]).await, [Reply::Stored]);
    let wide = covering(put(&n2, 15), &n2, vec![(1, 14)]);
    assert_eq!(apply(&store, vec![wide]).await, [Reply::Busy { reason: Busy::Gaps }], "live");
    let wide = Incoming { durable: true, ..covering(put(&n2, 15), &n2, vec![(1, 14)]) };
    assert_eq!(apply(&store, vec![wide]).await, [Reply::Stored]);
    assert_eq!(contiguous(&store, &n2), 15);
    // Also where its own dot comes before the ones it stands for.
    let stands = Incoming { durable: true, ..covering(put(&n2, 16), &n2, vec![(17, 20)]) };
    assert_eq!(apply(&store, vec![stands]).await, [Reply::Stored]);
    assert_eq!(contiguous(&store, &n2), 20);
}

/// The current records of many keys have dots as scattered as the keys were written. If those beyond the cap were not kept,
/// a snapshot would never be complete, its claim never made, and the member never brought up.
#[tokio::test]
async fn what_a_snapshot_brings_beyond_the_cap_is_kept_until_its_claim_closes_the_gaps() {
    let config = StoreConfig { gaps_max: 3, ..StoreConfig::default() };
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let open = || on_memory_with(&disk, "n1", config.clone(), &TestClock::new());
    let store = open();
    let name = |key: u64| format!("k{key}");
    let current = |key: u64| logged(record(&n2, 2 * key, &name(key), Some("1"), WALL + key));
    let replies = apply(&store, (1..=10).map(current).collect()).await;
    assert_eq!(replies[..3], vec![Reply::Stored; 3]);
    assert_eq!(replies[3..], vec![Reply::Busy { reason: Busy::Kept }; 7]);
    let held = store.frontier().of(&n2).cloned().expect("known");
    assert_eq!(held, SeqSet::from(vec![(2, 2), (4, 4), (6, 6)]), "nothing beyond is promised");
    disk.crash();
    let store = open();
    // Whoever compares finds everything here, and has only the claim left to send.
    assert!((1..=10).all(|key| value(&store, &name(key)).as_deref() == Some(b"1".as_slice())));
    let covers = vec![(n2.clone(), SeqSet::up_to(20))];
    let claim = Incoming { record: None, covers, ..Incoming::default() };
    assert_eq!(apply(&store, vec![claim]).await, [Reply::Stored]);
    assert_eq!(contiguous(&store, &n2), 20);
}

/// A frontier goes over the wire in one frame: with a bound for each lineage alone, a member that refills out of many would
/// outgrow it, and be refused by everybody.
#[tokio::test]
async fn gaps_of_all_lineages_together_are_capped_and_what_comes_in_order_is_still_taken() {
    let config = StoreConfig { gaps_max: 4, gaps_in_all_max: 6, ..StoreConfig::default() };
    let (disk, kept) = (MemoryDisk::new(), Reply::Busy { reason: Busy::Kept });
    let open = || on_memory_with(&disk, "n1", config.clone(), &TestClock::new());
    let (n2, n3, n4) = (lineage("n2", 1), lineage("n3", 1), lineage("n4", 1));
    let put = |of: &Lineage, seq: u64| {
        logged(record(of, seq, &format!("{}{seq}", of.origin.node), Some("1"), WALL))
    };
    let store = open();
    let scattered = |of: &Lineage, count: u64| (1..=count).map(|at| put(of, 2 * at)).collect();
    assert_eq!(apply(&store, scattered(&n2, 4)).await, vec![Reply::Stored; 4]);
    let replies = apply(&store, scattered(&n3, 4)).await;
    assert_eq!(replies, [Reply::Stored, Reply::Stored, kept.clone(), kept.clone()]);
    disk.crash();
    let store = open();
    assert_eq!(apply(&store, vec![put(&n3, 6)]).await, [kept], "that is known after a start");
    let bare = Incoming {
        record: None,
        covers: vec![(n3.clone(), SeqSet::from(vec![(9, 9)]))],
        ..Incoming::default()
    };
    assert_eq!(apply(&store, vec![bare]).await, [Reply::Busy { reason: Busy::Gaps }]);
    let in_order = (1..=3).map(|seq| put(&n4, seq)).collect();
    assert_eq!(apply(&store, in_order).await, vec![Reply::Stored; 3]);
    assert_eq!(contiguous(&store, &n4), 3);
    // Gaps that are closed leave room for others.
    let closing = (1..=4).map(|at| put(&n2, 2 * at - 1)).collect();
    assert_eq!(apply(&store, closing).await, vec![Reply::Stored; 4]);
    assert_eq!(contiguous(&store, &n2), 8);
    assert_eq!(apply(&store, vec![put(&n3, 6)]).await, [Reply::Stored]);
}

/// The claim at the end of a snapshot names every lineage there ever was, most of them without a gap.
#[tokio::test]
async fn a_claim_of_many_lineages_without_gaps_is_taken_whatever_their_number() {
    let config = StoreConfig { gaps_in_all_max: 1, ..StoreConfig::default() };
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    let covers = (1..=9).map(|epoch| (lineage("n2", epoch), SeqSet::up_to(3))).collect();
    let claim = Incoming { record: None, covers, ..Incoming::default() };
    assert_eq!(apply(&store, vec![claim]).await, [Reply::Stored]);
    assert!((1..=9).all(|epoch| contiguous(&store, &lineage("n2", epoch)) == 3));
}

#[tokio::test]
async fn lineages_are_capped_but_never_the_own_one() {
    let config = StoreConfig { lineages_max: 2, ..StoreConfig::default() };
    let disk = MemoryDisk::new();
    let store = on_memory_with(&disk, "n1", config.clone(), &TestClock::new());
    let from = |node: &str| incoming(record(&lineage(node, 1), 1, node, Some("1"), WALL));
    let replies = apply(&store, vec![from("n2"), from("n3")]).await;
    assert_eq!(replies, [Reply::Stored, Reply::Refused { reason: Refusal::Policy }]);
    drop(store);
    let store = on_memory_with(&disk, "n1", config, &TestClock::new());
    write(&store, op("a", "1")).await;
}

#[tokio::test]
async fn a_covered_dot_is_never_merged_again() {
    let n2 = lineage("n2", 1);
    let store = on_memory(&MemoryDisk::new());
    store.cover(vec![(n2.clone(), SeqSet::from(vec![(1, 4)]))]).await.expect("durable");
    assert_eq!(contiguous(&store, &n2), 4);
    let late = record(&n2, 2, "a", Some("1"), WALL);
    let replies = apply(&store, vec![incoming(late)]).await;
    assert_eq!(replies, [Reply::Refused { reason: Refusal::TooOld }]);
    assert_eq!(value(&store, "a"), None);
}

/// A retry finds a write by its id. This one came as a dot that the record of a later write covers, so its id came with the
/// retry only: whoever answers that it is here must know it from then on, or the next retry would execute it again.
#[tokio::test]
async fn a_write_whose_dot_came_with_a_later_one_is_known_by_its_id_once_it_comes_itself() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    let first = record(&n2, 1, "a", Some("first"), WALL + 1);
    let later = record(&n2, 2, "a", Some("later"), WALL + 2);
    apply(&store, vec![covering(later.clone(), &n2, vec![(1, 1)])]).await;
    assert_eq!(store.lookup(&first.write_id), Ok(WriteLookup::Unknown));
    let replies = apply(&store, vec![incoming(first.clone())]).await;
    let superseded = Reply::Superseded { version: later.version(), is_same_write: false };
    assert_eq!(replies, [superseded]);
    disk.crash();
    let store = on_memory(&disk);
    let known = store.lookup(&first.write_id).expect("readable");
    assert!(matches!(known, WriteLookup::Known(_)), "{known:?}");
    let syncs = disk.syncs();
    apply(&store, vec![incoming(first)]).await;
    assert_eq!(disk.syncs(), syncs, "that is no news any more");
}

#[tokio::test]
async fn a_delete_wins_over_what_it_deleted_wherever_it_arrives_first() {
    let n2 = lineage("n2", 1);
    let (put, delete) = (record(&n2, 1, "a", Some("1"), WALL), record(&n2, 2, "a", None, WALL + 1));
    for order in [[put.clone(), delete.clone()], [delete, put]] {
        let store = on_memory(&MemoryDisk::new());
        for record in order {
            apply(&store, vec![incoming(record)]).await;
        }
        assert_eq!(value(&store, "a"), None);
        assert!(store.get(&namespace(), &key("a")).expect("readable").is_some(), "a tombstone");
    }
}

#[tokio::test]
async fn an_overfull_queue_is_busy_not_an_ack() {
    let config = StoreConfig { queue_records_max: 8, ..StoreConfig::default() };
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    let n2 = lineage("n2", 1);
    let (mut tasks, mut stored) = (Vec::new(), 0_u64);
    for seq in 1..=2_000_u64 {
        let (store, n2) = (store.clone(), n2.clone());
        tasks.push(tokio::spawn(async move {
            apply(&store, vec![incoming(record(&n2, seq, &format!("k{seq}"), Some("1"), WALL))])
                .await
        }));
    }
    for task in tasks {
        match task.await.expect("no panic").as_slice() {
            [Reply::Stored] => stored += 1,
            [Reply::Busy { reason: Busy::Overload | Busy::Gaps }] => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.frontier().of(&n2).expect("known").len(), stored);
}

/// The frontier is a promise: after any deliveries and any crash, every dot it covers is the key's current record or
/// one that is newer.
#[tokio::test]
async fn replicas_that_heard_the_same_in_any_order_and_over_crashes_are_equal() {
    let random = TestRandom::new(fresh_seed());
    let lineages = [lineage("n2", 1), lineage("n3", 1), lineage("n3", 2)];
    let mut records = Vec::new();
    for lineage in &lineages {
        for seq in 1..=40 {
            let (name, millis) = (format!("k{}", random.below(12)), WALL + random.below(30));
            let value = format!("{lineage}{seq}");
            let value = (random.below(5) != 0).then_some(value.as_str());
            // One origin never gives two records of a key one version.
            let millis = millis + 100 * seq;
            records.push(record(lineage, seq, &name, value, millis));
        }
    }
    let mut digests = Vec::new();
    for _ in 0..6 {
        let disk = MemoryDisk::new();
        let mut store: Store = on_memory(&disk);
        let mut order = records.clone();
        for at in (1..order.len()).rev() {
            order.swap(at, usize::try_from(random.next_u64() % (at as u64 + 1)).expect("small"));
        }
        for (at, chunk) in order.chunks(7).enumerate() {
            apply(&store, chunk.iter().cloned().map(incoming).collect()).await;
            if at % 4 == 3 {
                disk.crash();
                store = on_memory(&disk);
            }
            for delivered in order.iter().take(7 * (at + 1)) {
                assert!(store.frontier().contains(&delivered.dot), "acknowledged, so covered");
                let name = quorum_node::record::Content::decode(&delivered.payload);
                let name = name.expect("valid").key;
                let held = store.get(&namespace(), &name).expect("readable").expect("there");
                assert!(held.record.version() >= delivered.version());
            }
        }
        for lineage in &lineages {
            assert_eq!(contiguous(&store, lineage), 40);
        }
        digests.push(store.content_digest().expect("readable"));
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

/// Whoever coordinated the older attempt must learn that the write was executed through another member: stamping it anew
/// would execute it twice.
#[tokio::test]
async fn an_older_version_of_the_same_write_is_told_that_it_was_executed_elsewhere() {
    let store = on_memory(&MemoryDisk::new());
    let mut later = record(&lineage("n3", 1), 1, "a", Some("mine"), WALL);
    let earlier = record(&lineage("n2", 1), 1, "a", Some("mine"), WALL - 10);
    later.write_id = earlier.write_id;
    let others = record(&lineage("n3", 1), 2, "a", Some("theirs"), WALL + 10);
    let batch = vec![incoming(later), incoming(others.clone()), incoming(earlier)];
    let replies = apply(&store, batch).await;
    let told = Reply::Superseded { version: others.version(), is_same_write: true };
    assert_eq!(replies[2], told);
}
