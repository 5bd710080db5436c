//! Local writes: order, identity, limits, durability.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorum_core::{
    Answer, Busy, Clock, Durability, Hlc, KnownWrite, LocalStore, QuerySource, Question, Recovery,
    ReplicaStore, Reply, Unavailable, Version, WriteId,
};
use quorum_node::record::WriteOp;
use quorum_node::store::engine::DiskSpace;
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::{FoundWrite, Store, StoreConfig, StoreError, StoreState, WriteLookup};

use crate::harness::{
    TestClock, WALL, apply, contiguous, incoming, key, lineage, namespace, on_disk, on_memory,
    on_memory_with, op, peer, receiver, record, value, write,
};

#[tokio::test]
async fn what_was_written_is_read_and_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = on_disk(directory.path());
    let first = write(&store, op("a", "1")).await;
    let second = write(&store, op("b", "2")).await;
    assert_eq!((first.dot.seq, second.dot.seq), (1, 2));
    assert!(second.hlc > first.hlc);
    let before = store.lineage();
    let digest = store.content_digest().expect("readable");
    store.close().await;
    assert_eq!(store.get(&namespace(), &key("a")), Err(StoreError::Closed));
    drop(store);

    let store = on_disk(directory.path());
    assert_eq!(value(&store, "a"), Some(Bytes::from("1")));
    assert_eq!(store.content_digest(), Ok(digest));
    assert_eq!(contiguous(&store, &before), 2);
    assert_eq!(store.origin(), before.origin, "the incarnation stays");
    assert!(store.lineage().epoch > before.epoch, "the epoch does not");
    let third = write(&store, op("c", "3")).await;
    assert_eq!(third.dot.seq, 1);
    assert!(third.hlc > second.hlc, "though the wall clock stood still");
}

#[tokio::test]
async fn dots_are_dense_and_rise_with_versions_under_concurrency() {
    let store = on_memory(&MemoryDisk::new());
    let writers = (0..64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut records = Vec::new();
            for round in 0..20 {
                records.push(write(&store, op(&format!("k{writer}"), &format!("{round}"))).await);
            }
            records
        })
    });
    let mut records = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        records.extend(writer.await.expect("no panic"));
    }
    records.sort_by_key(|record| record.dot.seq);
    assert!(records.iter().map(|record| record.dot.seq).eq(1..=1_280));
    assert!(records.is_sorted_by(|one, next| one.hlc < next.hlc));
    assert_eq!(contiguous(&store, &store.lineage()), 1_280);
    assert_eq!(store.issued(), 1_280);
}

#[tokio::test]
async fn a_version_lies_above_everything_seen_also_after_a_restart() {
    let disk = MemoryDisk::new();
    let ahead = record(&lineage("n2", 1), 1, "a", Some("theirs"), WALL + 200_000);
    let store = on_memory(&disk);
    apply(&store, vec![incoming(ahead.clone())]).await;
    assert!(write(&store, op("a", "ours")).await.hlc > ahead.hlc);
    drop(store);
    let far = record(&lineage("n2", 1), 2, "a", Some("theirs"), WALL + 290_000);
    let store = on_memory(&disk);
    apply(&store, vec![incoming(far.clone())]).await;
    drop(store);
    let store = on_memory(&disk);
    assert!(write(&store, op("a", "ours again")).await.hlc > far.hlc);
    assert_eq!(value(&store, "a"), Some(Bytes::from("ours again")));
}

#[tokio::test]
async fn a_write_id_names_one_write() {
    let disk = MemoryDisk::new();
    let store = on_memory(&disk);
    // Two callers race with one write: one of them follows the other.
    let first = store.stage(op("a", "1")).await.expect("staged");
    let again = store.stage(op("a", "1")).await.expect("the same write");
    assert_eq!(first.record.dot, again.record.dot);
    let mut other = op("a", "2");
    other.write_id = first.record.write_id;
    let conflict = store.stage(other.clone()).await.map(|_| ());
    assert_eq!(conflict, Err(StoreError::IdConflict { write_id: other.write_id }));
    first.durable.await.expect("durable");
    again.durable.await.expect("durable");

    // Once it is durable, also after a restart.
    for store in [store.clone(), {
        drop(store);
        on_memory(&disk)
    }] {
        let later = store.stage(op("a", "1")).await.expect("the same write");
        assert_eq!(*later.record, *first.record);
        later.durable.await.expect("durable long ago");
        let conflict = store.stage(other.clone()).await.map(|_| ());
        assert_eq!(conflict, Err(StoreError::IdConflict { write_id: other.write_id }));
        let found = known(&store, &other.write_id);
        assert_eq!((found.dot, found.key), (first.record.dot.clone(), key("a")));
        assert_eq!(found.record.as_deref(), Some(&*first.record));
    }
}

#[tokio::test]
async fn an_overwritten_write_is_still_found_by_its_id_until_the_horizon() {
    let (disk, clock) = (MemoryDisk::new(), TestClock::new());
    let store = on_memory_with(&disk, "n1", StoreConfig::default(), &clock);
    let first = write(&store, op("a", "1")).await;
    write(&store, op("a", "2")).await;
    let found = known(&store, &first.write_id);
    assert_eq!((found.version, found.record), (first.version(), None));

    assert_eq!(store.forget_old_writes().await, Ok(0));
    clock.set_wall(WALL + 24 * 60 * 60 * 1_000 + 1);
    assert_eq!(store.lookup(&first.write_id), Ok(WriteLookup::Expired));
    let write_id = first.write_id;
    let again = store.stage(op("a", "1")).await.map(|_| ());
    assert_eq!(again, Err(StoreError::RetryTooOld { write_id }), "never executed a second time");
    write(&store, op("b", "1")).await;
    // Kept for twice the horizon, so that what comes too late is known to.
    assert_eq!(store.forget_old_writes().await, Ok(0));
    clock.set_wall(WALL + 2 * 24 * 60 * 60 * 1_000 + 1);
    assert_eq!(store.forget_old_writes().await, Ok(2));
    assert_eq!(store.forget_old_writes().await, Ok(0));
    assert_eq!(store.lookup(&first.write_id), Ok(WriteLookup::Unknown), "forgotten for good");
}

/// An id of version 7 says itself when it was made.
#[tokio::test]
async fn an_id_that_says_it_is_too_old_is_never_taken_for_a_new_write() {
    let store = on_memory(&MemoryDisk::new());
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&(WALL - 24 * 60 * 60 * 1_000 - 1).to_be_bytes()[2..]);
    (bytes[6], bytes[8]) = (0x70, 0x80);
    let write_id = WriteId::from_bytes(bytes);
    assert_eq!(store.lookup(&write_id), Ok(WriteLookup::Expired));
    let staged = store.stage(WriteOp { write_id, ..op("a", "1") }).await.map(|_| ());
    assert_eq!(staged, Err(StoreError::RetryTooOld { write_id }));
    assert_eq!(store.issued(), 0);
}

/// The second phase of a two-phase write.
#[tokio::test]
async fn a_write_lies_above_the_version_it_is_told_to() {
    let store = on_memory(&MemoryDisk::new());
    let theirs = record(&lineage("n2", 1), 1, "a", Some("theirs"), WALL + 250_000);
    let ours = write(&store, WriteOp { above: Some(theirs.version()), ..op("a", "1") }).await;
    assert!(ours.version() > theirs.version());
}

fn known(store: &Store, write_id: &WriteId) -> FoundWrite {
    match store.lookup(write_id).expect("readable") {
        WriteLookup::Known(found) => *found,
        other => panic!("not known: {other:?}"),
    }
}

#[tokio::test]
async fn a_restamped_write_has_a_new_place_above_what_was_asked_and_its_old_id() {
    let store = on_memory(&MemoryDisk::new());
    let first = write(&store, op("a", "1")).await;
    let theirs = record(&lineage("n2", 1), 1, "a", Some("theirs"), WALL + 250_000);
    let staged = store.restamp(&first, &theirs.version()).await.expect("staged");
    staged.durable.await.expect("durable");
    let second = staged.record;
    assert_eq!((second.write_id, &second.payload), (first.write_id, &first.payload));
    assert_eq!(second.dot.seq, 2);
    assert!(second.hlc > theirs.hlc);
    let found = known(&store, &first.write_id);
    assert_eq!(found.dot, second.dot);
}

#[tokio::test]
async fn a_value_beyond_the_limit_is_refused_before_anything_happens() {
    let config = StoreConfig { value_bytes_max: 4, ..StoreConfig::default() };
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    write(&store, op("a", "1234")).await;
    let refused = store.stage(op("a", "12345")).await.map(|_| ());
    assert_eq!(refused, Err(StoreError::TooLarge { what: "value", len: 5, limit: 4 }));
    assert_eq!(store.issued(), 1);
}

/// A full disk passes: what is refused may come again, and nothing has to be started anew.
#[tokio::test]
async fn a_disk_that_is_almost_full_takes_no_records_until_there_is_room() {
    let disk = MemoryDisk::new();
    let space = |free| DiskSpace { free, total: 1_000_000 };
    let first = op("a", "1");
    write(&on_memory(&disk), first.clone()).await;
    disk.set_space(space(999));
    let config = StoreConfig { free_bytes_min: 1_000, ..StoreConfig::default() };
    let store = on_memory_with(&disk, "n1", config, &TestClock::new());

    let refused = store.stage(op("c", "1")).await.map(|_| ());
    assert_eq!(refused, Err(StoreError::DiskFull));
    let theirs = record(&lineage("n2", 1), 1, "d", Some("1"), WALL);
    let replies = apply(&store, vec![incoming(theirs.clone())]).await;
    assert_eq!(replies, [Reply::Busy { reason: Busy::Disk }]);
    assert!(store.stage(first).await.expect("a retry of what is there").is_known);
    assert_eq!(store.state(), StoreState::Running);

    disk.set_space(space(1_250));
    // It is looked at now and then only.
    while store.stage(op("c", "1")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(apply(&store, vec![incoming(theirs)]).await, [Reply::Stored]);
}

/// What was taken before the disk was found to be full waits for room; it is neither lost nor the end of the store.
#[tokio::test]
async fn a_write_that_meets_a_full_disk_is_durable_once_there_is_room() {
    let disk = MemoryDisk::new();
    let store = on_memory(&disk);
    write(&store, op("a", "1")).await;
    disk.set_space(DiskSpace { free: 0, total: 1 << 40 });
    let staged = store.stage(op("b", "1")).await.expect("nobody has looked yet");
    for turn in 0.. {
        match store.stage(op("c", &format!("{turn}"))).await.map(|_| ()) {
            Err(StoreError::DiskFull) => break,
            taken => assert_eq!(taken, Ok(()), "turn {turn}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(value(&store, "b"), None, "it is not durable");
    disk.set_space(DiskSpace { free: 1 << 40, total: 1 << 40 });
    staged.durable.await.expect("there is room");
    assert_eq!(value(&store, "b"), Some(Bytes::from("1")));
    assert_eq!(store.state(), StoreState::Running);
}

#[tokio::test]
async fn a_failed_sync_ends_the_epoch() {
    let disk = MemoryDisk::new();
    let store = on_memory(&disk);
    write(&store, op("a", "1")).await;
    let lineage = store.lineage();
    disk.fail_next_sync();
    let lost = store.stage(op("b", "1")).await.expect("staged").durable.await;
    assert!(matches!(lost, Err(StoreError::Failed { .. })), "{lost:?}");
    assert!(matches!(store.state(), StoreState::Failed { .. }));
    let refused = store.stage(op("c", "1")).await.map(|_| ());
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    let theirs = record(&crate::harness::lineage("n2", 1), 1, "d", Some("1"), WALL);
    let replies = apply(&store, vec![incoming(theirs)]).await;
    assert_eq!(replies, [Reply::Busy { reason: Busy::Disk }]);
    assert_eq!(contiguous(&store, &lineage), 1, "the frontier stays where the disk is known");
    assert_eq!(value(&store, "a"), Some(Bytes::from("1")), "what was synced can be read");
    assert_eq!(value(&store, "b"), None, "what was not cannot");

    disk.crash();
    let restarted = on_memory(&disk);
    assert!(restarted.lineage().epoch > lineage.epoch);
    assert_eq!(contiguous(&restarted, &lineage), 1);
    write(&restarted, op("c", "1")).await;
}

#[tokio::test]
async fn after_a_crash_everything_acknowledged_is_there_and_the_frontier_says_no_more() {
    let disk = MemoryDisk::new();
    let store = on_memory(&disk);
    for round in 0..50 {
        write(&store, op(&format!("k{round}"), "v")).await;
    }
    let lineage = store.lineage();
    disk.crash();
    let restarted = on_memory(&disk);
    assert_eq!(contiguous(&restarted, &lineage), 50);
    for round in 0..50 {
        assert_eq!(value(&restarted, &format!("k{round}")), Some(Bytes::from("v")));
    }
}

/// Before it has a place nothing has happened, so it can be said that it is not applied.
#[tokio::test]
async fn a_write_waits_for_a_disk_that_hangs_until_its_deadline_at_most() {
    let (disk, clock) = (MemoryDisk::new(), TestClock::new());
    let store = on_memory_with(&disk, "n1", StoreConfig::default(), &clock);
    write(&store, op("a", "1")).await;
    // For so late a time the disk must make room first, and it comes to no end with anything.
    clock.set_wall(WALL + 3_600_000);
    disk.set_space(DiskSpace { free: 0, total: 1 << 40 });
    let deadline = Some(clock.now() + Duration::from_millis(50));
    let outcome = store.stage(WriteOp { deadline, ..op("b", "1") }).await.map(|_| ());
    assert_eq!(outcome, Err(StoreError::Overloaded));
    disk.set_space(DiskSpace { free: 1 << 40, total: 1 << 40 });
    let staged = loop {
        match store.stage(op("b", "1")).await {
            // What waits for the disk tries it now and then only.
            Err(StoreError::DiskFull) => tokio::time::sleep(Duration::from_millis(5)).await,
            staged => break staged.expect("there is room"),
        }
    };
    assert_eq!(staged.record.dot.seq, 2, "nothing was left of it");
    staged.durable.await.expect("durable");
}

/// A relaxed write is answered from the operating system's memory, but neither readers nor the frontier know of it
/// before it is synced.
#[tokio::test]
async fn a_relaxed_write_is_answered_early_and_seen_late() {
    let disk = MemoryDisk::new();
    // Long enough that only the next strict write syncs it.
    let config =
        StoreConfig { relaxed_sync_after: Duration::from_secs(3_600), ..StoreConfig::default() };
    let store = on_memory_with(&disk, "n1", config, &TestClock::new());
    write(&store, op("strict", "1")).await;
    let syncs = disk.syncs();
    let mut relaxed = op("a", "1");
    relaxed.durability = Durability::Relaxed;
    write(&store, relaxed.clone()).await;
    assert_eq!(disk.syncs(), syncs);
    assert_eq!(value(&store, "a"), None);
    assert_eq!(contiguous(&store, &store.lineage()), 1);
    let again = store.stage(relaxed).await.expect("the same write");
    assert_eq!(again.record.dot.seq, 2);
    again.durable.await.expect("as durable as it asked to be");

    let mut theirs = record(&lineage("n2", 1), 1, "b", Some("1"), WALL);
    theirs.durability = Durability::Relaxed;
    let applied = receiver(&store).apply(&peer("n2"), vec![incoming(theirs)]).await;
    assert!(!applied.synced);
    assert_eq!(applied.replies, [Reply::Stored]);
    assert_eq!(contiguous(&store, &lineage("n2", 1)), 0);

    write(&store, op("c", "1")).await;
    assert_eq!(contiguous(&store, &store.lineage()), 3);
    assert_eq!(contiguous(&store, &lineage("n2", 1)), 1);
    assert_eq!(value(&store, "a"), Some(Bytes::from("1")));
}

/// As a read does that brings it to more members: no later read may miss what one has shown.
#[tokio::test]
async fn a_relaxed_record_that_comes_again_to_be_synced_is_synced() {
    let config =
        StoreConfig { relaxed_sync_after: Duration::from_secs(3_600), ..StoreConfig::default() };
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    let mut theirs = record(&lineage("n2", 1), 1, "b", Some("1"), WALL);
    theirs.durability = Durability::Relaxed;
    let applied = receiver(&store).apply(&peer("n2"), vec![incoming(theirs.clone())]).await;
    assert!(!applied.synced);
    theirs.durability = Durability::Fsync;
    let applied = receiver(&store).apply(&peer("n3"), vec![incoming(theirs)]).await;
    assert!(applied.synced);
    assert_eq!(applied.replies, [Reply::Stored]);
    assert_eq!(value(&store, "b"), Some(Bytes::from("1")));
}

#[tokio::test]
async fn a_relaxed_write_is_synced_soon_without_another() {
    let disk = MemoryDisk::new();
    let store = on_memory(&disk);
    let mut relaxed = op("a", "1");
    relaxed.durability = Durability::Relaxed;
    write(&store, relaxed).await;
    while contiguous(&store, &store.lineage()) < 1 {
        tokio::task::yield_now().await;
    }
    disk.crash();
    assert_eq!(value(&on_memory(&disk), "a"), Some(Bytes::from("1")));
}

#[tokio::test]
async fn a_clock_that_runs_ahead_of_its_reservation_waits_for_a_new_one() {
    let (disk, clock) = (MemoryDisk::new(), TestClock::new());
    let store = on_memory_with(&disk, "n1", StoreConfig::default(), &clock);
    let before = write(&store, op("a", "1")).await;
    clock.set_wall(WALL + 1_000_000);
    let after = write(&store, op("a", "2")).await;
    assert_eq!(after.hlc.millis(), WALL + 1_000_000);
    clock.set_wall(WALL);
    disk.crash();
    let restarted = on_memory_with(&disk, "n1", StoreConfig::default(), &clock);
    let later = write(&restarted, op("a", "3")).await;
    assert!(before.hlc < after.hlc && after.hlc < later.hlc);
}

#[tokio::test]
async fn many_waiting_writes_share_a_sync() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = on_disk(directory.path());
    let mut waiting = Vec::new();
    for round in 0..1_000 {
        waiting.push(store.stage(op(&format!("k{round}"), "v")).await.expect("staged"));
    }
    for staged in waiting {
        staged.durable.await.expect("durable");
    }
    let stats = store.stats();
    assert_eq!(stats.synced_records, 1_000);
    assert!(stats.syncs < 500, "{} syncs", stats.syncs);
}

#[tokio::test]
async fn a_new_incarnation_begins_at_one_and_lasts() {
    let disk = MemoryDisk::new();
    let store = on_memory(&disk);
    let old = write(&store, op("a", "1")).await;
    let lineage = store.reincarnate().await.expect("durable");
    assert_eq!(store.lineage(), lineage);
    assert_ne!(lineage.origin.incarnation, old.dot.lineage.origin.incarnation);
    let new = write(&store, op("a", "2")).await;
    assert_eq!((new.dot.seq, &new.dot.lineage), (1, &lineage));
    assert!(new.hlc > old.hlc);
    disk.crash();
    let restarted = on_memory(&disk);
    assert_eq!(restarted.origin(), lineage.origin);
    assert!(restarted.lineage().epoch > lineage.epoch);
    assert_eq!(value(&restarted, "a"), Some(Bytes::from("2")));
}

#[tokio::test]
async fn a_full_queue_says_so_at_once_and_leaves_no_hole() {
    let config = StoreConfig { queue_records_max: 4, ..StoreConfig::default() };
    let store = Arc::new(on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new()));
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for round in 0..10_000 {
        match store.stage(op(&format!("k{round}"), "v")).await {
            Ok(staged) => waiting.push(staged),
            Err(StoreError::Overloaded) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let taken = waiting.len() as u64;
    for staged in waiting {
        staged.durable.await.expect("durable");
    }
    assert_eq!((taken + refused, store.issued()), (10_000, taken));
    assert_eq!(contiguous(&store, &store.lineage()), taken);
}

/// Stamping above a version from the future would drag the clock along, and with it everything written later.
#[tokio::test]
async fn no_write_is_stamped_above_a_version_from_the_future() {
    let clock = TestClock::new();
    let store = on_memory_with(&MemoryDisk::new(), "n1", StoreConfig::default(), &clock);
    let own = write(&store, op("a", "1")).await;
    let version =
        |millis| Version { hlc: Hlc::from_millis(millis), origin: lineage("n2", 1).origin };
    let far = version(WALL + 300_001);
    let mut above = op("b", "1");
    above.above = Some(far.clone());
    let refused = store.stage(above).await.map(|_| ());
    assert!(matches!(refused, Err(StoreError::FromTheFuture { .. })), "{refused:?}");
    let refused = store.restamp(&own, &far).await.map(|_| ());
    assert!(matches!(refused, Err(StoreError::FromTheFuture { .. })), "{refused:?}");
    let next = write(&store, op("c", "1")).await;
    assert!(next.hlc.millis() < WALL + 1_000, "the clock stays where it was: {}", next.hlc);
    let near = store.restamp(&own, &version(WALL + 299_000)).await.expect("staged");
    assert!(near.record.hlc.millis() >= WALL + 299_000);
}

/// A write that was executed through another member meanwhile must not be stamped above it.
#[tokio::test]
async fn a_write_that_was_executed_elsewhere_is_not_stamped_anew() {
    let store = on_memory(&MemoryDisk::new());
    let own = write(&store, op("a", "1")).await;
    let mut theirs = record(&lineage("n2", 1), 1, "a", Some("1"), WALL + 1_000);
    theirs.write_id = own.write_id;
    let above = theirs.version();
    apply(&store, vec![incoming(theirs)]).await;
    let refused = store.restamp(&own, &above).await.map(|_| ());
    assert_eq!(refused, Err(StoreError::Overtaken { write_id: own.write_id }));
}

#[tokio::test]
async fn a_write_that_its_id_names_already_is_said_to_be_known() {
    let store = on_memory(&MemoryDisk::new());
    let first = store.stage(op("a", "1")).await.expect("staged");
    let joined = store.stage(op("a", "1")).await.expect("the same write");
    assert_eq!((first.is_known, joined.is_known), (false, true));
    first.durable.await.expect("durable");
    assert!(store.stage(op("a", "1")).await.expect("the same write").is_known);
}

async fn asked(store: &Store, write_id: WriteId) -> Answer {
    receiver(store).answer(&peer("n2"), Question::Write { write_id }).await
}

/// What was acknowledged must be known to whoever asks, though it is not synced yet.
#[tokio::test]
async fn a_relaxed_copy_is_known_by_its_id_at_once() {
    let config =
        StoreConfig { relaxed_sync_after: Duration::from_secs(3_600), ..StoreConfig::default() };
    let store = on_memory_with(&MemoryDisk::new(), "n1", config, &TestClock::new());
    let mut theirs = record(&lineage("n2", 1), 1, "a", Some("1"), WALL);
    theirs.durability = Durability::Relaxed;
    let write_id = theirs.write_id;
    let applied = receiver(&store).apply(&peer("n2"), vec![incoming(theirs)]).await;
    assert!(!applied.synced);
    let known = asked(&store, write_id).await;
    assert!(matches!(known, Answer::Write(KnownWrite::Held { .. })), "{known:?}");
}

/// Whoever refilled after a loss has the ids of current records only: of a write that was overwritten by then it must not
/// say that it never was.
#[tokio::test]
async fn a_store_that_was_refilled_does_not_vouch_for_ids_from_before() {
    let (disk, clock) = (MemoryDisk::new(), TestClock::new());
    let store = on_memory_with(&disk, "n1", StoreConfig::default(), &clock);
    let old = WriteId::from_bytes([1; 16]);
    assert_eq!(asked(&store, old).await, Answer::Write(KnownWrite::Unknown), "it lost nothing");
    store.set_recovery(Recovery::Recovering).await.expect("durable");
    store.set_recovery(Recovery::Complete).await.expect("durable");
    let silent = Answer::Unavailable(Unavailable::Recovering);
    assert_eq!(asked(&store, old).await, silent);
    // A UUID of version 7 says when it was made.
    let made = |millis: u64| {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        (bytes[6], bytes[8]) = (0x70, 0x80);
        WriteId::from_bytes(bytes)
    };
    assert_eq!(asked(&store, made(WALL - 1_000)).await, silent);
    assert_eq!(asked(&store, made(WALL + 600_000)).await, Answer::Write(KnownWrite::Unknown));
    drop(store);
    clock.set_wall(WALL + 25 * 3_600_000);
    let restarted = on_memory_with(&disk, "n1", StoreConfig::default(), &clock);
    assert_eq!(asked(&restarted, old).await, Answer::Write(KnownWrite::Unknown), "a day later");
}
