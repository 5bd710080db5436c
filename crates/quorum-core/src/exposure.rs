//! How many writes have too few copies, and which of them is the oldest. Known exactly, because frontiers say who holds
//! what.

use crate::frontier::{Frontier, SeqSet};
use crate::version::{Dot, Lineage};

/// The writes that a member holds, by how many members hold them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exposure {
    /// At `k - 1`: writes that exactly `k` members hold.
    by_copies: Vec<u64>,
    /// At `k - 1`: the first write of every lineage that exactly `k` members hold.
    first: Vec<Vec<Dot>>,
}

impl Exposure {
    /// Compares what is held here with what the `others` hold.
    #[must_use]
    pub fn of(held: &Frontier, others: &[&Frontier]) -> Self {
        let members = others.len() + 1;
        let mut exposure = Self { by_copies: vec![0; members], first: vec![Vec::new(); members] };
        for (lineage, here) in held.iter() {
            let elsewhere: Vec<&SeqSet> =
                others.iter().filter_map(|other| other.of(lineage)).collect();
            exposure.add(lineage, here, &elsewhere);
        }
        exposure
    }

    /// Goes along the sequence, from one place to the next at which some member's holdings begin or end.
    fn add(&mut self, lineage: &Lineage, here: &SeqSet, elsewhere: &[&SeqSet]) {
        let mut turns: Vec<(u64, bool, i64)> = Vec::new();
        let mut turn = |set: &SeqSet, is_here: bool| {
            for (first, last) in set.intervals() {
                turns.push((first, is_here, 1));
                turns.push((last.saturating_add(1), is_here, -1));
            }
        };
        turn(here, true);
        elsewhere.iter().for_each(|set| turn(set, false));
        turns.sort_unstable();
        let (mut is_held, mut copies, mut from) = (0, 0, 0);
        let mut is_first = vec![true; self.by_copies.len()];
        for (at, is_here, step) in turns {
            if is_held > 0 && at > from {
                let exactly = usize::try_from(copies).unwrap_or(0);
                self.by_copies[exactly] += at - from;
                if std::mem::take(&mut is_first[exactly]) {
                    self.first[exactly].push(Dot { lineage: lineage.clone(), seq: from });
                }
            }
            from = at;
            if is_here {
                is_held += step;
            } else {
                copies += step;
            }
        }
    }

    /// Writes that exactly `k` members hold, at `k - 1`.
    #[must_use]
    pub fn by_copies(&self) -> &[u64] {
        &self.by_copies
    }

    /// Writes that fewer than `copies` members hold.
    #[must_use]
    pub fn below(&self, copies: usize) -> u64 {
        self.by_copies.iter().take(copies.saturating_sub(1)).sum()
    }

    /// Of every lineage the first write that fewer than `copies` members hold: the oldest is among them, because the
    /// writes of a lineage are numbered in the order of time.
    pub fn first_below(&self, copies: usize) -> impl Iterator<Item = &Dot> {
        self.first.iter().take(copies.saturating_sub(1)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::lineage;
    use proptest::prelude::*;

    fn holding(set: impl Into<SeqSet>) -> Frontier {
        [(lineage("a", 1), set.into())].into_iter().collect()
    }

    #[test]
    fn writes_are_counted_by_their_copies() {
        let held = holding(vec![(1, 10)]);
        let (b, c) = (holding(vec![(1, 6)]), holding(vec![(1, 3), (8, 20)]));
        let exposure = Exposure::of(&held, &[&b, &c]);
        // 1..=3 everywhere, 4..=6 at b, 7 nowhere else, 8..=10 at c.
        assert_eq!(exposure.by_copies(), [1, 6, 3]);
        assert_eq!((exposure.below(2), exposure.below(3)), (1, 7));
        let first: Vec<u64> = exposure.first_below(2).map(|dot| dot.seq).collect();
        assert_eq!(first, [7]);
        assert_eq!(exposure.first_below(3).map(|dot| dot.seq).min(), Some(4));
    }

    #[test]
    fn nothing_is_exposed_where_everybody_has_everything() {
        let held = holding(vec![(1, 1_000_000)]);
        let exposure = Exposure::of(&held, &[&held, &held]);
        assert_eq!((exposure.below(3), exposure.by_copies()[2]), (0, 1_000_000));
        assert_eq!(Exposure::of(&Frontier::new(), &[&held]).by_copies(), [0, 0]);
    }

    proptest! {
        /// Against counting one by one.
        #[test]
        fn the_sweep_counts_what_counting_counts(
            sets in prop::collection::vec(prop::collection::vec(1_u64..30, 0..20), 1..5),
        ) {
            let sets: Vec<SeqSet> = sets
                .into_iter()
                .map(|seqs| {
                    let mut set = SeqSet::new();
                    seqs.into_iter().for_each(|seq| { set.insert(seq); });
                    set
                })
                .collect();
            let frontiers: Vec<Frontier> = sets.iter().cloned().map(holding).collect();
            let others: Vec<&Frontier> = frontiers[1..].iter().collect();
            let exposure = Exposure::of(&frontiers[0], &others);
            let mut counted = vec![0; sets.len()];
            for seq in (1..30).filter(|seq| sets[0].contains(*seq)) {
                counted[sets[1..].iter().filter(|set| set.contains(seq)).count()] += 1;
            }
            prop_assert_eq!(exposure.by_copies(), counted);
        }
    }
}
