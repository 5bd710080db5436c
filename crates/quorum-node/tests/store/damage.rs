//! Torn and damaged logs: an unacknowledged tail is cut off, older damage is refused.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use quorum_core::LocalStore;
use quorum_node::store::{OpenError, Store, StoreConfig, verify};

use crate::harness::{on_disk, op, try_on_disk, value, write};

const PAGE: u64 = 4_096;

/// Copies what a power cut would leave: everything but the lock, which dies with the process.
pub(crate) fn copy(from: &Path, to: &Path) {
    // A power cut comes at one moment: where files come and go meanwhile, what names them may be older than they are.
    let mut before = files(from);
    loop {
        copy_directory(from, to);
        let after = files(from);
        if before == after {
            return;
        }
        before = after;
        fs::remove_dir_all(to).expect("writable");
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_directory(&from, &to);
        } else {
            copy_file(&from, &to);
        }
    }
}

/// Segments are longer than what these tests write, which fits into this much.
const WRITTEN_MAX: u64 = 1 << 20;

/// The part of a file that is written.
fn written(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(path).expect("readable");
    file.take(WRITTEN_MAX).read_to_end(&mut bytes).expect("readable");
    bytes
}

/// Copies the written part of a file, and leaves a hole for the rest.
fn copy_file(from: &Path, to: &Path) {
    // What the engine has just replaced it removes a moment later.
    let Ok(file) = File::open(from) else { return };
    let mut written = Vec::new();
    (&file).take(WRITTEN_MAX).read_to_end(&mut written).expect("readable");
    let mut copy = File::create(to).expect("writable");
    copy.write_all(&written).expect("writable");
    copy.set_len(file.metadata().expect("readable").len()).expect("writable");
}

/// The segment that a store has just begun.
fn segment(directory: &Path) -> PathBuf {
    let segments = fs::read_dir(directory.join("engine/log")).expect("readable");
    let segments = segments.map(|entry| entry.expect("readable").path());
    let in_use = segments.filter(|path| path.extension().is_some_and(|found| found == "log"));
    let mut in_use: Vec<PathBuf> = in_use.collect();
    assert_eq!(in_use.len(), 1);
    in_use.remove(0)
}

/// Where the commits end that lie one behind the other from the beginning, and begin as no other segment's do.
fn end_of(segment: &Path) -> u64 {
    let (bytes, mut at) = (written(segment), 0);
    while let Some(frame) = bytes.get(at..at + 32).filter(|frame| frame[..4] == bytes[..4]) {
        let body = u32::from_le_bytes(frame[4..8].try_into().expect("four bytes"));
        at += 32 + body as usize;
    }
    at as u64
}

/// Overwrites a stretch of a file with zeros.
fn zero(path: &Path, from: u64, to: u64) {
    let mut file = OpenOptions::new().write(true).open(path).expect("writable");
    file.seek(SeekFrom::Start(from)).expect("writable");
    file.write_all(&vec![0; usize::try_from(to - from).expect("small")]).expect("writable");
}

fn flip(path: &Path, at: u64) {
    let byte = written(path)[usize::try_from(at).expect("small")];
    let mut file = OpenOptions::new().write(true).open(path).expect("writable");
    file.seek(SeekFrom::Start(at)).expect("writable");
    file.write_all(&[byte ^ 0x10]).expect("writable");
}

/// A store with twelve commits of one write each, and where each of them ends in its segment.
async fn twelve_commits(directory: &Path, value: &str) -> (Store, Vec<u64>) {
    let store = on_disk(directory);
    // The first write also reserves timestamps, in a commit of their own.
    write(&store, op("first", value)).await;
    let mut ends = vec![end_of(&segment(directory))];
    for round in 0..12 {
        write(&store, op(&format!("k{round}"), value)).await;
        ends.push(end_of(&segment(directory)));
    }
    (store, ends)
}

/// The pieces of `from..to` that lie on one page each.
fn pages(from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    (from / PAGE..to.div_ceil(PAGE)).map(move |page| {
        let (start, end) = (page * PAGE, (page + 1) * PAGE);
        (start.max(from), end.min(to))
    })
}

async fn a_torn_last_commit_is_cut_off(value_bytes: usize, reopened: bool) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let payload = "v".repeat(value_bytes);
    if reopened {
        // The next start writes over what is there.
        let store = on_disk(directory.path());
        for round in 0..20 {
            write(&store, op(&format!("before{round}"), &payload)).await;
        }
        store.close().await;
    }
    let (store, ends) = twelve_commits(directory.path(), &payload).await;
    let (last, end) = (ends[11], ends[12]);
    let mut cases = 0;
    for (from, to) in pages(last, end) {
        let image = tempfile::tempdir().expect("a temporary directory");
        copy(directory.path(), image.path());
        zero(&segment(image.path()), from, to);
        let opened = on_disk(image.path());
        for round in 0..11 {
            let name = format!("k{round}");
            assert_eq!(value(&opened, &name).as_deref(), Some(payload.as_bytes()), "{name}");
        }
        // It works on, and what it acknowledges now survives the next power cut.
        write(&opened, op("after", "1")).await;
        let again = tempfile::tempdir().expect("a temporary directory");
        copy(image.path(), again.path());
        drop(opened);
        let opened = on_disk(again.path());
        assert_eq!(value(&opened, "after").as_deref(), Some(&b"1"[..]));
        assert_eq!(value(&opened, "k10").as_deref(), Some(payload.as_bytes()));
        cases += 1;
    }
    assert!(cases >= value_bytes / 4_096, "{cases} pages");
    drop(store);
}

#[tokio::test]
async fn a_torn_last_commit_of_a_small_value_is_cut_off() {
    a_torn_last_commit_is_cut_off(100, false).await;
}

#[tokio::test]
async fn a_torn_last_commit_of_a_large_value_is_cut_off() {
    a_torn_last_commit_is_cut_off(20_000, false).await;
}

#[tokio::test]
async fn a_torn_last_commit_in_a_file_that_is_used_again_is_cut_off() {
    a_torn_last_commit_is_cut_off(20_000, true).await;
}

/// One commit may hold many records: all of it is cut off or nothing.
#[tokio::test]
async fn a_torn_commit_of_many_records_is_dropped_as_a_whole() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (store, ends) = twelve_commits(directory.path(), "v").await;
    let before = ends[12];
    let mut waiting = Vec::new();
    for round in 0..64 {
        let op = op(&format!("m{round}"), &"v".repeat(500));
        waiting.push(store.stage(op).await.expect("staged"));
    }
    for staged in waiting {
        staged.durable.await.expect("durable");
    }
    let end = end_of(&segment(directory.path()));
    assert!(end - before > 8 * PAGE);
    // The last page is part of the last commit, however many commits there were.
    let image = tempfile::tempdir().expect("a temporary directory");
    copy(directory.path(), image.path());
    zero(&segment(image.path()), end - 100, end);
    let opened = on_disk(image.path());
    let own = store.lineage();
    let held = opened.frontier().of(&own).expect("known").clone();
    assert_eq!(held.contiguous(), held.last(), "no hole in what is claimed");
    let present = (0..64).filter(|round| value(&opened, &format!("m{round}")).is_some()).count();
    assert_eq!(held.last(), 13 + present as u64, "and all of it is there");
}

#[tokio::test]
async fn damage_to_an_acknowledged_commit_is_refused_and_nothing_is_changed() {
    for value_bytes in [100, 20_000] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (_store, ends) = twelve_commits(directory.path(), &"v".repeat(value_bytes)).await;
        // Any commit but the last: zeroed, as a lost page would leave it, or with one bit flipped, at its start, in its
        // middle or at its end.
        for commit in [1, 6, 11] {
            let (from, to) = (ends[commit - 1], ends[commit]);
            let (start, middle, end) = (from + 1, (from + to) / 2, to - 1);
            for damage in [
                Damage::Zero(from, to.min(from + PAGE)),
                Damage::Zero(middle, to),
                Damage::Flip(start),
                Damage::Flip(middle),
                Damage::Flip(end),
            ] {
                let image = tempfile::tempdir().expect("a temporary directory");
                copy(directory.path(), image.path());
                let segment = segment(image.path());
                damage.apply(&segment);
                let before = written(&segment);
                match try_on_disk(image.path()).map(|_| ()) {
                    Err(OpenError::Damaged { file, offset, .. }) => {
                        assert_eq!((&file, offset), (&segment, from), "{damage:?}");
                    }
                    other => panic!("commit {commit}, {damage:?}: {other:?}"),
                }
                assert!(written(&segment) == before, "left as it was");
            }
        }
    }
}

#[derive(Debug)]
enum Damage {
    Zero(u64, u64),
    Flip(u64),
}

impl Damage {
    fn apply(&self, segment: &Path) {
        match self {
            Self::Zero(from, to) => zero(segment, *from, *to),
            Self::Flip(at) => flip(segment, *at),
        }
    }
}

#[tokio::test]
async fn a_closed_store_that_lost_its_last_commit_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (store, ends) = twelve_commits(directory.path(), "v").await;
    store.close().await;
    drop(store);
    for (from, to) in [(ends[11], ends[12]), (ends[12] - 3, ends[12])] {
        let image = tempfile::tempdir().expect("a temporary directory");
        copy(directory.path(), image.path());
        zero(&segment(image.path()), from, to);
        let checked = verify(image.path(), &StoreConfig::default());
        assert!(matches!(checked, Err(OpenError::Damaged { .. })), "{checked:?}");
        // Whoever starts programs that have failed starts this one again.
        for _ in 0..2 {
            let refused = try_on_disk(image.path()).map(|_| ());
            assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{refused:?}");
        }
    }
}

/// A start may itself be cut short, at any time.
#[tokio::test]
async fn a_first_start_that_was_cut_short_is_begun_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(on_disk(directory.path()));
    fs::remove_file(directory.path().join("CLEAN")).expect("closed cleanly");
    fs::write(directory.path().join("NEW"), "").expect("writable");
    fs::remove_file(directory.path().join("engine/tables/version")).expect("an engine");
    let store = on_disk(directory.path());
    write(&store, op("a", "1")).await;
    store.close().await;
    drop(store);
    assert!(!directory.path().join("NEW").exists());
    assert_eq!(value(&on_disk(directory.path()), "a").as_deref(), Some(&b"1"[..]));
}
