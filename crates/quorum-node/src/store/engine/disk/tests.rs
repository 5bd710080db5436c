//! Everything that was committed is there, wherever it lies and whatever the disk does.

use std::fs;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use parking_lot::MutexGuard;
use proptest::prelude::*;
use quorum_core::{ClusterId, Durability, LocalStore, PeerId, WriteId};

use super::*;
use crate::record::{Key, Namespace, WriteOp};
use crate::store::Store;
use crate::store::engine::{Page, PageLimit};
use crate::store::open::{StoreIdentity, StoreSeams, open_engine};

type Model = BTreeMap<Bytes, Bytes>;

const SPACES: [Space; 2] = [Space::Records, Space::Log];

/// Layers of a few commits each.
fn open(directory: &Path) -> DiskEngine {
    let config = StoreConfig { memtable_bytes: 2_000, ..StoreConfig::default() };
    DiskEngine::open(directory, &config, None, None).expect("opens")
}

fn key(number: u8) -> Bytes {
    Bytes::from(format!("key {number:03}"))
}

/// Sets keys, or removes them, in both spaces and in the model.
fn apply(changes: &[(u8, Option<u8>)], model: &mut Model) -> Batch {
    let mut batch = Batch::default();
    for (number, value) in changes {
        // Some are as large as those that lie in files of their own.
        let len = |value: u8| if value < 230 { usize::from(value) } else { 9_000 };
        let value = value.map(|value| Bytes::from(vec![value; len(value)]));
        match &value {
            Some(value) => model.insert(key(*number), value.clone()),
            None => model.remove(&key(*number)),
        };
        for space in SPACES {
            match &value {
                Some(value) => batch.put(space, key(*number), value.clone()),
                None => batch.remove(space, key(*number)),
            }
        }
    }
    batch
}

/// Everything in a view, read in pages of `limit` entries, is what the model says.
fn check(view: &dyn View, model: &Model, limit: usize) {
    for space in SPACES {
        let (mut found, mut after) = (Page::new(), None::<Bytes>);
        loop {
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let range = (from, Bound::Unbounded);
            let page = view.page(space, range, PageLimit::new(limit, 1_000)).expect("readable");
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            found.extend(page);
        }
        let expected: Page = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(found, expected, "in pages of {limit}");
        for number in 0..=u8::MAX {
            let value = view.get(space, &key(number)).expect("readable");
            assert_eq!(value.as_ref(), model.get(&key(number)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Whatever is committed, wherever it lies by then, and whoever looks at it as of when.
    #[test]
    fn views_show_what_was_committed_through_layers_tables_and_restarts(
        commits in prop::collection::vec(
            prop::collection::vec((0_u8..40, prop::option::of(any::<u8>())), 1..20),
            20..60,
        ),
        restart_at in 0_usize..60,
        limit in 1_usize..50,
    ) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut engine = open(directory.path());
        let (mut model, mut views) = (Model::new(), Vec::new());
        for (turn, changes) in commits.iter().enumerate() {
            let sync = if turn % 3 == 0 { Sync::Buffered } else { Sync::Data };
            engine.commit(&apply(changes, &mut model), sync).expect("committed");
            if turn % 7 == 0 {
                views.push((engine.view(), model.clone()));
            }
            if turn == restart_at {
                for (view, then) in views.drain(..) {
                    check(view.as_ref(), &then, limit);
                }
                drop(engine);
                engine = open(directory.path());
                prop_assert_eq!(engine.last_commit(), turn as u64 + 1);
            }
        }
        check(engine.view().as_ref(), &model, limit);
        for (view, then) in &views {
            check(view.as_ref(), then, limit);
        }
        drop((views, engine));
        let engine = open(directory.path());
        check(engine.view().as_ref(), &model, limit);
    }
}

#[test]
fn a_layer_that_was_put_in_part_is_put_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut model = Model::new();
    let engine = open(directory.path());
    engine.commit(&apply(&[(1, Some(1)), (2, None)], &mut model), Sync::Data).expect("committed");
    drop(engine);
    {
        // As a start leaves it that was cut short: some spaces have it, and the log is as it was.
        let config = StoreConfig::default();
        let tables = Tables::open(&directory.path().join(TABLES_DIRECTORY), &config);
        let layer = Layer::default();
        let change = (Space::Records, key(1), Some(Bytes::from_static(&[1])));
        layer.enter(1, 1, std::iter::once(change));
        tables.expect("opens").put(&layer, 0).expect("put");
    }
    let engine = open(directory.path());
    assert_eq!(engine.last_commit(), 1);
    check(engine.view().as_ref(), &model, 10);
}

#[test]
fn a_commit_for_which_there_was_no_room_succeeds_once_there_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (open(directory.path()), Model::new());
    engine.commit(&apply(&[(1, Some(1))], &mut model), Sync::Data).expect("committed");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let file = engine.writing.lock().writer.replace_file(full);
    let batch = apply(&[(1, Some(2)), (2, Some(9))], &mut model);
    let error = engine.commit(&batch, Sync::Data).expect_err("no room");
    assert!(error.is_full(), "{error:?}");
    assert_eq!(engine.last_commit(), 1, "nothing has happened");
    engine.writing.lock().writer.replace_file(file);
    engine.commit(&batch, Sync::Data).expect("there is room");
    check(engine.view().as_ref(), &model, 10);
    drop(engine);
    check(open(directory.path()).view().as_ref(), &model, 10);
}

#[test]
fn a_disk_that_fills_up_while_layers_are_put_is_full_and_not_the_end() {
    use std::sync::atomic::Ordering::Relaxed;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (open(directory.path()), Model::new());
    engine.shared.tables.is_full.store(true, Relaxed);
    let mut refused = None;
    for turn in 0..100 {
        let before = model.clone();
        let batch = apply(&[(turn, Some(200))], &mut model);
        if let Err(error) = engine.commit(&batch, Sync::Data) {
            assert!(error.is_full(), "{error:?}");
            model = before;
            refused = Some(turn);
            break;
        }
    }
    let refused = refused.expect("layers fill up");
    check(engine.view().as_ref(), &model, 7);
    engine.shared.tables.is_full.store(false, Relaxed);
    {
        let shared = &engine.shared;
        let mut state = shared.state.lock();
        shared.changed.notify_all();
        let limit = Duration::from_secs(60);
        shared.changed.wait_while_for(&mut state, |state| state.is_out_of_room, limit);
    }
    let batch = apply(&[(refused, Some(200))], &mut model);
    engine.commit(&batch, Sync::Data).expect("there is room");
    check(engine.view().as_ref(), &model, 7);
    drop(engine);
    check(open(directory.path()).view().as_ref(), &model, 7);
}

#[test]
fn what_was_committed_is_synced_also_while_the_disk_is_full() {
    use std::sync::atomic::Ordering::Relaxed;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (open(directory.path()), Model::new());
    engine.shared.tables.is_full.store(true, Relaxed);
    let mut commit = |turn| engine.commit(&apply(&[(turn, Some(200))], &mut model), Sync::Buffered);
    let refused = (0..100).find_map(|turn| commit(turn).err()).expect("layers fill up");
    assert!(refused.is_full(), "{refused:?}");
    assert_eq!(engine.writing.lock().synced, engine.last_commit());
    engine.commit(&Batch::default(), Sync::Data).expect("it needs no room");
}

/// All that a close has to do is to sync.
#[tokio::test]
async fn a_store_is_closed_also_while_the_disk_is_full() {
    use std::sync::atomic::Ordering::Relaxed;
    let path = tempfile::tempdir().expect("a temporary directory");
    let config = StoreConfig {
        memtable_bytes: 2_000,
        free_bytes_min: 0,
        relaxed_sync_after: Duration::from_secs(3_600),
        ..StoreConfig::default()
    };
    let (directory, engine) = open_engine(path.path(), &config).expect("opens");
    let engine = Arc::new(engine);
    let node = PeerId::new("n1").expect("a name");
    let identity = StoreIdentity { cluster: ClusterId::from_bytes([1; 16]), node };
    let seams = StoreSeams::trusting();
    let on: Arc<dyn Engine> = engine.clone();
    let store = Store::start(on, Some(directory), &identity, config, seams).expect("opens");
    let shared = &engine.shared;
    shared.tables.is_full.store(true, Relaxed);
    let has_room = || {
        let is_full = engine.writing.lock().layer_bytes >= engine.layer_bytes_max;
        !is_full || shared.state.lock().full.len() < FULL_LAYERS_MAX
    };
    let mut turn = 0;
    while has_room() {
        turn += 1;
        let write = WriteOp {
            namespace: Namespace::new("ns").expect("valid"),
            key: Key::new(format!("key {turn}")).expect("valid"),
            value: Some(Bytes::from_static(&[1; 200])),
            write_id: WriteId::from_bytes([turn; 16]),
            durability: Durability::Relaxed,
            above: None,
            deadline: None,
        };
        store.stage(write).await.expect("staged").durable.await.expect("committed");
    }
    {
        let (mut state, limit) = (shared.state.lock(), Duration::from_secs(60));
        shared.changed.wait_while_for(&mut state, |state| !state.is_out_of_room, limit);
    }
    store.close().await;
    assert_eq!(engine.writing.lock().synced, engine.last_commit());
    drop((store, engine));
    assert!(path.path().join("CLEAN").exists());
}

/// What was written of it is left behind each time.
#[test]
fn a_layer_that_had_no_room_is_not_tried_again_before_there_is_enough() {
    use std::sync::atomic::Ordering::Relaxed;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (open(directory.path()), Model::new());
    let shared = &engine.shared;
    shared.tables.is_full.store(true, Relaxed);
    engine.commit(&apply(&[(1, Some(1))], &mut model), Sync::Data).expect("committed");
    // As large as no disk.
    engine.writing.lock().layer_bytes = usize::MAX;
    engine.commit(&apply(&[(2, Some(2))], &mut model), Sync::Data).expect("committed");
    let limit = Duration::from_secs(60);
    let mut state = shared.state.lock();
    shared.changed.wait_while_for(&mut state, |state| !state.is_out_of_room, limit);
    assert_eq!(shared.tables.puts.load(Relaxed), 1);
    for _ in 0..100 {
        MutexGuard::unlocked(&mut state, || {
            shared.changed.notify_all();
            std::thread::yield_now();
        });
    }
    assert_eq!(shared.tables.puts.load(Relaxed), 1, "there is no room for twice as much");
    drop(state);
    // Whoever closes it does not wait for room.
    drop(engine);
    check(open(directory.path()).view().as_ref(), &model, 7);
}

/// Zeros take the place of the beginning of every table of the first space.
fn damage_tables(directory: &Path) {
    let tables = directory.join(TABLES_DIRECTORY).join("keyspaces/1/tables");
    for entry in fs::read_dir(tables).expect("readable") {
        let path = entry.expect("readable").path();
        let file = fs::OpenOptions::new().write(true).open(path).expect("writable");
        file.write_all_at(&[0; 64], 0).expect("writable");
    }
}

/// Fills layers until compaction has met what is damaged.
#[test]
fn it_is_told_that_compaction_has_failed_and_commits_go_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (open(directory.path()), Model::new());
    let mut fill = |engine: &DiskEngine, turns: std::ops::Range<usize>| {
        for turn in turns {
            let changes = [(u8::try_from(turn % 100).expect("small"), Some(200))];
            engine.commit(&apply(&changes, &mut model), Sync::Data).expect("committed");
        }
    };
    fill(&engine, 0..10);
    assert!(!engine.compaction_has_ended());
    drop(engine);
    damage_tables(directory.path());
    let engine = open(directory.path());
    fill(&engine, 10..300);
    {
        let mut state = engine.shared.state.lock();
        let limit = Duration::from_secs(60);
        engine.shared.changed.notify_all();
        engine.shared.changed.wait_while_for(
            &mut state,
            |state| !state.compaction_has_ended,
            limit,
        );
    }
    assert!(engine.compaction_has_ended());
    fill(&engine, 300..400);
}

#[test]
fn records_are_counted_once_wherever_they_lie() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (open(directory.path()), Model::new());
    for turn in 0..100 {
        engine.commit(&apply(&[(turn, Some(200))], &mut model), Sync::Data).expect("committed");
        assert_eq!(engine.sizes().records, u64::from(turn) + 1);
    }
    assert!(engine.sizes().bytes > 0);
    drop(engine);
    assert_eq!(open(directory.path()).sizes().records, 100);
}

/// Whoever asks has everybody else wait for it.
#[test]
fn how_large_it_is_can_be_told_while_the_disk_hangs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (Arc::new(open(directory.path())), Model::new());
    engine.commit(&apply(&[(1, Some(1))], &mut model), Sync::Data).expect("committed");
    let hanging = engine.shared.tables.hanging.lock();
    let asked = Arc::clone(&engine);
    in_time(move || assert_eq!(asked.sizes().records, 1));
    drop(hanging);
}

#[test]
fn nobody_waits_for_the_thread_that_looks_at_tables_which_hang() {
    use std::sync::atomic::Ordering::Relaxed;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (Arc::new(open(directory.path())), Model::new());
    let hanging = engine.shared.tables.hanging.lock();
    let before = engine.shared.tables.asked.load(Relaxed);
    engine.commit(&apply(&[(1, Some(1))], &mut model), Sync::Data).expect("committed");
    engine.writing.lock().layer_bytes = usize::MAX;
    let batch = apply(&[(2, Some(2))], &mut model);
    let asked = Arc::clone(&engine);
    in_time(move || {
        asked.commit(&batch, Sync::Data).expect("committed");
        while asked.shared.tables.asked.load(Relaxed) == before {
            std::thread::yield_now();
        }
        assert_eq!(asked.last_commit(), 2);
    });
    drop(hanging);
}

/// Does what must not wait for what the test holds.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (tell, told) = std::sync::mpsc::channel();
    let working = std::thread::spawn(move || {
        work();
        tell.send(())
    });
    told.recv_timeout(Duration::from_secs(60)).expect("done");
    working.join().expect("ended").expect("heard");
}

#[test]
fn files_are_used_again_and_few() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (open(directory.path()), Model::new());
    for turn in 0..300_usize {
        let changes = [(u8::try_from(turn % 100).expect("small"), Some(200))];
        engine.commit(&apply(&changes, &mut model), Sync::Data).expect("committed");
    }
    let log = fs::read_dir(directory.path().join("log")).expect("there");
    let (files, bound) = (log.count(), FULL_LAYERS_MAX + 2 + 2);
    assert!(files <= bound, "{files} files");
    check(engine.view().as_ref(), &model, 7);
}

#[test]
fn empty_ranges_show_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (engine, mut model) = (open(directory.path()), Model::new());
    engine.commit(&apply(&[(1, Some(1))], &mut model), Sync::Data).expect("committed");
    let (one, other) = (key(1), key(2));
    for range in [
        (Bound::Excluded(&one[..]), Bound::Excluded(&one[..])),
        (Bound::Included(&other[..]), Bound::Included(&one[..])),
        (Bound::Excluded(&other[..]), Bound::Included(&one[..])),
    ] {
        let page = engine.view().page(Space::Records, range, PageLimit::new(9, 999));
        assert_eq!(page.expect("readable"), Page::new());
    }
    let only = (Bound::Included(&one[..]), Bound::Included(&one[..]));
    let page = engine.view().page(Space::Records, only, PageLimit::new(9, 999));
    assert_eq!(page.expect("readable").len(), 1);
}
