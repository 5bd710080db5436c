//! Promises of [`LogSource`](crate::LogSource): that replays and snapshots carry everything a frontier stands for.

use crate::frontier::{Frontier, SeqSet};
use crate::ports::{Incoming, ReplicaStore, Reply};
use crate::testing::promises::StoreUnderTest;
use crate::testing::promises::subject::{Foreigner, Subject, alone, covered_by};

/// A dot whose record was overwritten is replayed as the key's current record, whoever wrote that.
///
/// # Panics
///
/// If it is skipped, or replayed as something else.
pub fn an_overwritten_dot_replays_as_the_current_record<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "overwritten");
    let (one, two) = (Foreigner::new(harness, "one"), Foreigner::new(harness, "two"));
    let current = two.record(1, 30, "key", "current");
    // Overwritten by the same origin, then by another one; and one that came too late to be current at all.
    subject.apply(vec![
        alone(&one.record(1, 10, "key", "first")),
        alone(&one.record(2, 20, "key", "second")),
        alone(&current),
        alone(&one.record(3, 25, "key", "late")),
    ]);
    let wanted = SeqSet::up_to(3);

    let items = subject.replay(&one.lineage, &wanted, usize::MAX);

    let covered = covered_by(&items);
    let held = covered.of(&one.lineage).is_some_and(|set| set.covers(&wanted));
    assert!(held, "overwritten dots were skipped: of {wanted:?} only {covered:?} is covered");
    let records: Vec<_> = items.iter().filter_map(|item| item.record.as_ref()).collect();
    assert_eq!(records, [&current], "one key was wanted: its current record, once");
    let copy = Subject::new(harness, "overwritten-copy");
    copy.apply(items);
    copy.assert_current("key", &current, "a replay of overwritten dots was applied elsewhere");
    // The copy must be able to pass it on.
    let third = Subject::new(harness, "overwritten-third");
    third.apply(copy.replay(&one.lineage, &wanted, usize::MAX));
    third.assert_current("key", &current, "a replay was replayed");
    assert_eq!(third.held(&one.lineage), wanted, "a replay was replayed");
}

/// A replay covers wanted dots, each once, smallest first; it needs no more room than it was given, except that it
/// gives one item at least; and it gives nothing for dots that are not held.
///
/// # Panics
///
/// If it gives too much, too little, or in disorder.
pub fn a_replay_gives_wanted_dots_only<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "wanted");
    let other = Foreigner::new(harness, "other");
    let keys = ["d", "b", "e", "a", "c"];
    let records: Vec<_> =
        (1..).zip(keys).map(|(seq, key)| other.record(seq, seq, key, "value")).collect();
    subject.apply(records.iter().map(alone).collect());
    let seqs = |items: &[Incoming]| -> Vec<u64> {
        items.iter().filter_map(|item| item.record.as_ref()).map(|record| record.dot.seq).collect()
    };

    let wanted = SeqSet::from(vec![(2, 2), (4, 5), (7, 9)]);
    let items = subject.replay(&other.lineage, &wanted, usize::MAX);
    assert_eq!(seqs(&items), [2, 4, 5], "wanted were {wanted:?} of dots 1 to 5");
    let covered = covered_by(&items).of(&other.lineage).cloned().unwrap_or_default();
    assert_eq!(covered, SeqSet::from(vec![(2, 2), (4, 5)]), "what the items cover");

    let first = subject.replay(&other.lineage, &wanted, 1);
    assert_eq!(seqs(&first), [2], "one item at least, and no more where there is no room");

    let beyond = SeqSet::from(vec![(7, 9)]);
    let nothing = subject.replay(&other.lineage, &beyond, usize::MAX);
    assert_eq!(nothing, [], "dots 7 to 9 do not exist");
    let unknown = Foreigner::new(harness, "unknown").lineage;
    let nothing = subject.replay(&unknown, &SeqSet::up_to(9), usize::MAX);
    assert_eq!(nothing, [], "nobody has heard of that lineage");
}

/// A record that a replay has given is there after a crash.
///
/// # Panics
///
/// If a crash takes what was already passed on.
pub fn only_synced_state_is_replayed<H: StoreUnderTest>(harness: &H) {
    let subject = Subject::new(harness, "replay-synced");
    let staged = subject.stage("key", "value").record;
    let lineage = &staged.dot.lineage;
    let given = covered_by(&subject.replay(lineage, &SeqSet::up_to(1), usize::MAX));
    let subject = subject.crash();
    let lost = given.minus(&subject.store.frontier());
    assert!(lost.is_empty(), "a replay gave dots that a crash then took: {lost:?}");
}

/// A peer that asks for everything the frontier covers gets it, and holds the same current records then; also after
/// a crash.
///
/// # Panics
///
/// If the log does not give what the frontier covers.
pub fn a_frontier_is_backed_by_records<H: StoreUnderTest>(harness: &H) {
    let subject = populated(harness, "backed");
    let copy = Subject::new(harness, "backed-copy");
    subject.replay_into(&copy);
    assert_same(&subject, &copy, "everything was replayed");
    let subject = subject.crash();
    let copy = Subject::new(harness, "backed-copy-after-crash");
    subject.replay_into(&copy);
    assert_same(&subject, &copy, "everything was replayed after a crash");
}

/// Whoever reads the frontier, then every page of a snapshot, applies these, and claims that frontier only then, holds
/// what the source held.
///
/// # Panics
///
/// If the copy lacks something, or the pages do not respect their size.
pub fn a_snapshot_and_its_frontier_make_a_full_copy<H: StoreUnderTest>(harness: &H) {
    let subject = populated(harness, "snapshot");
    let frontier = subject.store.frontier();
    let pages = subject.snapshot_pages(1);
    assert!(pages.iter().all(|page| page.len() <= 1), "a page for one byte has one item at most");
    let copy = Subject::new(harness, "snapshot-copy");
    for page in pages {
        let replies = copy.apply(page);
        let stored = replies.iter().all(|reply| *reply == Reply::Stored);
        assert!(stored, "an empty store did not take a page of a snapshot: {replies:?}");
    }
    let covers = frontier.iter().map(|(lineage, set)| (lineage.clone(), set.clone())).collect();
    copy.apply(vec![Incoming { record: None, covers, ..Incoming::default() }]);
    assert_same(&subject, &copy, "a snapshot was taken and its frontier claimed");
    let copy = copy.crash();
    assert_same(&subject, &copy, "a snapshot was taken, and then the copy crashed");
    let in_one = subject.snapshot_pages(usize::MAX);
    assert!(in_one.iter().flatten().count() >= KEYS.len(), "a snapshot has every current record");
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// A store with local and foreign records, overwritten in both directions, and a gap.
fn populated<'h, H: StoreUnderTest>(harness: &'h H, member: &str) -> Subject<'h, H> {
    let subject = Subject::new(harness, member);
    let other = Foreigner::new(harness, "other");
    subject.apply(vec![
        alone(&other.record(1, 10, "a", "theirs")),
        alone(&other.record(2, 20, "b", "theirs")),
        alone(&other.record(4, 40, "c", "theirs")),
    ]);
    subject.write("a", "ours over theirs");
    subject.write("d", "ours");
    subject.write("d", "ours again");
    subject.apply(vec![alone(&other.record(5, 15, "d", "theirs, too old"))]);
    subject
}

fn assert_same<H: StoreUnderTest>(source: &Subject<'_, H>, copy: &Subject<'_, H>, when: &str) {
    for key in KEYS {
        assert_eq!(copy.current(key), source.current(key), "{when} (key {key:?}, copy and source)");
    }
    let lacking: Frontier = source.store.frontier().minus(&copy.store.frontier());
    assert!(lacking.is_empty(), "{when}: the copy's frontier lacks {lacking:?}");
}
