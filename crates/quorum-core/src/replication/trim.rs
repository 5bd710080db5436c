//! Up to where the log by dot may be forgotten.

use crate::frontier::{Frontier, SeqSet};

/// What every member holds without a gap: log entries up to there serve nobody any more.
///
/// `members` are the frontiers of all members, this node included; a member that has not reported counts as holding
/// nothing, so leave none out.
#[must_use]
pub fn trim_floor<'a>(members: impl IntoIterator<Item = &'a Frontier>) -> Frontier {
    let mut members = members.into_iter();
    let Some(first) = members.next() else { return Frontier::new() };
    let others: Vec<&Frontier> = members.collect();
    let floor = |set: &SeqSet, lineage| {
        let elsewhere = others.iter().map(|other| other.of(lineage).map_or(0, SeqSet::contiguous));
        elsewhere.fold(set.contiguous(), u64::min)
    };
    let floors = first.iter().map(|(lineage, set)| (lineage, floor(set, lineage)));
    floors
        .filter(|(_, last)| *last > 0)
        .map(|(lineage, last)| (lineage.clone(), SeqSet::up_to(last)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::lineage;

    fn holding(set: impl Into<SeqSet>) -> Frontier {
        [(lineage("a", 1), set.into())].into_iter().collect()
    }

    #[test]
    fn the_floor_is_the_smallest_gapless_end() {
        let members = [holding(vec![(1, 9)]), holding(vec![(1, 4), (6, 9)]), holding(vec![(1, 7)])];
        assert_eq!(trim_floor(&members), holding(vec![(1, 4)]));
    }

    #[test]
    fn a_member_that_holds_nothing_keeps_everything() {
        assert!(trim_floor(&[holding(vec![(1, 9)]), Frontier::new()]).is_empty());
        assert!(trim_floor(&[holding(vec![(1, 9)]), holding(vec![(2, 9)])]).is_empty());
    }
}
