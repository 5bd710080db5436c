//! Promises of [`ReplicaStore`](crate::ReplicaStore): how records of other members are merged, and what the frontier
//! says about them.

use std::sync::Arc;

use crate::frontier::SeqSet;
use crate::ports::{Incoming, ReplicaStore, Reply};
use crate::record::Record;
use crate::testing::promises::StoreUnderTest;
use crate::testing::promises::subject::{Foreigner, Subject, alone};

/// What is answered `Stored` is there after a crash, and so is its place in the frontier.
///
/// # Panics
///
/// If it is not.
pub fn stored_survives_a_crash<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "stored-durable");
    let other = Foreigner::new(harness, "other");
    let records = [(1, "a"), (2, "b")].map(|(seq, key)| (key, other.record(seq, seq, key, "v")));
    let batch = records.iter().map(|(_, record)| alone(record)).collect();
    assert_eq!(subject.apply(batch), [Reply::Stored, Reply::Stored], "two plain records");
    let subject = subject.crash();
    for (key, record) in records {
        subject.assert_current(key, &record, "a crash took a record that was answered Stored");
        let covered = subject.store.frontier().contains(&record.dot);
        assert!(covered, "a crash took {} from the frontier", record.dot);
    }
}

/// In whatever order and however often records of one key come, alone or in one batch, the same one is current.
///
/// # Panics
///
/// If the order or a repetition changes what is held.
pub fn merging_is_commutative_and_idempotent<H: StoreUnderTest>(harness: &H) {
    let (one, two) = (Foreigner::new(harness, "one"), Foreigner::new(harness, "two"));
    // The first two share their time: the origin breaks the tie. The last one is the newest.
    let records = [
        one.record(1, 10, "key", "tie of one"),
        two.record(1, 10, "key", "tie of two"),
        two.record(2, 20, "key", "newest"),
    ];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (at, order) in orders.into_iter().enumerate() {
        let batch = || order.map(|index| alone(&records[index])).to_vec();
        let singly = Subject::new(harness, &format!("merge-singly-{at}"));
        let mut newest = &records[order[0]];
        for index in order {
            let record = &records[index];
            singly.apply(vec![alone(record)]);
            if record.version() > newest.version() {
                newest = record;
            }
            singly.assert_current("key", newest, &format!("records came in the order {order:?}"));
        }
        let at_once = Subject::new(harness, &format!("merge-at-once-{at}"));
        at_once.apply(batch());
        at_once.assert_current("key", &records[2], &format!("one batch in the order {order:?}"));
        for subject in [&singly, &at_once] {
            let frontier = subject.store.frontier();
            subject.apply(batch());
            subject.assert_current("key", &records[2], "everything came a second time");
            assert_eq!(subject.store.frontier(), frontier, "a repetition moved the frontier");
            for record in &records {
                assert!(frontier.contains(&record.dot), "the frontier lacks {}", record.dot);
            }
        }
    }
}

/// A record below the current version of its key is answered `Superseded` with that version, changes nothing, and is
/// covered.
///
/// # Panics
///
/// If it is not.
pub fn a_newer_version_is_reported<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "superseded");
    let other = Foreigner::new(harness, "other");
    let (old, new) = (other.record(1, 10, "key", "old"), other.record(2, 20, "key", "new"));
    subject.apply(vec![alone(&new)]);
    let superseded = Reply::Superseded { version: new.version(), is_same_write: false };
    assert_eq!(subject.apply(vec![alone(&old)]), [superseded], "an older record of the same key");
    subject.assert_current("key", &new, "an older record came");
    let frontier = subject.store.frontier();
    assert!(frontier.contains(&old.dot), "a newer version is held, so {} is covered", old.dot);
    let again = subject.apply(vec![alone(&new)]);
    assert_eq!(again, [Reply::Stored], "the current record came a second time");
}

/// Of two records with one version the one with the larger digest wins, whichever comes first; the second one is
/// answered `Drift`, and the first one stays `Stored`.
///
/// # Panics
///
/// If the replicas would disagree, or the drift is not reported.
pub fn on_drift_the_larger_digest_wins<H: StoreUnderTest>(harness: &H) {
    let other = Foreigner::new(harness, "other");
    let mut records = ["one", "other"].map(|value| other.record(1, 10, "key", value));
    records.sort_by_key(|record| record.digest);
    let [smaller, larger] = &records;
    for (name, first, second) in [("drift-up", smaller, larger), ("drift-down", larger, smaller)] {
        let subject = Subject::new(harness, name);
        assert_eq!(subject.apply(vec![alone(first)]), [Reply::Stored], "{name}: the first");
        let reply = subject.apply(vec![alone(second)]);
        assert_eq!(reply, [Reply::Drift], "{name}: the same version with another digest");
        subject.assert_current("key", larger, &format!("{name}: the larger digest wins"));
        let subject = subject.crash();
        subject.assert_current("key", larger, &format!("{name}: the outcome survives a crash"));
    }
}

/// A record whose payload does not hash to its digest is refused; it and what it covers stay gaps, and those behind
/// it in the batch are applied.
///
/// # Panics
///
/// If it is answered as if it were held, is covered, or stops the others.
pub fn a_refused_record_leaves_a_gap<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "refused");
    let other = Foreigner::new(harness, "other");
    let mut corrupt = Record::clone(&other.record(3, 30, "b", "value"));
    corrupt.payload = [&corrupt.payload[..], b"!"].concat().into();
    let covers = vec![(other.lineage.clone(), SeqSet::from(vec![(2, 2)]))];
    let corrupt = Incoming { record: Some(Arc::new(corrupt)), covers, ..Incoming::default() };
    let (before, behind) = (other.record(1, 10, "a", "value"), other.record(4, 40, "c", "value"));

    let replies = subject.apply(vec![alone(&before), corrupt, alone(&behind)]);

    let refused = matches!(replies[1], Reply::Refused { .. } | Reply::Busy { .. });
    assert!(refused, "a corrupt record was answered {:?}", replies[1]);
    assert_eq!((&replies[0], &replies[2]), (&Reply::Stored, &Reply::Stored), "its neighbours");
    assert_eq!(subject.current("b"), None, "a refused record became visible");
    subject.assert_current("c", &behind, "a record behind a refused one");
    let gap = SeqSet::from(vec![(1, 1), (4, 4)]);
    assert_eq!(subject.held(&other.lineage), gap, "a refused record and its covers stay gaps");
}

/// The frontier has exactly the dots that came, not those below them.
///
/// # Panics
///
/// If a dot that never came is covered.
pub fn a_gap_stays_a_gap<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "gap");
    let other = Foreigner::new(harness, "other");
    subject
        .apply(vec![alone(&other.record(1, 10, "a", "v")), alone(&other.record(3, 30, "c", "v"))]);
    let gap = SeqSet::from(vec![(1, 1), (3, 3)]);
    assert_eq!(subject.held(&other.lineage), gap, "dot 2 never came");
    let subject = subject.crash();
    assert_eq!(subject.held(&other.lineage), gap, "dot 2 never came, and then a crash");
    subject.apply(vec![alone(&other.record(2, 20, "b", "v"))]);
    assert_eq!(subject.held(&other.lineage), SeqSet::up_to(3), "the gap was filled");
}

/// Applying a record covers the dots it stands for; an item without a record covers its dots too. Both survive a
/// crash.
///
/// # Panics
///
/// If they are not covered.
pub fn covered_dots_come_with_their_record<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "covers");
    let (one, two) = (Foreigner::new(harness, "one"), Foreigner::new(harness, "two"));
    let current = one.record(3, 30, "key", "current");
    let covers = vec![
        (one.lineage.clone(), SeqSet::from(vec![(1, 1)])),
        (two.lineage.clone(), SeqSet::from(vec![(5, 6)])),
    ];
    let standing = Incoming { record: Some(Arc::clone(&current)), covers, ..Incoming::default() };
    let purged = vec![(two.lineage.clone(), SeqSet::from(vec![(8, 9)]))];
    let purged = Incoming { record: None, covers: purged, void: true, ..Incoming::default() };

    let replies = subject.apply(vec![standing, purged]);

    assert_eq!(replies, [Reply::Stored, Reply::Stored], "a record with covers, and covers alone");
    let check = |subject: &Subject<'_, H>, when: &str| {
        subject.assert_current("key", &current, when);
        let of_one = SeqSet::from(vec![(1, 1), (3, 3)]);
        assert_eq!(subject.held(&one.lineage), of_one, "{when}: own dot and covered one");
        let of_two = SeqSet::from(vec![(5, 6), (8, 9)]);
        assert_eq!(subject.held(&two.lineage), of_two, "{when}: covered dots of another lineage");
    };
    check(&subject, "after applying");
    check(&subject.crash(), "after a crash");
}

/// Whatever the frontier has said, it says after a crash too, and the records are there. Local writes are in it once
/// they are durable and not before.
///
/// # Panics
///
/// If the frontier shrinks in a crash, or lacks a durable write.
pub fn a_frontier_is_durable_and_never_ahead<H: StoreUnderTest>(harness: &H) {
    let mut subject = Subject::new(harness, "frontier-durable");
    let other = Foreigner::new(harness, "other");
    for start in 1..=3 {
        let key = format!("other {start}");
        let theirs = other.record(2 * start, start, &key, "value");
        subject.apply(vec![alone(&theirs)]);
        let own = subject.write("own", "value");
        // Not waited for: the frontier may have it only if a crash cannot take it.
        let perhaps = subject.stage("perhaps", &format!("{start}"));
        let told = subject.store.frontier();
        assert!(told.contains(&theirs.dot), "the frontier lacks {}, answered Stored", theirs.dot);
        assert!(told.contains(&own.dot), "the frontier lacks {}, a durable write", own.dot);
        let waited_for = told.contains(&perhaps.record.dot).then_some(perhaps.record);

        subject = subject.crash();

        let lost = told.minus(&subject.store.frontier());
        assert!(lost.is_empty(), "the frontier told of dots that a crash took: {lost:?}");
        subject.assert_current(&key, &theirs, "a dot in the frontier has lost its record");
        subject.assert_current("own", &own, "a dot in the frontier has lost its record");
        if let Some(record) = waited_for {
            subject.assert_current("perhaps", &record, "the frontier was ahead of the disk");
        }
    }
}
