//! When a member with an empty disk may be taken for one that never lived before.
//!
//! Nobody can tell from an empty disk alone. So a member counts only once a number of others vouch for it at one moment, each
//! durably, and only if it knew it in no other life ([`Known`](crate::Known)). The number is such that any two groups of so
//! many have W−1 members in common. A member that lives on an empty disk for the second time needs as many; as long as no more
//! than W−1 disks are lost at a time, its own among them, one of those in common still knows its first life. Who knows that it
//! has lost its disk vouches for nobody; it takes over whom the complete ones know while it recovers, as it takes over what
//! they hold. Who does not know it yet is one of the W−1, and hears of it from whoever vouched for it before.
//!
//! In a mesh that lives already, a new member must also hold what each complete one held when they met: they may have taken
//! writes without it.
//!
//! All this counts with N and W as they are: members that are configured otherwise, and a W that is raised, void it for what
//! was committed before.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::announcement::{Announcement, Recovery};
use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::planted::{self, Bug};
use crate::version::Origin;

/// How many other members of `n` must vouch for a new one before it counts, if writes are committed on `w`.
#[must_use]
pub fn vouchers_needed(n: usize, w: usize) -> usize {
    if planted::is(Bug::NewUnvouched) {
        return 0;
    }
    (n + w).saturating_sub(2).div_ceil(2).min(n.saturating_sub(1))
}

/// What a member whose data is new has seen of the others.
#[derive(Debug, Clone, Default)]
pub struct FirstStart {
    /// Who vouched together, each in which life, and when that was seen.
    vouched: Option<(Instant, BTreeMap<PeerId, Origin>)>,
    /// What each complete member held when it was met, in which life.
    held: BTreeMap<PeerId, (Origin, Frontier)>,
}

/// A connected member, as a new one sees it.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Witness<'a> {
    /// In which life it speaks.
    pub life: &'a Origin,
    /// What it said of itself last.
    pub said: &'a Announcement,
    /// What it holds.
    pub frontier: &'a Frontier,
    /// When it was asked what it has answered last on this connection: so long at least it said nothing else.
    pub asked_at: Option<Instant>,
}

/// How far a first start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain figures")]
pub struct FirstStartProgress {
    /// Members that vouch for this one.
    pub vouching: usize,
    /// Members that must.
    pub needed: usize,
    /// Dots that are missing of what complete members held when they were met.
    pub missing: u64,
    /// Whether nothing more is to be waited for.
    pub is_over: bool,
}

impl FirstStart {
    /// Looks at the members that are connected, this one living as `us` and holding `ours`.
    pub fn look<'a>(
        &mut self,
        (us, ours): (&Origin, &Frontier),
        witnesses: impl IntoIterator<Item = Witness<'a>>,
        needed: usize,
        now: Instant,
    ) -> FirstStartProgress {
        let witnesses: BTreeMap<&PeerId, Witness<'a>> =
            witnesses.into_iter().map(|witness| (&witness.life.node, witness)).collect();
        let (confirmed, vouching) = self.hear(us, &witnesses, needed, now);
        let missing = self.missing(ours, &witnesses);
        FirstStartProgress {
            vouching,
            needed,
            missing,
            is_over: confirmed >= needed && missing == 0,
        }
    }

    /// How many vouch together, and how many in all. Whoever vouched some time ago may have lost its disk since, so each must
    /// have been heard again after all of them had vouched.
    fn hear(
        &mut self,
        us: &Origin,
        witnesses: &BTreeMap<&PeerId, Witness<'_>>,
        needed: usize,
        now: Instant,
    ) -> (usize, usize) {
        let vouches = |name: &PeerId, life: &Origin| {
            witnesses
                .get(name)
                .is_some_and(|witness| witness.life == life && witness.said.vouches_for(us))
        };
        self.vouched = self
            .vouched
            .take()
            .filter(|(_, vouched)| vouched.iter().all(|(name, life)| vouches(name, life)));
        let vouching = witnesses.values().filter(|witness| witness.said.vouches_for(us));
        let vouching: BTreeMap<PeerId, Origin> =
            vouching.map(|witness| (witness.life.node.clone(), witness.life.clone())).collect();
        let count = vouching.len();
        if count < needed {
            self.vouched = None;
            return (0, count);
        }
        let (since, vouched) = self.vouched.get_or_insert((now, vouching));
        let is_confirmed = |name: &&PeerId| {
            witnesses.get(*name).and_then(|witness| witness.asked_at).is_some_and(|at| at >= *since)
        };
        (vouched.keys().filter(is_confirmed).count(), count)
    }

    /// What is missing of what the complete members held that are still there.
    fn missing(&mut self, ours: &Frontier, witnesses: &BTreeMap<&PeerId, Witness<'_>>) -> u64 {
        let is_complete = |witness: &Witness<'_>| witness.said.recovery == Recovery::Complete;
        self.held.retain(|name, (life, _)| {
            witnesses.get(name).is_some_and(|now| now.life == life && is_complete(now))
        });
        for witness in witnesses.values().filter(|witness| is_complete(witness)) {
            let met = || (witness.life.clone(), witness.frontier.clone());
            self.held.entry(witness.life.node.clone()).or_insert_with(met);
        }
        self.held.values().map(|(_, held)| held.minus(ours).len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::acquaintance::{Known, Repute};
    use crate::replication::tests::lineage;
    use crate::testing::epoch;
    use crate::{Incarnation, SeqSet};

    /// A member as it is seen, owned.
    #[derive(Clone)]
    struct Seen {
        life: Origin,
        said: Announcement,
        frontier: Frontier,
        asked_at: Option<Instant>,
    }

    fn us() -> Origin {
        lineage("us", 1).origin
    }

    /// A member that vouches, asked at some second.
    fn vouching(name: &str, recovery: Recovery, second: u64) -> Seen {
        let known = vec![Known { life: us(), repute: Repute::Vouched }];
        Seen {
            life: lineage(name, 1).origin,
            said: Announcement { recovery, known, ..Announcement::default() },
            frontier: Frontier::new(),
            asked_at: Some(at(second)),
        }
    }

    fn at(second: u64) -> Instant {
        epoch() + Duration::from_secs(second)
    }

    fn look(
        first: &mut FirstStart,
        ours: &Frontier,
        seen: &[Seen],
        second: u64,
    ) -> FirstStartProgress {
        let witnesses = seen.iter().map(|seen| Witness {
            life: &seen.life,
            said: &seen.said,
            frontier: &seen.frontier,
            asked_at: seen.asked_at,
        });
        first.look((&us(), ours), witnesses, 2, at(second))
    }

    #[test]
    fn any_two_groups_of_vouchers_share_so_many_that_not_all_of_them_can_be_lost() {
        for n in 1..=50_usize {
            for w in 1..=n {
                let (others, vouchers) = (n - 1, vouchers_needed(n, w));
                assert!(vouchers <= others, "{n} {w}");
                // Beside the member itself, W-2 members may have lost their disks.
                let shared = (2 * vouchers).saturating_sub(others);
                assert!(w < 2 || shared >= w - 1, "{n} {w}: {vouchers} vouchers share {shared}");
                // Whoever recovers hears of it from one of those that must be covered.
                assert!(vouchers + 1 >= w, "{n} {w}");
                // One less would not do.
                let is_least = w < 2 || 2 * (vouchers - 1) < others + w - 1;
                assert!(is_least, "{n} {w}: {vouchers} are too many");
            }
        }
        assert_eq!(vouchers_needed(1, 1), 0);
        assert_eq!(vouchers_needed(3, 2), 2);
        assert_eq!(vouchers_needed(5, 3), 3);
        assert_eq!(vouchers_needed(7, 4), 5);
    }

    #[test]
    fn nobody_is_needed_where_nobody_else_is() {
        let progress =
            FirstStart::default().look((&us(), &Frontier::new()), std::iter::empty(), 0, at(0));
        assert!(progress.is_over);
    }

    /// One of them vouched, and may have lost its disk before the other did.
    #[test]
    fn members_vouch_together_once_each_was_heard_again_after_all_had() {
        let (mut first, ours) = (FirstStart::default(), Frontier::new());
        let (mut b, c) = (vouching("b", Recovery::New, 1), vouching("c", Recovery::New, 6));
        assert!(!look(&mut first, &ours, std::slice::from_ref(&c), 5).is_over, "one is too few");
        let progress = look(&mut first, &ours, &[b.clone(), c.clone()], 6);
        assert_eq!((progress.vouching, progress.is_over), (2, false), "b was not heard since");
        b.asked_at = Some(at(7));
        assert!(look(&mut first, &ours, &[b, c], 8).is_over);
    }

    #[test]
    fn a_member_that_begins_another_life_meanwhile_does_not_vouch_together_with_the_others() {
        let (mut first, ours) = (FirstStart::default(), Frontier::new());
        let (mut b, mut c) = (vouching("b", Recovery::New, 5), vouching("c", Recovery::New, 6));
        assert!(!look(&mut first, &ours, &[b.clone(), c.clone()], 6).is_over);
        b.life.incarnation = Incarnation::from_bytes([9; 8]);
        b.asked_at = Some(at(7));
        assert!(!look(&mut first, &ours, &[b.clone(), c.clone()], 8).is_over, "its first look");
        b.asked_at = Some(at(9));
        let progress = look(&mut first, &ours, &[b.clone(), c.clone()], 9);
        assert!(!progress.is_over, "c was not heard since");
        c.asked_at = Some(at(9));
        assert!(look(&mut first, &ours, &[b, c], 9).is_over);
    }

    #[test]
    fn what_complete_members_held_when_they_were_met_must_be_here() {
        let mut first = FirstStart::default();
        let (mut b, c) = (vouching("b", Recovery::Complete, 9), vouching("c", Recovery::New, 9));
        let held = |last| [(lineage("b", 1), SeqSet::up_to(last))].into_iter().collect();
        b.frontier = held(3);
        let progress = look(&mut first, &Frontier::new(), &[b.clone(), c.clone()], 1);
        assert_eq!((progress.missing, progress.is_over), (3, false));
        b.frontier = held(8);
        assert!(look(&mut first, &held(3), &[b, c], 2).is_over, "what it takes later is no part");
    }

    /// A dot that only one member held may be gone with it: nobody will ever hold it.
    #[test]
    fn what_a_member_held_that_has_gone_is_not_waited_for() {
        let mut first = FirstStart::default();
        let (b, c) = (vouching("b", Recovery::New, 9), vouching("c", Recovery::New, 9));
        let mut d = vouching("d", Recovery::Complete, 9);
        d.frontier = [(lineage("d", 1), SeqSet::up_to(1))].into_iter().collect();
        let ours = Frontier::new();
        assert!(!look(&mut first, &ours, &[b.clone(), c.clone(), d], 1).is_over);
        // Its vouch went with it, so that of the others is confirmed anew.
        assert!(look(&mut first, &ours, &[b, c], 2).is_over);
    }
}
