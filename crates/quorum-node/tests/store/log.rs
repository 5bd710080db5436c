//! The log: what is replayed for which dots, how it is trimmed, and snapshots.

use std::sync::Arc;

use bytes::Bytes;
use quorum_core::{
    Busy, Frontier, Incoming, Lineage, LocalStore, LogSource, Record, Refusal, Replay, Reply,
    SeqSet, StandIn,
};
use quorum_node::record::Content;
use quorum_node::store::Store;
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::engine::{Batch, Engine, Space, Sync};

use crate::harness::{
    TestRandom, WALL, apply, contiguous, fresh_seed, incoming, key, lineage, namespace, on_disk,
    on_memory, op, record, write,
};

async fn replay(store: &Store, lineage: &Lineage, wanted: Vec<(u64, u64)>) -> Vec<Incoming> {
    match store.replay(lineage, &SeqSet::from(wanted), usize::MAX).await {
        Replay::Items(items) => items,
        Replay::Partly(_) | Replay::Trimmed => panic!("the log is not trimmed"),
    }
}

/// The dots of a lineage that an item covers.
fn dots(item: &Incoming, lineage: &Lineage) -> SeqSet {
    let mut dots: SeqSet = item
        .covers
        .iter()
        .filter(|(of, _)| of == lineage)
        .flat_map(|(_, seqs)| seqs.intervals().collect::<Vec<_>>())
        .collect::<Vec<_>>()
        .into();
    if let Some(record) = item.record.as_ref().filter(|record| record.dot.lineage == *lineage) {
        dots.insert(record.dot.seq);
    }
    dots
}

/// The current record of a key, for dots that were about it.
fn standing_for(covers: Vec<(Lineage, SeqSet)>, record: Arc<Record>) -> Incoming {
    let content = Content::decode(&record.payload).expect("a record of the store");
    let key = [content.namespace.as_str().as_bytes(), b"\0", content.key.as_bytes()].concat();
    let stand_in = StandIn { dot: record.dot.clone(), hlc: record.hlc, key: key.into() };
    Incoming { record: Some(record), covers, stand_in: Some(stand_in), ..Incoming::default() }
}

#[tokio::test]
async fn overwritten_dots_are_replayed_as_the_current_record_of_their_key() {
    let store = on_memory(&MemoryDisk::new());
    for (name, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3"), ("c", "1")] {
        write(&store, op(name, value)).await;
    }
    let own = store.lineage();
    let items = replay(&store, &own, vec![(1, 5)]).await;
    let covered: Vec<SeqSet> = items.iter().map(|item| dots(item, &own)).collect();
    assert_eq!(covered, [vec![(1, 1), (3, 4)].into(), vec![(2, 2)].into(), vec![(5, 5)].into()]);
    let current = store.get(&namespace(), &key("a")).expect("readable").expect("there");
    assert_eq!(items[0].record.as_ref(), Some(&current.record));
    assert_eq!(items[0].covers, vec![(own.clone(), vec![(1, 1), (3, 3)].into())]);

    // Only what is wanted is named, though the record that stands for it has another dot.
    let items = replay(&store, &own, vec![(3, 3)]).await;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].covers, vec![(own.clone(), vec![(3, 3)].into())]);
}

#[tokio::test]
async fn a_dot_overwritten_by_another_origin_is_replayed_as_that_origins_record() {
    let (store, n2) = (on_memory(&MemoryDisk::new()), lineage("n2", 1));
    let own = write(&store, op("a", "ours")).await;
    let theirs = record(&n2, 1, "a", Some("theirs"), WALL + 1_000);
    apply(&store, vec![incoming(theirs.clone())]).await;
    let items = replay(&store, &own.dot.lineage, vec![(1, 9)]).await;
    let covers = vec![(own.dot.lineage.clone(), vec![(1, 1)].into())];
    assert_eq!(items, [standing_for(covers, Arc::new(theirs))]);
}

#[tokio::test]
async fn what_superseded_records_were_about_is_known_too() {
    let (store, n2) = (on_memory(&MemoryDisk::new()), lineage("n2", 1));
    let newer = write(&store, op("a", "newer")).await;
    let older = record(&n2, 1, "a", Some("older"), WALL - 10);
    // The covers of an item are about its key as well.
    let item = Incoming { covers: vec![(n2.clone(), vec![(4, 6)].into())], ..incoming(older) };
    apply(&store, vec![item]).await;
    let items = replay(&store, &n2, vec![(1, 1), (5, 9)]).await;
    let covers = vec![(n2.clone(), vec![(1, 1), (5, 6)].into())];
    assert_eq!(items, [standing_for(covers, newer)]);
}

/// A peer that has a key's current record needs no second copy of it to learn which other dots it stands for, and can tell
/// others the same.
#[tokio::test]
async fn dots_come_without_the_record_that_is_there_already() {
    let (source, target) = (on_memory(&MemoryDisk::new()), on_memory(&MemoryDisk::new()));
    for value in ["1", "2", "3"] {
        write(&source, op("a", value)).await;
    }
    let own = source.lineage();
    let spared = |item: &Incoming| Incoming { record: None, ..item.clone() };
    let early = spared(&replay(&source, &own, vec![(1, 2)]).await[0]);
    let busy = Reply::Busy { reason: Busy::Gaps };
    assert_eq!(apply(&target, vec![early.clone()]).await, [busy], "it is not there yet");
    apply(&target, replay(&source, &own, vec![(3, 3)]).await).await;
    assert_eq!(apply(&target, vec![early.clone()]).await, [Reply::Stored]);
    assert_eq!(contiguous(&target, &own), 3);
    assert_eq!(
        replay(&target, &own, vec![(1, 2)]).await,
        replay(&source, &own, vec![(1, 2)]).await
    );
    let nonsense = StandIn { key: "no key".into(), ..early.stand_in.clone().expect("it says so") };
    let nonsense = Incoming { stand_in: Some(nonsense), ..early };
    let refused = Reply::Refused { reason: Refusal::Malformed };
    assert_eq!(apply(&target, vec![nonsense]).await, [refused]);
}

/// Keys that were written in turn come back key by key, and leave more gaps than may be until the last one is there.
/// Refusing them for that would refuse them for ever.
#[tokio::test]
async fn keys_that_were_written_in_turn_are_caught_up_with() {
    for keys in [2, 3, 5] {
        let (source, target) = (on_memory(&MemoryDisk::new()), on_memory(&MemoryDisk::new()));
        for round in 0..9_000 {
            let op = op(&format!("k{}", round % keys), &round.to_string());
            let staged = source.stage(op).await.expect("staged");
            // Not each by itself, and never more than fit into the queue.
            if round % 1_000 == 999 {
                staged.durable.await.expect("durable");
            }
        }
        write(&source, op("end", "1")).await;
        let own = source.lineage();
        let (mut rounds, held) = (0, SeqSet::up_to(9_001));
        while contiguous(&target, &own) < 9_001 {
            let wanted = held.minus(target.frontier().of(&own).unwrap_or(&SeqSet::new()));
            let Replay::Items(items) = source.replay(&own, &wanted, 256 << 10).await else {
                panic!("the log is not trimmed")
            };
            let before = target.frontier().of(&own).map_or(0, SeqSet::len);
            for item in items {
                apply(&target, vec![item]).await;
            }
            let after = target.frontier().of(&own).map_or(0, SeqSet::len);
            assert!(after > before, "{keys} keys: no further than {after}");
            rounds += 1;
        }
        assert!(rounds < 10, "{keys} keys: {rounds} rounds");
    }
}

#[tokio::test]
async fn nothing_is_replayed_that_is_not_held() {
    let (store, n2) = (on_memory(&MemoryDisk::new()), lineage("n2", 1));
    assert_eq!(replay(&store, &n2, vec![(1, 9)]).await, []);
    apply(&store, vec![incoming(record(&n2, 3, "a", Some("1"), WALL))]).await;
    assert_eq!(replay(&store, &n2, vec![(1, 2), (4, u64::MAX)]).await, []);
    assert_eq!(replay(&store, &n2, vec![(1, u64::MAX)]).await.len(), 1);
}

/// The dots of one commit are kept together. Forgetting some of them must not forget, or bring back, the others.
#[tokio::test]
async fn a_log_that_is_trimmed_within_a_commit_still_knows_the_rest_of_it() {
    let store = on_memory(&MemoryDisk::new());
    let n2 = lineage("n2", 1);
    let records =
        (1..=9).map(|seq| incoming(record(&n2, seq, &format!("k{seq}"), Some("1"), WALL)));
    apply(&store, records.collect()).await;
    let floor = [(n2.clone(), SeqSet::up_to(4))].into_iter().collect();
    store.trim(&floor).await.expect("durable");
    assert_eq!(store.replay(&n2, &SeqSet::up_to(4), usize::MAX).await, Replay::Trimmed);
    let items = replay(&store, &n2, vec![(5, 6), (9, 20)]).await;
    let covered: Vec<SeqSet> = items.iter().map(|item| dots(item, &n2)).collect();
    assert_eq!(covered, [vec![(5, 5)].into(), vec![(6, 6)].into(), vec![(9, 9)].into()]);
}

#[tokio::test]
async fn void_dots_are_replayed_as_void() {
    let (store, n2) = (on_memory(&MemoryDisk::new()), lineage("n2", 1));
    apply(&store, vec![incoming(record(&n2, 1, "a", Some("1"), WALL))]).await;
    store.cover(vec![(n2.clone(), vec![(1, 5)].into())]).await.expect("durable");
    let items = replay(&store, &n2, vec![(1, 3)]).await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[1].record, None);
    assert_eq!(items[1].covers, vec![(n2, vec![(2, 3)].into())]);
}

#[tokio::test]
async fn a_replay_stops_near_its_budget_and_always_gives_something() {
    let store = on_memory(&MemoryDisk::new());
    for round in 0..100 {
        write(&store, op(&format!("k{round}"), &"v".repeat(1_000))).await;
    }
    let (own, wanted) = (store.lineage(), SeqSet::up_to(100));
    for (budget, expected) in [(0, 1..=1), (1, 1..=1), (10_000, 5..=12)] {
        let Replay::Items(items) = store.replay(&own, &wanted, budget).await else {
            panic!("the log is not trimmed");
        };
        assert!(expected.contains(&items.len()), "{} items for {budget} bytes", items.len());
        assert!(dots(&items[0], &own).contains(1), "smallest first");
    }
}

/// Whoever catches up by replays alone, in whatever steps, ends up equal.
#[tokio::test]
async fn a_peer_that_replays_everything_ends_up_equal() {
    let random = TestRandom::new(fresh_seed());
    let source = on_memory(&MemoryDisk::new());
    let n3 = lineage("n3", 1);
    for round in 0..300 {
        let name = format!("k{}", random.below(40));
        write(&source, op(&name, &format!("{round}"))).await;
        let millis = WALL + random.below(60);
        let other = record(&n3, round + 1, &name, Some("theirs"), millis + 100 * round);
        apply(&source, vec![incoming(other)]).await;
    }
    let target = on_memory(&MemoryDisk::new());
    for lineage in [source.lineage(), n3] {
        while contiguous(&target, &lineage) < 300 {
            let held = target.frontier().of(&lineage).cloned().unwrap_or_default();
            let wanted = SeqSet::up_to(300).minus(&held);
            let budget = usize::try_from(random.below(3_000)).expect("small");
            let Replay::Items(items) = source.replay(&lineage, &wanted, budget).await else {
                panic!("the log is not trimmed");
            };
            assert!(!items.is_empty());
            let before = held.len();
            apply(&target, items).await;
            assert!(target.frontier().of(&lineage).expect("known").len() > before);
        }
    }
    assert_eq!(target.content_digest(), source.content_digest());
}

#[tokio::test]
async fn a_trimmed_log_says_so_and_keeps_every_record() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = on_disk(directory.path());
    for round in 0..30 {
        write(&store, op(&format!("k{}", round % 10), &format!("{round}"))).await;
    }
    let own = store.lineage();
    let digest = store.content_digest();
    // Dots 1 to 20 are held everywhere; 25 too, but behind a gap.
    let floor: Frontier = [(own.clone(), vec![(1, 20), (25, 25)].into())].into_iter().collect();
    store.trim(&floor).await.expect("durable");
    assert_eq!(store.replay(&own, &vec![(2, 7), (20, 20)].into(), 1).await, Replay::Trimmed);
    let covered: Vec<u64> = replay(&store, &own, vec![(21, 30)])
        .await
        .iter()
        .map(|item| dots(item, &own).len())
        .collect();
    assert_eq!(covered, [1; 10]);
    assert_eq!(store.content_digest(), digest);
    assert_eq!(contiguous(&store, &own), 30, "the frontier does not shrink");
    store.close().await;
    drop(store);
    let store = on_disk(directory.path());
    assert_eq!(store.replay(&own, &SeqSet::up_to(20), 1).await, Replay::Trimmed);
    assert_eq!(replay(&store, &own, vec![(21, 30)]).await.len(), 10);
}

/// A dot that the log has forgotten may be one that the peer refuses for good. What it still knows must not wait for that.
#[tokio::test]
async fn what_the_log_knows_is_replayed_beside_what_it_has_forgotten() {
    let (store, n2) = (on_memory(&MemoryDisk::new()), lineage("n2", 1));
    let put = |seq: u64| incoming(record(&n2, seq, &format!("k{seq}"), Some("1"), WALL));
    apply(&store, (1..=6).map(put).collect()).await;
    let floor: Frontier = [(n2.clone(), SeqSet::up_to(2))].into_iter().collect();
    store.trim(&floor).await.expect("durable");
    // The claim of a snapshot covers dots that the log has never known.
    let covers = vec![(n2.clone(), vec![(7, 8), (11, 12)].into())];
    apply(&store, vec![Incoming { record: None, covers, ..Incoming::default() }]).await;
    apply(&store, vec![put(9), put(13)]).await;
    let replayed = async |wanted: SeqSet| match store.replay(&n2, &wanted, usize::MAX).await {
        Replay::Partly(items) => {
            items.iter().map(|item| dots(item, &n2).last()).collect::<Vec<u64>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(replayed(SeqSet::up_to(20)).await, [3, 4, 5, 6, 9, 13]);
    assert_eq!(replayed(vec![(2, 3)].into()).await, [3]);
    assert_eq!(replayed(vec![(6, 8)].into()).await, [6]);
    let unknown = store.replay(&n2, &vec![(1, 2), (7, 8), (11, 12)].into(), usize::MAX).await;
    assert_eq!(unknown, Replay::Trimmed);
    assert_eq!(replay(&store, &n2, vec![(3, 6), (9, 10), (13, 20)]).await.len(), 6);
}

/// The last dots of the items that are replayed, and whether the log does not know others.
async fn replayed(store: &Store, lineage: &Lineage, wanted: SeqSet) -> (Vec<u64>, bool) {
    let (items, is_partly) = match store.replay(lineage, &wanted, usize::MAX).await {
        Replay::Items(items) => (items, false),
        Replay::Partly(items) => (items, true),
        Replay::Trimmed => (Vec::new(), true),
    };
    (items.iter().map(|item| dots(item, lineage).last()).collect(), is_partly)
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_of_a_replay_and_holds_up_nothing() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    for seq in 1..=6 {
        let record = record(&n2, seq, &format!("k{seq}"), Some("1"), WALL + seq);
        apply(&store, vec![incoming(record)]).await;
    }
    disk.damage(Space::Records, Bytes::from("test\0k2"));
    let all = || SeqSet::up_to(6);
    assert_eq!(
        replayed(&store, &n2, all()).await,
        (vec![1, 3, 4, 5, 6], false),
        "it may be repaired"
    );
    assert_eq!(replayed(&store, &n2, vec![(2, 2)].into()).await, (Vec::new(), false));

    // Numbers of lineages are given out from zero on, the first one to the own.
    let number = 1_u32.to_be_bytes();
    let entry = [&number[..], &4_u64.to_be_bytes()].concat();
    disk.damage(Space::Log, Bytes::from(entry));
    let split = vec![(1, 1), (3, 4), (6, 6)];
    assert_eq!(replayed(&store, &n2, split.into()).await, (vec![1, 6], true), "all but a page");
    assert_eq!(replayed(&store, &n2, all()).await, (Vec::new(), true), "a snapshot brings it");
}

/// Else whoever wants very many dots that the log has forgotten, or that cannot be had, keeps the disk busy.
#[tokio::test]
async fn a_replay_does_not_look_for_everything_that_is_not_there() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    let covers = vec![(n2.clone(), SeqSet::up_to(40_000))];
    apply(&store, vec![Incoming { record: None, covers, ..Incoming::default() }]).await;
    apply(&store, vec![incoming(record(&n2, 40_001, "a", Some("1"), WALL))]).await;
    let scattered: Vec<(u64, u64)> =
        (0..=20_000).map(|half| (2 * half + 1, 2 * half + 1)).collect();
    let before = disk.reads();
    assert_eq!(replayed(&store, &n2, scattered.into()).await, (vec![40_001], true));
    let reads = disk.reads() - before;
    assert!(reads < 10, "{reads} reads");
}

#[tokio::test]
async fn a_replay_ends_where_very_much_cannot_be_had() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    let name = |seq: u64| format!("k{seq}");
    for chunk in (1..=3_000_u64).collect::<Vec<_>>().chunks(1_000) {
        let put = |seq: &u64| incoming(record(&n2, *seq, &name(*seq), Some("1"), WALL + seq));
        apply(&store, chunk.iter().map(put).collect()).await;
    }
    for seq in 1..3_000 {
        disk.damage(Space::Records, Bytes::from(format!("test\0{}", name(seq))));
    }
    let before = disk.reads();
    let (sent, is_partly) = replayed(&store, &n2, SeqSet::up_to(3_000)).await;
    assert_eq!((sent, is_partly), (Vec::new(), true), "it would not get any further");
    let reads = disk.reads() - before;
    assert!(reads < 2_000, "{reads} reads");
    assert_eq!(replayed(&store, &n2, vec![(2_500, 3_000)].into()).await, (vec![3_000], false));
}

/// A snapshot passes over what is missing, and then claims all there is.
#[tokio::test]
async fn no_snapshot_is_sent_for_records_that_are_missing() {
    let (disk, n2) = (MemoryDisk::new(), lineage("n2", 1));
    let store = on_memory(&disk);
    let name = |seq: u64| format!("k{seq}");
    let put = |seq: u64| incoming(record(&n2, seq, &name(seq), Some("1"), WALL + seq));
    apply(&store, (1..=1_100).map(put).collect()).await;
    store.close().await;
    let mut lost = Batch::default();
    for seq in 1..=1_100 {
        lost.remove(Space::Records, Bytes::from(format!("test\0{}", name(seq))));
    }
    disk.engine().commit(&lost, Sync::Data).expect("committed");
    let store = on_memory(&disk);
    assert_eq!(replayed(&store, &n2, SeqSet::up_to(1_100)).await, (Vec::new(), false));
}

#[tokio::test]
async fn a_long_log_is_trimmed_in_steps() {
    let (store, n2) = (on_memory(&MemoryDisk::new()), lineage("n2", 1));
    for chunk in (1..=10_000_u64).collect::<Vec<_>>().chunks(1_000) {
        let batch = chunk.iter().map(|seq| incoming(record(&n2, *seq, "a", Some("v"), WALL + seq)));
        apply(&store, batch.collect()).await;
    }
    let floor: Frontier = [(n2.clone(), SeqSet::up_to(20_000))].into_iter().collect();
    store.trim(&floor).await.expect("durable");
    assert_eq!(store.replay(&n2, &vec![(10_000, 10_000)].into(), 1).await, Replay::Trimmed);
    store.trim(&floor).await.expect("nothing left to do");
}

/// A snapshot brings everything, and the dots it brought are not claimed to be in the log.
#[tokio::test]
async fn a_snapshot_brings_everything_and_its_dots_cannot_be_replayed() {
    let source = on_memory(&MemoryDisk::new());
    for round in 0..50 {
        let mut op = op(&format!("k{}", round % 30), &format!("{round}"));
        if round % 7 == 0 {
            op.value = None;
        }
        write(&source, op).await;
    }
    let target = on_memory(&MemoryDisk::new());
    let frontier = source.frontier();
    let mut cursor = None;
    let mut pages = 0;
    loop {
        let (items, next) = source.snapshot(cursor, 500).await;
        apply(&target, items).await;
        pages += 1;
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    assert!(pages > 5, "{pages} pages");
    let covers = frontier.iter().map(|(lineage, seqs)| (lineage.clone(), seqs.clone())).collect();
    apply(&target, vec![Incoming { record: None, covers, ..Incoming::default() }]).await;
    assert!(target.frontier().covers(&frontier));
    assert_eq!(target.content_digest(), source.content_digest());
    let overwritten = target.replay(&source.lineage(), &SeqSet::up_to(20), usize::MAX).await;
    assert_eq!(overwritten, Replay::Trimmed);
}
