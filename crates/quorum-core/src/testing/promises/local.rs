//! Promises of [`LocalStore`](crate::LocalStore): names and order of local writes, and what "durable" means.

use std::collections::BTreeSet;

use crate::clock::hlc::Hlc;
use crate::ports::ReplicaStore;
use crate::testing::promises::StoreUnderTest;
use crate::testing::promises::subject::{Foreigner, Subject, alone};

/// A dot is given out once, over crashes too, whether or not its write survived.
///
/// # Panics
///
/// If a dot is given out twice.
pub fn dots_are_never_reused<H: StoreUnderTest>(harness: &H) {
    let mut given = BTreeSet::new();
    let mut subject = Subject::new(harness, "dots-unique");
    for start in 1..=3 {
        for value in ["kept", "kept too"] {
            let dot = subject.write("key", value).dot.clone();
            assert!(given.insert(dot.clone()), "start {start} gave the dot {dot} out again");
        }
        // Nobody waits for this one: it may be lost, its dot stays used.
        let dot = subject.stage("key", "perhaps lost").record.dot.clone();
        assert!(given.insert(dot.clone()), "start {start} gave the dot {dot} out again");
        subject = subject.crash();
    }
}

/// Local writes are numbered 1, 2, 3 in the lineage that the store tells, in the order of their versions.
///
/// # Panics
///
/// If there is a hole, a strange lineage, or a number out of order.
pub fn dots_are_dense_and_in_the_order_of_versions<H: StoreUnderTest>(harness: &H) {
    let mut subject = Subject::new(harness, "dots-dense");
    for start in 1..=2 {
        let lineage = subject.store.lineage();
        let mut last = None;
        for seq in 1..=4 {
            let record = subject.write(&format!("key {seq}"), "value");
            assert_eq!(record.dot.lineage, lineage, "a dot of another lineage in start {start}");
            assert_eq!(record.dot.seq, seq, "the numbers of start {start} have a hole");
            let version = Some(record.version());
            assert!(version > last, "dot {} has a version below the one before it", record.dot);
            last = version;
        }
        subject = subject.crash();
    }
}

/// Every version lies above all that were issued or seen before, of whatever key, over crashes too.
///
/// # Panics
///
/// If a version does not.
pub fn versions_always_increase<H: StoreUnderTest>(harness: &H) {
    let mut subject = Subject::new(harness, "versions");
    let mut last = subject.write("a", "1").version();
    for start in 1..=3 {
        for key in ["b", "a"] {
            let version = subject.write(key, "value").version();
            assert!(version > last, "start {start}: {version} was issued after {last}");
            last = version;
        }
        // Another member's clock is a little ahead.
        let ahead = Hlc::from_u64(last.hlc.as_u64() + 1_000);
        let seen = Foreigner::new(harness, "ahead").record_at(start, ahead, "c", "seen");
        subject.apply(vec![alone(&seen)]);
        if start == 2 {
            subject = subject.crash();
        }
        let version = subject.write("d", "value").version();
        let seen = seen.version();
        assert!(version > seen, "start {start}: {version} was issued after {seen} was seen");
        last = version;
        // Not waited for, yet issued.
        last = last.max(subject.stage("e", "perhaps lost").record.version());
        subject = subject.crash();
    }
}

/// Once `durable` has completed, a crash takes the record neither from the table nor from the frontier.
///
/// # Panics
///
/// If it does.
pub fn a_completed_append_survives_a_crash<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "append-durable");
    let records = ["a", "b", "c"].map(|key| (key, subject.write(key, "value")));
    let subject = subject.crash();
    for (key, record) in records {
        subject.assert_current(key, &record, "a crash took a write that was called durable");
        let covered = subject.store.frontier().contains(&record.dot);
        assert!(covered, "after a crash the frontier lacks {}, called durable before", record.dot);
    }
}

/// A restamped write keeps its write id and content, and gets a new dot and a version above the one it was given.
///
/// # Panics
///
/// If it does not.
pub fn a_restamped_write_lies_above<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "restamp");
    let first = subject.write("key", "value");
    let ahead = Hlc::from_u64(first.hlc.as_u64() + 1_000);
    let above = Foreigner::new(harness, "newer").record_at(1, ahead, "key", "newer").version();

    let second = subject.restamp(&first, &above);

    let version = second.version();
    assert!(version > above, "restamped at {version}, which is not above {above}");
    assert_eq!(second.write_id, first.write_id, "a restamped write keeps its write id");
    assert_eq!(second.digest, first.digest, "a restamped write keeps its content");
    assert_ne!(second.dot, first.dot, "a restamped write gets a new dot");
    let subject = subject.crash();
    subject.assert_current("key", &second, "a crash took a restamped write");
}
