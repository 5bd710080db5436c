//! What a node durably holds of every lineage, and therefore what another one lacks.
//!
//! A frontier is a promise: for every dot it covers, the node durably holds that record, or a newer version of the
//! same key, or the key's tombstone was purged. Frontiers only grow, and merging them is commutative, associative and
//! idempotent, so they can be exchanged in any order.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

use crate::id::{Incarnation, PeerId};
use crate::version::{Dot, Epoch, Lineage, Origin};

/// First to last, both included.
type Interval = (u64, u64);

/// A set of sequence numbers, kept as disjoint intervals.
///
/// Dense sets are small: a lineage that is fully held is one interval, which is kept in place. Sequence numbers start at
/// 1; zero is never a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(into = "Vec<(u64, u64)>"))]
pub struct SeqSet {
    /// The last interval; none if the set is empty.
    newest: Option<Interval>,
    /// First to last of all others. No two intervals of a set overlap or touch.
    older: BTreeMap<u64, u64>,
}

impl SeqSet {
    /// The set without members.
    #[must_use]
    pub const fn new() -> Self {
        Self { newest: None, older: BTreeMap::new() }
    }

    /// The set `1..=last`.
    #[must_use]
    pub fn up_to(last: u64) -> Self {
        let mut set = Self::new();
        set.insert_range(1, last);
        set
    }

    /// Whether there are no members.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.intervals().fold(0, |sum, (first, last)| sum.saturating_add(last - first + 1))
    }

    /// How many intervals there are: the size of the set in memory and on the wire.
    #[must_use]
    pub fn interval_count(&self) -> usize {
        self.older.len() + usize::from(self.newest.is_some())
    }

    /// The intervals in order, both ends included.
    pub fn intervals(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.older.iter().map(|(first, last)| (*first, *last)).chain(self.newest)
    }

    /// Whether `seq` is a member.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        self.around(seq).is_some()
    }

    /// The largest `s` such that every number of `1..=s` is a member; zero if 1 is not.
    #[must_use]
    pub fn contiguous(&self) -> u64 {
        self.intervals().next().filter(|(first, _)| *first == 1).map_or(0, |(_, last)| last)
    }

    /// The largest member; zero if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.newest.map_or(0, |(_, last)| last)
    }

    /// Adds one number. Tells whether the set grew.
    pub fn insert(&mut self, seq: u64) -> bool {
        let is_new = seq != 0 && !self.contains(seq);
        if is_new {
            self.insert_range(seq, seq);
        }
        is_new
    }

    /// Adds `first..=last`. An empty range and zero add nothing.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        let first = first.max(1);
        if first > last {
            return;
        }
        match &mut self.newest {
            None => self.newest = Some((first, last)),
            // The usual case by far: the next numbers of a dense sequence, or some of its own.
            Some((start, end)) if *start <= first && first <= end.saturating_add(1) => {
                *end = last.max(*end);
            }
            Some((start, end)) if *end < first => {
                self.older.insert(*start, *end);
                self.newest = Some((first, last));
            }
            Some(_) => self.change(|intervals| insert_among(intervals, first, last)),
        }
    }

    /// Takes one number out. Tells whether it was a member.
    pub fn remove(&mut self, seq: u64) -> bool {
        let Some((first, last)) = self.around(seq) else { return false };
        self.change(|intervals| {
            intervals.remove(&first);
            if first < seq {
                intervals.insert(first, seq - 1);
            }
            if seq < last {
                intervals.insert(seq + 1, last);
            }
        });
        true
    }

    /// Adds every member of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (first, last) in other.intervals() {
            self.insert_range(first, last);
        }
    }

    /// The members that are in `other` too.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// The members of this set that `other` lacks.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = Self::new();
        for (first, last) in self.intervals() {
            // The first number not yet accounted for; none once an interval reaches the largest.
            let mut next = Some(first);
            for (held_first, held_last) in other.between(first, last) {
                let Some(open) = next else { break };
                if held_first > open {
                    rest.insert_range(open, held_first - 1);
                }
                next = held_last.checked_add(1);
            }
            if let Some(open) = next.filter(|open| *open <= last) {
                rest.insert_range(open, last);
            }
        }
        rest
    }

    /// The numbers below the largest member that are missing.
    #[must_use]
    pub fn gaps(&self) -> Self {
        Self::up_to(self.last()).minus(self)
    }

    /// Whether every member of `other` is one of this set.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .intervals()
            .all(|(first, last)| self.around(first).is_some_and(|(_, end)| last <= end))
    }

    /// The interval that `seq` is in.
    fn around(&self, seq: u64) -> Option<Interval> {
        let below = self.newest.filter(|(first, _)| *first <= seq);
        let below = below.or_else(|| self.older_below(seq));
        below.filter(|(_, last)| seq <= *last)
    }

    /// The last of the older intervals that begin at `seq` or before.
    fn older_below(&self, seq: u64) -> Option<Interval> {
        self.older.range(..=seq).next_back().map(|(first, last)| (*first, *last))
    }

    /// The intervals in order that have a number of `first..=last`.
    fn between(&self, first: u64, last: u64) -> impl Iterator<Item = Interval> + '_ {
        let from = self.older_below(first).filter(|(_, end)| first <= *end);
        let from = from.map_or(first, |(start, _)| start);
        let older = self.older.range(from..=last).map(|(start, end)| (*start, *end));
        older.chain(self.newest.filter(|(start, end)| *start <= last && first <= *end))
    }

    /// Changes the intervals all together.
    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<u64, u64>)) {
        self.older.extend(self.newest.take());
        change(&mut self.older);
        self.newest = self.older.pop_last();
        if self.older.is_empty() {
            // An emptied tree keeps its root.
            self.older = BTreeMap::new();
        }
    }
}

/// Adds an interval, which is not empty, and makes it one with those that it overlaps or touches.
fn insert_among(intervals: &mut BTreeMap<u64, u64>, mut first: u64, mut last: u64) {
    let touching: Vec<Interval> = intervals
        .range(..=last.saturating_add(1))
        .rev()
        .take_while(|(_, end)| end.saturating_add(1) >= first)
        .map(|(start, end)| (*start, *end))
        .collect();
    for (start, end) in touching {
        intervals.remove(&start);
        first = first.min(start);
        last = last.max(end);
    }
    intervals.insert(first, last);
}

impl From<Vec<(u64, u64)>> for SeqSet {
    /// Any list of ranges makes a valid set: overlaps melt, empty and zero ranges vanish.
    fn from(ranges: Vec<(u64, u64)>) -> Self {
        let mut set = Self::new();
        for (first, last) in ranges {
            set.insert_range(first, last);
        }
        set
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for SeqSet {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::wary_list::deserialize::<D, (u64, u64)>(from).map(Self::from)
    }
}

impl From<SeqSet> for Vec<(u64, u64)> {
    fn from(set: SeqSet) -> Self {
        set.intervals().collect()
    }
}

/// The frontier of a node: a [`SeqSet`] for every lineage it has heard of. Cloning is cheap: clones share what they
/// hold until one of them changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Frontier {
    held: Arc<BTreeMap<Lineage, SeqSet>>,
}

impl Frontier {
    /// The frontier of a node that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is held of one lineage.
    #[must_use]
    pub fn of(&self, lineage: &Lineage) -> Option<&SeqSet> {
        self.held.get(lineage)
    }

    /// Every lineage with what is held of it.
    pub fn iter(&self) -> impl Iterator<Item = (&Lineage, &SeqSet)> {
        self.held.iter()
    }

    /// What is held of all that a member wrote, lineage by lineage.
    #[must_use]
    pub fn of_member(&self, member: &PeerId) -> Self {
        let first = Lineage {
            origin: Origin { node: member.clone(), incarnation: Incarnation::from_bytes([0; 8]) },
            epoch: Epoch::from_u64(0),
        };
        let theirs = self.held.range(first..);
        let theirs = theirs.take_while(|(lineage, _)| lineage.origin.node == *member);
        let theirs = theirs.map(|(lineage, set)| (lineage.clone(), set.clone()));
        Self { held: Arc::new(theirs.collect()) }
    }

    /// Whether the dot is covered.
    #[must_use]
    pub fn contains(&self, dot: &Dot) -> bool {
        self.of(&dot.lineage).is_some_and(|set| set.contains(dot.seq))
    }

    /// Covers one dot. Tells whether the frontier grew.
    pub fn insert(&mut self, dot: &Dot) -> bool {
        self.entry(&dot.lineage).insert(dot.seq)
    }

    /// Uncovers one dot: for sets of dots under way, never for what is held.
    pub fn remove(&mut self, dot: &Dot) -> bool {
        // Looked up first, so that nothing is copied for nothing.
        self.contains(dot) && self.entry(&dot.lineage).remove(dot.seq)
    }

    /// Covers `first..=last` of a lineage.
    pub fn insert_range(&mut self, lineage: &Lineage, first: u64, last: u64) {
        self.entry(lineage).insert_range(first, last);
    }

    /// Covers everything that `other` covers.
    pub fn merge(&mut self, other: &Self) {
        if Arc::ptr_eq(&self.held, &other.held) {
            return;
        }
        let is_new =
            |set: &SeqSet, held: Option<&SeqSet>| held.is_none_or(|held| !held.covers(set));
        let news: Vec<(&Lineage, &SeqSet)> = other
            .beside(self)
            .filter_map(|(lineage, set, held)| is_new(set, held).then_some((lineage, set)))
            .collect();
        for (lineage, set) in news {
            self.entry(lineage).merge(set);
        }
    }

    /// What is in both.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// What this frontier covers and `other` does not, lineage by lineage, empty ones left out.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        if Arc::ptr_eq(&self.held, &other.held) {
            return Self::new();
        }
        let rest = |(lineage, set, held): (&Lineage, &SeqSet, Option<&SeqSet>)| {
            let lacking = held.map_or_else(|| set.clone(), |held| set.minus(held));
            (!lacking.is_empty()).then(|| (lineage.clone(), lacking))
        };
        Self { held: Arc::new(self.beside(other).filter_map(rest).collect()) }
    }

    /// Becomes `now`, and gives what that covers beyond what was covered before: what is to be told to whoever was told
    /// the rest.
    pub fn advance_to(&mut self, now: Self) -> Option<Self> {
        let more = now.minus(self);
        *self = now;
        (!more.is_empty()).then_some(more)
    }

    /// The first intervals of this frontier, lineage by lineage, at most so many.
    #[must_use]
    pub fn clipped(&self, intervals_max: usize) -> Self {
        let all = self
            .held
            .iter()
            .flat_map(|(lineage, set)| set.intervals().map(move |interval| (lineage, interval)));
        let mut clipped = Self::new();
        for (lineage, (first, last)) in all.take(intervals_max) {
            clipped.insert_range(lineage, first, last);
        }
        clipped
    }

    /// Keeps only the lineages that `keep` approves.
    pub fn retain(&mut self, mut keep: impl FnMut(&Lineage) -> bool) {
        Arc::make_mut(&mut self.held).retain(|lineage, _| keep(lineage));
    }

    /// How many dots are covered.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.held.values().fold(0, |sum, set| sum.saturating_add(set.len()))
    }

    /// Whether no dot is covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.values().all(SeqSet::is_empty)
    }

    /// Whether everything that `other` covers is covered here.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let is_covered = |set: &SeqSet, held: Option<&SeqSet>| {
            set.is_empty() || held.is_some_and(|held| held.covers(set))
        };
        other.beside(self).all(|(_, set, held)| is_covered(set, held))
    }

    /// Every lineage with what is held of it here, and there.
    fn beside<'here, 'there>(&'here self, there: &'there Self) -> Beside<'here, 'there> {
        // A few are looked up; most are found on one way through both.
        let is_small = self.held.len() * Beside::LOOK_UP_BELOW <= there.held.len();
        let there = if is_small {
            There::LookUp(&there.held)
        } else {
            There::Walk(there.held.iter().peekable())
        };
        Beside { here: self.held.iter(), there }
    }

    fn entry(&mut self, lineage: &Lineage) -> &mut SeqSet {
        let held = Arc::make_mut(&mut self.held);
        // Looked up first, so that the usual case does not clone the lineage.
        if !held.contains_key(lineage) {
            held.insert(lineage.clone(), SeqSet::new());
        }
        held.get_mut(lineage).expect("inserted above if it was missing")
    }
}

/// All lineages of one frontier, each with what another one covers of it.
struct Beside<'here, 'there> {
    here: btree_map::Iter<'here, Lineage, SeqSet>,
    there: There<'there>,
}

enum There<'a> {
    LookUp(&'a BTreeMap<Lineage, SeqSet>),
    Walk(Peekable<btree_map::Iter<'a, Lineage, SeqSet>>),
}

impl Beside<'_, '_> {
    /// The other frontier is walked through unless it has so many times the lineages.
    const LOOK_UP_BELOW: usize = 8;
}

impl<'here, 'there> Iterator for Beside<'here, 'there> {
    type Item = (&'here Lineage, &'here SeqSet, Option<&'there SeqSet>);

    fn next(&mut self) -> Option<Self::Item> {
        let (lineage, set) = self.here.next()?;
        let held = match &mut self.there {
            There::LookUp(there) => there.get(lineage),
            There::Walk(there) => {
                while there.next_if(|(other, _)| *other < lineage).is_some() {}
                there.next_if(|(other, _)| *other == lineage).map(|(_, held)| held)
            }
        };
        Some((lineage, set, held))
    }
}

impl FromIterator<(Lineage, SeqSet)> for Frontier {
    fn from_iter<I: IntoIterator<Item = (Lineage, SeqSet)>>(sets: I) -> Self {
        let mut frontier = Self::new();
        for (lineage, set) in sets {
            frontier.entry(&lineage).merge(&set);
        }
        frontier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_dense_sequence_is_one_interval() {
        let mut set = SeqSet::new();
        for seq in 1..=1_000 {
            assert!(set.insert(seq));
        }
        assert_eq!((set.interval_count(), set.contiguous(), set.len()), (1, 1_000, 1_000));
        assert!(!set.insert(500));
    }

    #[test]
    fn a_gap_holds_the_contiguous_end_back_until_it_is_filled() {
        let mut set = SeqSet::from(vec![(1, 4), (6, 9)]);
        assert_eq!((set.contiguous(), set.last()), (4, 9));
        assert_eq!(set.gaps(), SeqSet::from(vec![(5, 5)]));
        set.insert(5);
        assert_eq!(set, SeqSet::up_to(9));
    }

    #[test]
    fn the_largest_number_neither_overflows_nor_is_lost() {
        let mut set = SeqSet::from(vec![(u64::MAX - 1, u64::MAX), (0, 0)]);
        assert!(set.contains(u64::MAX) && !set.contains(0));
        assert!(!set.insert(u64::MAX));
        assert_eq!(SeqSet::up_to(u64::MAX).minus(&set).last(), u64::MAX - 2);
        assert!(set.minus(&SeqSet::up_to(u64::MAX)).is_empty());
    }

    fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec(
            (0_u64..60, 0_u64..8).prop_map(|(first, len)| (first, first + len)),
            0..12,
        )
    }

    fn naive(ranges: &[(u64, u64)]) -> BTreeSet<u64> {
        ranges.iter().flat_map(|(first, last)| *first..=*last).filter(|seq| *seq != 0).collect()
    }

    fn members(set: &SeqSet) -> BTreeSet<u64> {
        set.intervals().flat_map(|(first, last)| first..=last).collect()
    }

    /// One of thirty lineages, of six members.
    fn of(lineage: u64) -> Lineage {
        crate::replication::tests::lineage(&format!("m{}", lineage % 6), lineage)
    }

    fn dots() -> impl Strategy<Value = Vec<(u64, Vec<(u64, u64)>)>> {
        prop::collection::vec((0_u64..30, ranges()), 0..40)
    }

    fn plain(dots: &[(u64, Vec<(u64, u64)>)]) -> BTreeSet<(u64, u64)> {
        let of_one = |(lineage, ranges): &(u64, Vec<(u64, u64)>)| {
            let lineage = *lineage;
            naive(ranges).into_iter().map(move |seq| (lineage, seq))
        };
        dots.iter().flat_map(of_one).collect()
    }

    fn frontier(dots: &[(u64, Vec<(u64, u64)>)]) -> Frontier {
        dots.iter().map(|(lineage, ranges)| (of(*lineage), ranges.clone().into())).collect()
    }

    fn all(frontier: &Frontier) -> BTreeSet<(u64, u64)> {
        let of_one = |(lineage, set): (&Lineage, &SeqSet)| {
            let number = lineage.epoch.start();
            members(set).into_iter().map(move |seq| (number, seq))
        };
        frontier.iter().flat_map(of_one).collect()
    }

    proptest! {
        #[test]
        fn interval_sets_behave_as_plain_sets(a in ranges(), b in ranges(), gone in 0_u64..70) {
            let (plain_a, plain_b) = (naive(&a), naive(&b));
            let (set_a, set_b) = (SeqSet::from(a), SeqSet::from(b));
            prop_assert_eq!(&members(&set_a), &plain_a);
            prop_assert_eq!(set_a.len(), plain_a.len() as u64);
            prop_assert_eq!(members(&set_a.minus(&set_b)), &plain_a - &plain_b);
            prop_assert_eq!(members(&set_a.common(&set_b)), &plain_a & &plain_b);
            prop_assert_eq!(set_a.last(), plain_a.last().copied().unwrap_or(0));
            let contiguous = (1..).take_while(|seq| plain_a.contains(seq)).last().unwrap_or(0);
            prop_assert_eq!(set_a.contiguous(), contiguous);
            prop_assert_eq!(set_a.is_empty(), plain_a.is_empty());
            let mut one_more = set_a.clone();
            prop_assert_eq!(one_more.insert(gone), gone != 0 && !plain_a.contains(&gone));
            prop_assert_eq!(one_more.contains(gone), gone != 0);
            prop_assert_eq!(set_a.covers(&set_b), plain_a.is_superset(&plain_b));
            let mut merged = set_a.clone();
            merged.merge(&set_b);
            prop_assert_eq!(members(&merged), &plain_a | &plain_b);
            let mut fewer = set_a;
            prop_assert_eq!(fewer.remove(gone), plain_a.contains(&gone));
            let mut plain_fewer = plain_a;
            plain_fewer.remove(&gone);
            prop_assert_eq!(&members(&fewer), &plain_fewer);
            // Equal sets have equal intervals: none touch.
            let rebuilt: SeqSet = plain_fewer.iter().map(|seq| (*seq, *seq)).collect::<Vec<_>>().into();
            prop_assert_eq!(fewer, rebuilt);
        }

        /// With as many lineages on both sides, and with a few on one of them.
        #[test]
        fn frontiers_behave_as_plain_sets_of_dots(
            a in dots(), b in dots(), few in prop::collection::vec((0_u64..30, ranges()), 0..3),
        ) {
            for (a, b) in [(&a, &b), (&a, &few), (&few, &b)] {
                let (plain_a, plain_b) = (plain(a), plain(b));
                let (held_a, held_b) = (frontier(a), frontier(b));
                prop_assert_eq!(all(&held_a.minus(&held_b)), &plain_a - &plain_b);
                prop_assert_eq!(all(&held_a.common(&held_b)), &plain_a & &plain_b);
                prop_assert_eq!(held_a.covers(&held_b), plain_a.is_superset(&plain_b));
                prop_assert!(held_a.minus(&held_b).iter().all(|(_, set)| !set.is_empty()));
                let mut merged = held_a.clone();
                merged.merge(&held_b);
                prop_assert_eq!(all(&merged), &plain_a | &plain_b);
                prop_assert_eq!(merged.clone().advance_to(held_a.clone()), None);
                for member in 0..6 {
                    let theirs = held_a.of_member(&of(member).origin.node);
                    let plain = plain_a.iter().filter(|(lineage, _)| lineage % 6 == member);
                    prop_assert_eq!(all(&theirs), plain.copied().collect());
                }
            }
        }
    }
}
