//! What a node durably holds of every lineage, and therefore what another one lacks.
//!
//! A frontier is a promise: for every dot it covers, the node durably holds that record, or a newer version of the
//! same key, or the key's tombstone was purged. Frontiers only grow, and merging them is commutative, associative and
//! idempotent, so they can be exchanged in any order.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::id::{Incarnation, PeerId};
use crate::version::{Dot, Epoch, Lineage, Origin};

/// First to last.
type Interval = (u64, u64);

/// A set of sequence numbers, kept as disjoint intervals.
///
/// Dense sets are small: a lineage that is fully held is one interval, which is kept in place. Sequence numbers start at
/// 1; zero is never a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(into = "Vec<(u64, u64)>"))]
pub struct SeqSet {
    /// In order; intervals neither overlap nor touch.
    intervals: SmallVec<[Interval; 1]>,
}

impl SeqSet {
    /// The set without members.
    #[must_use]
    pub const fn new() -> Self {
        Self { intervals: SmallVec::new_const() }
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
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.intervals.iter().fold(0, |sum, (first, last)| sum.saturating_add(last - first + 1))
    }

    /// How many intervals there are: the size of the set in memory and on the wire.
    #[must_use]
    pub fn interval_count(&self) -> usize {
        self.intervals.len()
    }

    /// The intervals in order, both ends included.
    pub fn intervals(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.intervals.iter().copied()
    }

    /// Whether `seq` is a member.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        self.reaching(seq).first().is_some_and(|(first, _)| *first <= seq)
    }

    /// The largest `s` such that every number of `1..=s` is a member; zero if 1 is not.
    #[must_use]
    pub fn contiguous(&self) -> u64 {
        self.intervals.first().filter(|(first, _)| *first == 1).map_or(0, |(_, last)| *last)
    }

    /// The largest member; zero if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.intervals.last().map_or(0, |(_, last)| *last)
    }

    /// Adds one number. Tells whether the set grew.
    pub fn insert(&mut self, seq: u64) -> bool {
        if let Some((_, newest)) = self.intervals.last_mut()
            && newest.checked_add(1) == Some(seq)
        {
            // The usual case by far: the next number of a dense sequence.
            *newest = seq;
            return true;
        }
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
        // Those that overlap or touch the new one become one with it.
        let from = self.intervals.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.intervals.partition_point(|(start, _)| *start <= last.saturating_add(1));
        if from == to {
            self.intervals.insert(from, (first, last));
        } else {
            let (start, end) = (self.intervals[from].0, self.intervals[to - 1].1);
            self.intervals[from] = (first.min(start), last.max(end));
            self.intervals.drain(from + 1..to);
        }
    }

    /// Takes one number out. Tells whether it was a member.
    pub fn remove(&mut self, seq: u64) -> bool {
        let at = self.intervals.partition_point(|(_, last)| *last < seq);
        let Some((first, last)) =
            self.intervals.get(at).copied().filter(|(first, _)| *first <= seq)
        else {
            return false;
        };
        match (first < seq, seq < last) {
            (true, true) => {
                self.intervals[at] = (seq + 1, last);
                self.intervals.insert(at, (first, seq - 1));
            }
            (true, false) => self.intervals[at] = (first, seq - 1),
            (false, true) => self.intervals[at] = (seq + 1, last),
            (false, false) => drop(self.intervals.remove(at)),
        }
        true
    }

    /// Adds every member of `other`.
    pub fn merge(&mut self, other: &Self) {
        match other.intervals.as_slice() {
            [] => {}
            [(first, last)] => self.insert_range(*first, *last),
            // Two runs in order, which sorting takes advantage of.
            _ => *self = self.intervals().chain(other.intervals()).collect::<Vec<_>>().into(),
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
            for (held_first, held_last) in other.reaching(first) {
                let Some(open) = next.filter(|_| *held_first <= last) else { break };
                if *held_first > open {
                    rest.intervals.push((open, held_first - 1));
                }
                next = held_last.checked_add(1);
            }
            if let Some(open) = next.filter(|open| *open <= last) {
                rest.intervals.push((open, last));
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
        other.intervals().all(|(first, last)| {
            self.reaching(first).first().is_some_and(|(start, end)| *start <= first && last <= *end)
        })
    }

    /// The intervals from the first one on that ends at `seq` or later.
    fn reaching(&self, seq: u64) -> &[Interval] {
        &self.intervals[self.intervals.partition_point(|(_, last)| *last < seq)..]
    }
}

impl From<Vec<(u64, u64)>> for SeqSet {
    /// Any list of ranges makes a valid set: overlaps melt, empty and zero ranges vanish.
    fn from(mut ranges: Vec<(u64, u64)>) -> Self {
        // In order, each is added at the end: a list from elsewhere costs no more than its sorting.
        ranges.sort();
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
        set.intervals.into_vec()
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
        Beside { here: self.held.iter(), there: there.held.iter().peekable() }
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

/// Walks through two frontiers side by side, for all lineages of the first.
struct Beside<'here, 'there> {
    here: btree_map::Iter<'here, Lineage, SeqSet>,
    there: Peekable<btree_map::Iter<'there, Lineage, SeqSet>>,
}

impl<'here, 'there> Iterator for Beside<'here, 'there> {
    type Item = (&'here Lineage, &'here SeqSet, Option<&'there SeqSet>);

    fn next(&mut self) -> Option<Self::Item> {
        let (lineage, set) = self.here.next()?;
        while let Some((other, held)) = self.there.peek() {
            match (*other).cmp(lineage) {
                Ordering::Less => drop(self.there.next()),
                Ordering::Equal => return Some((lineage, set, Some(*held))),
                Ordering::Greater => break,
            }
        }
        Some((lineage, set, None))
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

    proptest! {
        #[test]
        fn interval_sets_behave_as_plain_sets(a in ranges(), b in ranges(), gone in 0_u64..70) {
            let (plain_a, plain_b) = (naive(&a), naive(&b));
            let (set_a, set_b) = (SeqSet::from(a), SeqSet::from(b));
            prop_assert_eq!(&members(&set_a), &plain_a);
            prop_assert_eq!(set_a.len(), plain_a.len() as u64);
            prop_assert_eq!(members(&set_a.minus(&set_b)), &plain_a - &plain_b);
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
    }
}
