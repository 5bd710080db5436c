//! Anti-entropy: which members are asked, and what is left to others for the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::replication::{Reach, wants};
use crate::version::Lineage;

/// Intervals that a want may consist of; what is beyond is wanted when these are here.
const WANTED_INTERVALS_MAX: usize = 65_536;

/// How long what a member wrote is left to it, after it was last connected or we started: most members that are not
/// there come at once, and somebody else would send the same beside them.
const COORDINATOR_PATIENCE: Duration = Duration::from_secs(2);

/// How long a holder may send nothing of what is wanted of it before others are asked first, and for how long they are.
const HOLDER_PATIENCE: Duration = Duration::from_secs(30);

/// What is seen of the mesh at one moment.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "networks build it")]
pub struct ExchangeSight<'a> {
    /// What we hold.
    pub ours: &'a Frontier,
    /// The lineage in which we number our writes.
    pub current: &'a Lineage,
    /// What every member holds that can be reached, as far as it told us.
    pub within_reach: &'a BTreeMap<PeerId, Frontier>,
    /// The members that are sending us their own writes, by the lineage in which each numbers them now.
    pub pushing: &'a [Lineage],
    /// Who is sending us everything, if somebody is.
    pub snapshot_sender: Option<&'a PeerId>,
}

/// Plans what to ask of whom. It remembers only since when members are away or send nothing, which no exchange needs to go
/// on.
#[derive(Debug, Clone, Default)]
pub struct ExchangePlan {
    away_since: BTreeMap<PeerId, Instant>,
    /// What is wanted of a holder, and since when nothing of that has come.
    asked: BTreeMap<PeerId, (Frontier, Instant)>,
    /// Since when a holder is taken for slow.
    slow_since: BTreeMap<PeerId, Instant>,
}

impl ExchangePlan {
    /// Intervals that a want may consist of.
    pub const WANTED_INTERVALS_MAX: usize = WANTED_INTERVALS_MAX;

    /// What to want of each of `peers`, those of which nothing is wanted included.
    pub fn wants<'a>(
        &mut self,
        sight: ExchangeSight<'_>,
        peers: impl IntoIterator<Item = &'a PeerId>,
        now: Instant,
    ) -> Vec<(PeerId, Frontier)> {
        let ExchangeSight { ours, current, within_reach, pushing, snapshot_sender } = sight;
        let peers: Vec<&PeerId> = peers.into_iter().collect();
        let is_pushing = |peer: &PeerId| pushing.iter().any(|lineage| lineage.origin.node == *peer);
        let away = peers.iter().filter(|peer| !is_pushing(peer)).map(|peer| (*peer).clone());
        let expected = self.expected(&away.collect::<Vec<_>>(), now);
        // Whoever sends everything sends this too. What is wanted comes on a connection that the holder has dialled.
        let is_asked =
            |peer: &PeerId| snapshot_sender.is_none_or(|sender| sender == peer) && is_pushing(peer);
        let holders: BTreeMap<PeerId, Frontier> = within_reach
            .iter()
            .filter(|(peer, _)| is_asked(peer))
            .map(|(peer, held)| (peer.clone(), held.clone()))
            .collect();
        let slow = self.slow(ours, snapshot_sender, now);
        let (expected, slow) = (&expected, &slow);
        let mut plan = wants(Reach { ours, current, holders: &holders, pushing, expected, slow });
        let of = |peer: &PeerId| {
            let dots = plan.remove(peer).unwrap_or_default();
            (peer.clone(), dots.clipped(WANTED_INTERVALS_MAX))
        };
        let wanted: Vec<_> = peers.into_iter().map(of).collect();
        self.asking(&wanted, now);
        wanted
    }

    /// Holders of which nothing comes, although it is wanted: their disks may hang. What comes of one that sends everything
    /// is not ours before the last of it is here.
    fn slow(
        &mut self,
        ours: &Frontier,
        snapshot_sender: Option<&PeerId>,
        now: Instant,
    ) -> BTreeSet<PeerId> {
        let is_long = |since: &Instant| now.saturating_duration_since(*since) >= HOLDER_PATIENCE;
        for (peer, (dots, since)) in &mut self.asked {
            if snapshot_sender == Some(peer) || !dots.common(ours).is_empty() {
                self.slow_since.remove(peer);
                *since = now;
            } else if is_long(since) {
                self.slow_since.insert(peer.clone(), now);
                *since = now;
            }
        }
        self.slow_since.retain(|_, since| !is_long(since));
        self.slow_since.keys().cloned().collect()
    }

    /// Remembers what is wanted now.
    fn asking(&mut self, wanted: &[(PeerId, Frontier)], now: Instant) {
        let mut before = std::mem::take(&mut self.asked);
        let asked = wanted.iter().filter(|(_, dots)| !dots.is_empty()).map(|(peer, dots)| {
            let since = before.remove(peer).map_or(now, |(_, since)| since);
            (peer.clone(), (dots.clone(), since))
        });
        self.asked = asked.collect();
    }

    /// Those of the members that are `away` who may still come at once.
    fn expected(&mut self, away: &[PeerId], now: Instant) -> Vec<PeerId> {
        self.away_since.retain(|peer, _| away.contains(peer));
        for peer in away {
            self.away_since.entry(peer.clone()).or_insert(now);
        }
        let is_recent =
            |since: &Instant| now.saturating_duration_since(*since) < COORDINATOR_PATIENCE;
        let recent = self.away_since.iter().filter(|(_, since)| is_recent(since));
        recent.map(|(peer, _)| peer.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeqSet;
    use crate::replication::tests::{lineage, peer};
    use crate::testing::epoch;

    #[test]
    fn a_member_is_expected_for_a_while_after_it_was_last_there() {
        let (mut plan, start) = (ExchangePlan::default(), epoch());
        let (away, patience) = ([peer("a")], COORDINATOR_PATIENCE);
        assert_eq!(plan.expected(&away, start), away);
        assert_eq!(plan.expected(&away, start + patience), []);
        assert_eq!(plan.expected(&[], start + patience), [], "it is there");
        assert_eq!(plan.expected(&away, start + 2 * patience), away, "and gone again");
    }

    /// What is wanted comes on a connection that the holder has dialled: of one that only we can reach, nothing is asked.
    #[test]
    fn only_members_that_send_to_us_are_asked_and_while_one_sends_everything_only_that_one() {
        let held: Frontier = [(lineage("dead", 1), SeqSet::up_to(3))].into_iter().collect();
        let (b, c, dead) = (peer("b"), peer("c"), peer("dead"));
        let within_reach = BTreeMap::from([(b.clone(), held.clone()), (c.clone(), held)]);
        let (ours, current) = (Frontier::new(), lineage("us", 1));
        let late = epoch() + COORDINATOR_PATIENCE;
        let asked = |pushing: &[Lineage], snapshot_sender: Option<&PeerId>| {
            let mut plan = ExchangePlan::default();
            let sight = ExchangeSight {
                ours: &ours,
                current: &current,
                within_reach: &within_reach,
                pushing,
                snapshot_sender,
            };
            let _first = plan.wants(sight, [&b, &c, &dead], epoch());
            let wanted = plan.wants(sight, [&b, &c, &dead], late);
            let asked = wanted.into_iter().filter(|(_, dots)| !dots.is_empty());
            asked.map(|(peer, _)| peer).collect::<Vec<_>>()
        };
        let both = [lineage("b", 1), lineage("c", 1)];
        assert_eq!(asked(&[], None), []);
        assert_eq!(asked(&both[1..], None), std::slice::from_ref(&c));
        assert_eq!(asked(&both, Some(&b)), std::slice::from_ref(&b));
    }

    /// Its disk hangs, or its store cannot read: another holder sends the same.
    #[test]
    fn a_holder_that_sends_nothing_is_passed_over_for_a_while() {
        let (b, c, dead) = (peer("b"), peer("c"), peer("dead"));
        let held: Frontier = [(lineage("dead", 1), SeqSet::up_to(3))].into_iter().collect();
        let within_reach = BTreeMap::from([(b.clone(), held.clone()), (c.clone(), held)]);
        let (current, pushing) = (lineage("us", 1), [lineage("b", 1), lineage("c", 1)]);
        let mut plan = ExchangePlan::default();
        let mut asked = |ours: &Frontier, now: Instant| {
            let sight = ExchangeSight {
                ours,
                current: &current,
                within_reach: &within_reach,
                pushing: &pushing,
                snapshot_sender: None,
            };
            let wanted = plan.wants(sight, [&b, &c, &dead], now);
            wanted.into_iter().find(|(_, dots)| !dots.is_empty()).map(|(peer, _)| peer)
        };
        let (nothing, start) = (Frontier::new(), epoch());
        assert_eq!(asked(&nothing, start), None, "its own member may come");
        let begin = start + COORDINATOR_PATIENCE;
        let first = asked(&nothing, begin).expect("somebody");
        let almost = begin + HOLDER_PATIENCE - Duration::from_nanos(1);
        assert_eq!(asked(&nothing, almost).as_ref(), Some(&first));
        // Something came: it has as long again.
        let some: Frontier = [(lineage("dead", 1), SeqSet::up_to(1))].into_iter().collect();
        assert_eq!(asked(&some, almost).as_ref(), Some(&first));
        let next = almost + HOLDER_PATIENCE;
        let second = asked(&some, next).expect("somebody");
        assert_ne!(second, first);
        assert_eq!(asked(&some, next + HOLDER_PATIENCE).as_ref(), Some(&first), "each in turn");
    }
}
