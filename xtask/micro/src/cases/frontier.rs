//! What is held, and what another one lacks: sets of numbers, and frontiers of many lineages.

use std::hint::black_box;

use quorum_core::{Dot, Frontier, SeqSet};

use super::records::lineage;
use crate::case::{Case, Repeat, each};

pub(crate) const CASES: &[Case] = &[
    Case::counted("seqs/insert-next", 10_000, insert_next),
    Case::counted("seqs/insert-256-shuffled", 100, insert_shuffled),
    Case::counted("seqs/minus-256-intervals", 100, minus_intervals),
    Case::counted("frontier/insert-next", 10_000, frontier_insert),
    Case::counted("frontier/merge-3-lineages", 1_000, || merge(3, 1)),
    Case::counted("frontier/merge-50-lineages-with-gaps", 20, || merge(50, 8)),
    Case::counted("frontier/minus-3-lineages", 1_000, || minus(3, 1)),
    Case::counted("frontier/minus-50-lineages-with-gaps", 20, || minus(50, 8)),
];

/// The next number of a dense sequence.
fn insert_next() -> Repeat {
    let (mut set, mut seq) = (SeqSet::new(), 0);
    each(move || {
        seq += 1;
        set.insert(black_box(seq))
    })
}

/// A whole set out of the numbers 1 to 256 in no order: intervals come and melt.
fn insert_shuffled() -> Repeat {
    // 3 generates all numbers below the prime 257.
    let powers = std::iter::successors(Some(1), |power| Some(power * 3 % 257));
    let shuffled: Vec<u64> = powers.take(256).collect();
    each(move || {
        let mut set = SeqSet::new();
        for seq in &shuffled {
            set.insert(black_box(*seq));
        }
        assert_eq!(set.interval_count(), 1, "all numbers up to 256");
    })
}

fn minus_intervals() -> Repeat {
    let (one, other) = (with_gaps(256, 0), with_gaps(256, 1));
    each(move || black_box(&one).minus(black_box(&other)))
}

/// A dot of the third of three lineages.
fn frontier_insert() -> Repeat {
    let mut frontier = frontier(3, 1, 0);
    let mut dot =
        Dot { lineage: lineage(3), seq: frontier.of(&lineage(3)).map_or(0, SeqSet::last) };
    each(move || {
        dot.seq += 1;
        frontier.insert(black_box(&dot))
    })
}

/// A copy of one frontier covers all of another, of which each has numbers that the other lacks.
fn merge(lineages: u64, intervals: u64) -> Repeat {
    let (one, other) = (frontier(lineages, intervals, 0), frontier(lineages, intervals, 1));
    each(move || {
        let mut merged = one.clone();
        merged.merge(black_box(&other));
        merged
    })
}

fn minus(lineages: u64, intervals: u64) -> Repeat {
    let (one, other) = (frontier(lineages, intervals, 1), frontier(lineages, intervals, 0));
    each(move || black_box(&one).minus(black_box(&other)))
}

fn frontier(lineages: u64, intervals: u64, shift: u64) -> Frontier {
    (1..=lineages).map(|node| (lineage(node), with_gaps(intervals, shift))).collect()
}

/// So many intervals of six numbers with gaps of four, moved on by `shift`.
fn with_gaps(intervals: u64, shift: u64) -> SeqSet {
    let interval = |at| (10 * at + 1 + shift, 10 * at + 6 + shift);
    (0..intervals).map(interval).collect::<Vec<_>>().into()
}
