//! Directories: whose they are, which format they have, and the first format as it is kept for later versions.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use quorum_core::{ClusterId, Digest, Hlc};
use quorum_node::record::{Key, Namespace};
use quorum_node::store::{OpenError, Store, StoreConfig, StoreIdentity, WriteLookup, verify};

use crate::damage::copy;
use crate::harness::{
    TestClock, WALL, apply, identity, incoming, lineage, on_disk, op, record, seams, try_on_disk,
    value, write,
};

fn open_as(directory: &Path, identity: &StoreIdentity) -> Result<Store, OpenError> {
    Store::open(directory, identity, StoreConfig::default(), seams(&TestClock::new()))
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = on_disk(directory.path());
    let refused = try_on_disk(directory.path()).map(|_| ()).expect_err("in use");
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&directory.path().display().to_string()), "{refused}");
    store.close().await;
    // A closed store holds nothing, though its handle is still there.
    on_disk(directory.path());
}

#[tokio::test]
async fn anothers_directory_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(on_disk(directory.path()));
    let refused = open_as(directory.path(), &identity("n2")).map(|_| ()).expect_err("of n1");
    assert_eq!(refused.to_string(), "the data directory belongs to node n1, not to n2");
    let cluster = ClusterId::from_bytes([8; 16]);
    let other = StoreIdentity { cluster, ..identity("n1") };
    let refused = open_as(directory.path(), &other).map(|_| ()).expect_err("of another cluster");
    assert!(matches!(refused, OpenError::OtherCluster { .. }), "{refused:?}");
    on_disk(directory.path());
}

#[tokio::test]
async fn a_later_format_and_foreign_files_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(on_disk(directory.path()));
    fs::write(directory.path().join("FORMAT"), "quorum store format 9\n").expect("writable");
    let refused = try_on_disk(directory.path()).map(|_| ()).expect_err("from the future");
    assert!(matches!(refused, OpenError::NewerFormat { found: 9, known: 4, .. }), "{refused:?}");

    let foreign = tempfile::tempdir().expect("a temporary directory");
    fs::write(foreign.path().join("thesis.tex"), "precious").expect("writable");
    let refused = try_on_disk(foreign.path()).map(|_| ()).expect_err("not a store");
    assert!(matches!(refused, OpenError::NotAStore { .. }), "{refused:?}");
    let unchecked = verify(foreign.path(), &StoreConfig::default()).map(|_| ());
    assert!(matches!(unchecked, Err(OpenError::NotAStore { .. })), "{unchecked:?}");
}

#[tokio::test]
async fn a_sound_directory_verifies_and_opens_afterwards() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = on_disk(directory.path());
    fill(&store).await;
    let in_use = verify(directory.path(), &StoreConfig::default()).map(|_| ());
    assert!(matches!(in_use, Err(OpenError::Locked { .. })), "{in_use:?}");
    let digest = store.content_digest();
    drop(store);
    let verified = verify(directory.path(), &StoreConfig::default()).expect("readable");
    assert!(verified.is_sound(), "{:?}", verified.findings);
    assert_eq!(verified.records, 4);
    assert_eq!(on_disk(directory.path()).content_digest(), digest);
}

/// One of everything the format knows.
async fn fill(store: &Store) {
    write(store, op("a", "1")).await;
    write(store, op("a", "2")).await;
    write(store, op("b", &"large ".repeat(2_000))).await;
    let mut delete = op("c", "");
    delete.value = None;
    write(store, delete).await;
    let mut other = op("x", "elsewhere");
    other.namespace = Namespace::new("other.space").expect("valid");
    other.key = Key::new(&b"\x00\xff"[..]).expect("valid");
    write(store, other).await;
    let n2 = lineage("n2", 3);
    let theirs = record(&n2, 7, "a", Some("theirs"), WALL - 1_000);
    apply(store, vec![incoming(theirs)]).await;
    store.cover(vec![(n2, vec![(1, 5)].into())]).await.expect("durable");
}

fn format_1() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1")
}

/// What `fill` amounts to.
const FORMAT_1_DIGEST: &str = "507a632f029dbcffb6e3d7a8dd6cc41a45a89884252c6ca5452843968bdff7db";

/// The directory that was made when format 1 was new. Every later version must read it.
#[tokio::test]
async fn format_1_is_read_for_ever() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    copy(&format_1(), directory.path());
    // Version control keeps no empty directories.
    for keyspace in fs::read_dir(directory.path().join("engine/keyspaces")).expect("readable") {
        let tables = keyspace.expect("readable").path().join("tables");
        fs::create_dir_all(tables).expect("writable");
    }
    let verified = verify(directory.path(), &StoreConfig::default()).expect("readable");
    assert!(verified.is_sound(), "{:?}", verified.findings);
    let store = on_disk(directory.path());
    assert_eq!(value(&store, "a"), Some(Bytes::from("2")));
    assert_eq!(value(&store, "b"), Some(Bytes::from("large ".repeat(2_000))));
    assert_eq!(value(&store, "c"), None);
    assert_eq!(store.content_digest(), Ok(FORMAT_1_DIGEST.parse::<Digest>().expect("a digest")));
    let frontier = store.frontier();
    assert_eq!(frontier.of(&lineage("n2", 3)), Some(&vec![(1, 5), (7, 7)].into()));
    assert_eq!(frontier.len(), 5 + 6);
    match store.lookup(&op("a", "1").write_id).expect("readable") {
        WriteLookup::Known(found) => assert_eq!((found.dot.seq, found.record), (1, None)),
        other => panic!("not remembered: {other:?}"),
    }
    store.close().await;
    for entry in fs::read_dir(directory.path().join("engine/tables")).expect("readable") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let len = fs::metadata(&path).expect("readable").len();
            assert_eq!(len, 0, "what was the log is in the tables, and not read again");
        }
    }
    let store = on_disk(directory.path());
    assert_eq!(store.content_digest(), Ok(FORMAT_1_DIGEST.parse::<Digest>().expect("a digest")));
    let purged = store.purge(Hlc::from_millis(WALL + 3_600_000)).await;
    assert_eq!(purged, Ok(1), "the tombstones, which format 1 did not list");
}

/// Makes that directory. Run by hand, once for each format: `cargo test -p quorum-node --test store make_format_1 --
/// --ignored`.
#[tokio::test]
#[ignore = "writes test data into the source tree"]
async fn make_format_1() {
    // Memory for so little that some of it becomes a table.
    let config = StoreConfig { memtable_bytes: 8 << 10, ..StoreConfig::default() };
    let store = Store::open(&format_1(), &identity("n1"), config, seams(&TestClock::new()));
    let store = store.expect("opens");
    fill(&store).await;
    store.close().await;
    // A second start and stop: a journal that was opened again is no longer allocated 64 MiB ahead.
    on_disk(&format_1()).close().await;
    println!("digest {}", on_disk(&format_1()).content_digest().expect("readable"));
}
