//! Anti-entropy by frontiers: what a member that lacks records asks of whom.
//!
//! The one who lacks decides, because only it knows what it already asked for elsewhere. Every dot that some member
//! within reach holds is wanted of exactly one of them, except what its own coordinator is sending anyway.

use std::collections::{BTreeMap, BTreeSet};

use crate::frontier::{Frontier, SeqSet};
use crate::id::PeerId;
use crate::planted::{self, Bug};
use crate::version::Lineage;

/// What somebody who knows the frontiers of all members within reach sees.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Reach<'a> {
    /// What we hold.
    pub ours: &'a Frontier,
    /// The lineage in which we number our writes now: others may hold more of it than we do, while our own sync is under
    /// way.
    pub current: &'a Lineage,
    /// What every member that can answer us holds, as far as it told us.
    pub holders: &'a BTreeMap<PeerId, Frontier>,
    /// The members that are sending us their own writes of this life, by the lineage in which each numbers them now.
    pub pushing: &'a [Lineage],
    /// Members that are not sending yet and are likely to begin any moment: what they wrote is left to them.
    pub expected: &'a [PeerId],
    /// Holders that did not send what was wanted of them: only what nobody else holds is wanted of these.
    pub slow: &'a BTreeSet<PeerId>,
}

/// What to ask of whom, so that we end up with all that the holders have.
///
/// The same sight gives the same plan. Lineages are spread over those who hold them, each dot is wanted of one holder.
#[must_use]
pub fn wants(reach: Reach<'_>) -> BTreeMap<PeerId, Frontier> {
    let mut wants: BTreeMap<PeerId, Frontier> = BTreeMap::new();
    for (lineage, lacking) in lacking(&reach) {
        let mut left = lacking;
        let (slow, quick): (Vec<_>, Vec<_>) =
            in_turn(reach.holders, &lineage).partition(|holder| reach.slow.contains(*holder));
        for holder in quick.into_iter().chain(slow) {
            let held = reach.holders[holder].of(&lineage).cloned().unwrap_or_default();
            let theirs = left.common(&held);
            if !theirs.is_empty() {
                left = left.minus(&theirs);
                let wanted = wants.entry(holder.clone()).or_default();
                theirs
                    .intervals()
                    .for_each(|(first, last)| wanted.insert_range(&lineage, first, last));
            }
        }
    }
    wants
}

/// What we lack, others have, and nobody sends unasked.
fn lacking(reach: &Reach<'_>) -> BTreeMap<Lineage, SeqSet> {
    // What somebody holds and we do not: little, and most of it on its way, as long as all goes well.
    let mut lacking = Frontier::new();
    reach.holders.values().for_each(|held| lacking.merge(&held.minus(reach.ours)));
    let is_coming = |lineage: &Lineage| {
        lineage == reach.current
            || reach.pushing.contains(lineage)
            || reach.expected.contains(&lineage.origin.node)
    };
    let left = |lineage: &Lineage, set: &SeqSet| match pushed(reach, lineage) {
        Some(pushed) => set.minus(pushed),
        None => set.clone(),
    };
    lacking
        .iter()
        .filter(|(lineage, _)| !is_coming(lineage))
        .filter(|(lineage, _)| {
            !planted::is(Bug::OwnWritesNotWanted) || lineage.origin != reach.current.origin
        })
        .map(|(lineage, set)| (lineage.clone(), left(lineage, set)))
        .filter(|(_, set)| !set.is_empty())
        .collect()
}

/// What a member that is sending us its own writes holds of an earlier start of this life, if it is one. What it has lost
/// itself it cannot send.
fn pushed<'a>(reach: &Reach<'a>, lineage: &Lineage) -> Option<&'a SeqSet> {
    reach.pushing.iter().find(|pushing| pushing.origin == lineage.origin)?;
    reach.holders.get(&lineage.origin.node)?.of(lineage)
}

/// The holders, beginning with another one for every lineage, so that none of them bears everything.
fn in_turn<'a>(
    holders: &'a BTreeMap<PeerId, Frontier>,
    lineage: &Lineage,
) -> impl Iterator<Item = &'a PeerId> {
    let name = lineage.epoch.as_u64() ^ u64::from_le_bytes(*lineage.origin.incarnation.as_bytes());
    // Multiplied so that names which differ in a few bits begin at different holders (Knuth, volume 3, section 6.4).
    let mixed = name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let begin = usize::try_from(mixed % holders.len().max(1) as u64).unwrap_or(0);
    holders.keys().cycle().skip(begin).take(holders.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::{lineage, peer};

    fn holding(sets: &[(Lineage, Vec<(u64, u64)>)]) -> Frontier {
        sets.iter().map(|(of, set)| (of.clone(), SeqSet::from(set.clone()))).collect()
    }

    fn plan(
        ours: &Frontier,
        holders: &[(&str, Frontier)],
        pushing: &[Lineage],
    ) -> Vec<(PeerId, Frontier)> {
        let holders = holders.iter().map(|(name, held)| (peer(name), held.clone())).collect();
        let current = &lineage("us", 2);
        let reach = Reach {
            ours,
            current,
            holders: &holders,
            pushing,
            expected: &[],
            slow: &BTreeSet::new(),
        };
        wants(reach).into_iter().collect()
    }

    #[test]
    fn what_a_member_wrote_that_may_come_any_moment_is_left_to_it() {
        let held =
            holding(&[(lineage("late", 1), vec![(1, 9)]), (lineage("dead", 1), vec![(1, 2)])]);
        let holders = [(peer("b"), held)].into_iter().collect();
        let (ours, current, expected) = (Frontier::new(), lineage("us", 2), [peer("late")]);
        let reach = Reach {
            ours: &ours,
            current: &current,
            holders: &holders,
            pushing: &[],
            expected: &expected,
            slow: &BTreeSet::new(),
        };
        let dead = holding(&[(lineage("dead", 1), vec![(1, 2)])]);
        assert_eq!(wants(reach), [(peer("b"), dead)].into_iter().collect());
    }

    #[test]
    fn what_several_hold_is_wanted_of_one_and_what_one_holds_of_that_one() {
        let (dead, ours) = (lineage("dead", 1), holding(&[(lineage("dead", 1), vec![(1, 2)])]));
        let holders = [
            ("b", holding(&[(dead.clone(), vec![(1, 6)])])),
            ("c", holding(&[(dead.clone(), vec![(1, 4), (9, 9)])])),
        ];
        let wanted = plan(&ours, &holders, &[]);
        let total: u64 = wanted.iter().map(|(_, dots)| dots.len()).sum();
        let mut union = Frontier::new();
        wanted.iter().for_each(|(_, dots)| union.merge(dots));
        assert_eq!(union, holding(&[(dead, vec![(3, 6), (9, 9)])]));
        assert_eq!(total, union.len(), "no dot twice");
    }

    #[test]
    fn what_its_coordinator_sends_and_our_own_unsynced_writes_are_not_wanted() {
        let held = holding(&[
            (lineage("alive", 1), vec![(1, 9)]),
            (lineage("us", 1), vec![(1, 3)]),
            (lineage("us", 2), vec![(1, 5)]),
        ]);
        let pushing = [lineage("alive", 1)];
        let wanted = plan(&Frontier::new(), &[("b", held)], &pushing);
        // Our earlier start lost the end of its log; what others have of it we take back.
        let expected = holding(&[(lineage("us", 1), vec![(1, 3)])]);
        assert_eq!(wanted, [(peer("b"), expected)]);
    }

    /// It was cut off from the only member that has the end of its last start's writes. Leaving them to it would leave us
    /// without them for ever.
    #[test]
    fn what_a_coordinator_has_lost_itself_is_wanted_of_whoever_has_it() {
        let before = lineage("alive", 1);
        let holders = [
            ("alive", holding(&[(before.clone(), vec![(1, 7)])])),
            ("b", holding(&[(before.clone(), vec![(1, 8)])])),
        ];
        let wanted = plan(&Frontier::new(), &holders, &[lineage("alive", 2)]);
        assert_eq!(wanted, [(peer("b"), holding(&[(before, vec![(8, 8)])]))]);
    }

    #[test]
    fn lineages_are_spread_over_those_who_hold_them() {
        let held: Frontier =
            (1..=20).map(|start| (lineage("dead", start), SeqSet::up_to(5))).collect();
        let holders = [("b", held.clone()), ("c", held)];
        let wanted = plan(&Frontier::new(), &holders, &[]);
        assert_eq!(wanted.len(), 2, "both are asked");
    }

    #[test]
    fn of_a_slow_holder_only_what_nobody_else_holds_is_wanted() {
        let dead = lineage("dead", 1);
        let held = |last| holding(&[(dead.clone(), vec![(1, last)])]);
        let holders = [(peer("b"), held(9)), (peer("c"), held(6))].into_iter().collect();
        let (ours, current) = (Frontier::new(), lineage("us", 2));
        let slow = BTreeSet::from([peer("b")]);
        let (pushing, expected) = (&[], &[]);
        let reach = Reach {
            ours: &ours,
            current: &current,
            holders: &holders,
            pushing,
            expected,
            slow: &slow,
        };
        let last = holding(&[(dead.clone(), vec![(7, 9)])]);
        assert_eq!(wants(reach), [(peer("b"), last), (peer("c"), held(6))].into_iter().collect());
    }
}
