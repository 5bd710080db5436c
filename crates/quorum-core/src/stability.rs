//! Until when nothing older can come any more: below that, tombstones may be purged.
//!
//! A member *closes* its clock: it promises never to issue a version at or below a time again, and says which dots it
//! has given out until then ([`Close`]). Whoever durably covers those dots holds everything that member ever wrote up to
//! that time. The time up to which a member so holds the writes of *every* member is its `stable` time; the smallest
//! `stable` time of all members is the watermark.
//!
//! Why a tombstone at or below the watermark may go: any write of the same key that is older than it lies below every
//! close, so every member covers its dot, and a covered dot is never merged again. Every member covers the tombstone's
//! dot as well, so none holds the older write as its current one. What is older can therefore neither come from
//! somewhere nor be sitting anywhere. No clock has to be right for that; clocks only decide how soon it happens.
//!
//! All that holds of one moment. Whoever lives anew holds nothing, whatever its last life claimed, so a watermark counts
//! once it is [settled](Stability::settled).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::announcement::{Announcement, Close};
use crate::clock::hlc::Hlc;
use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::planted::{self, Bug};
use crate::version::Origin;

/// What is known of the closes and the stable times of all members, this one included.
#[derive(Debug, Clone, Default)]
pub struct Stability {
    members: BTreeMap<PeerId, Member>,
    /// The latest time that another member has closed, claimed or purged, in whatever life.
    passed: Hlc,
    /// Up to here all members that count had claimed to hold everything, at one moment.
    settled: Hlc,
    settling: Option<Settling>,
}

/// A watermark that is reached by what members said one after the other.
#[derive(Debug, Clone)]
struct Settling {
    since: Instant,
    reached: Hlc,
    /// In which life each of the others claims it.
    lives: BTreeMap<PeerId, Origin>,
    /// Those that were heard in that life since: at that moment each lived in it.
    confirmed: BTreeSet<PeerId>,
}

/// When another member that counts was heard last.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Heard<'a> {
    /// Which member.
    pub member: &'a PeerId,
    /// The life that speaks on its connection, and when it was asked what it has answered last on it; `None` while there is
    /// no connection, or nothing was answered on it.
    pub answered: Option<(&'a Origin, Instant)>,
}

/// One life of a member.
#[derive(Debug, Clone)]
struct Member {
    origin: Origin,
    /// The latest close whose dots were all covered here.
    closed: Option<Hlc>,
    /// The close whose dots are waited for. A later one does not take its place, or a busy member would never close.
    awaited: Option<Close>,
    latest: Option<Close>,
    stable: Hlc,
    purged: Hlc,
}

impl Stability {
    /// The claim of a member that cannot tell any more whether it has claimed anything: true of everybody, and less than
    /// what anybody purges.
    pub const LEAST_CLAIM: Hlc = Hlc::from_u64(1);

    /// Takes in what a member says of itself. Another life of it begins with nothing.
    pub fn heard(&mut self, from: &Origin, said: &Announcement) {
        let closed = said.close.as_ref().map_or(Hlc::ZERO, |close| close.hlc);
        self.passed = self.passed.max(closed).max(said.stable).max(said.purged);
        let member = self.life_of(from);
        member.stable = member.stable.max(said.stable);
        member.purged = member.purged.max(said.purged);
        if let Some(close) = &said.close {
            member.close(close);
        }
    }

    /// Takes in a close of this member.
    pub fn closed(&mut self, us: &Origin, close: &Close) {
        self.life_of(us).close(close);
    }

    /// Compares what is awaited with what is durably held here.
    pub fn look(&mut self, ours: &Frontier) {
        for member in self.members.values_mut() {
            while let Some(awaited) = member.awaited.take() {
                if !ours.covers(&awaited.covers) {
                    member.awaited = Some(awaited);
                    break;
                }
                member.closed = member.closed.max(Some(awaited.hlc));
                member.awaited = member.latest.take();
            }
        }
    }

    /// Up to where everything that `members` wrote is held here: this member's stable time. `None` before each of them has
    /// closed its clock once.
    ///
    /// `members` are all that count, this one included: all of the mesh but those whose data nobody waits for.
    pub fn stable<'a>(&self, members: impl IntoIterator<Item = &'a PeerId>) -> Option<Hlc> {
        let closed = |member| self.members.get(member).and_then(|member| member.closed);
        smallest(members.into_iter().map(closed))
    }

    /// Up to where no write can come any more, anywhere: the smallest stable time of all. `own` is this member's, durable;
    /// `others` are all others that count.
    pub fn watermark<'a>(
        &self,
        own: Hlc,
        others: impl IntoIterator<Item = &'a PeerId>,
    ) -> Option<Hlc> {
        let stable = |member| self.members.get(member).map(|member| member.stable);
        smallest(others.into_iter().map(stable).chain([Some(own)]))
    }

    /// Up to where tombstones may go: what was the watermark at one moment, in which each member lived that claims it.
    /// `reached` is the [`watermark`](Self::watermark) now, `others` all other members that count.
    ///
    /// Claims come one after the other, and whoever claimed first may have lost its disk since: its next life would bring back
    /// what the claim of the last life says is gone. So each must have been heard again after all had claimed, in the same
    /// life; when, and whether it is away again by then, does not matter. From then on a life that begins refills from members that hold the tombstone or have purged it.
    pub fn settled<'a>(
        &mut self,
        reached: Hlc,
        others: impl IntoIterator<Item = Heard<'a>>,
        now: Instant,
    ) -> Hlc {
        let others: Vec<Heard<'a>> = others.into_iter().collect();
        let life_of = |heard: &Heard<'_>| self.origin(heard.member).cloned();
        let claims =
            others.iter().filter_map(|heard| Some((heard.member.clone(), life_of(heard)?)));
        let lives: BTreeMap<PeerId, Origin> = claims.collect();
        let settling = self.settling.take();
        let still = settling.filter(|was| was.reached <= reached && was.lives == lives);
        let confirmed = BTreeSet::new();
        let mut settling = still.unwrap_or(Settling { since: now, reached, lives, confirmed });
        for heard in &others {
            let claims = settling.lives.get(heard.member);
            let again = heard.answered.filter(|(_, at)| *at >= settling.since);
            if again.is_some_and(|(life, _)| claims == Some(life)) {
                settling.confirmed.insert(heard.member.clone());
            }
        }
        let ignores = planted::is(Bug::SilentMemberIgnored);
        let is_ignored = |member| ignores && !settling.lives.contains_key(member);
        let is_confirmed = |member| settling.confirmed.contains(member) || is_ignored(member);
        if others.iter().all(|heard| is_confirmed(heard.member)) {
            self.settled = self.settled.max(settling.reached);
        } else {
            self.settling = Some(settling);
        }
        self.settled
    }

    /// Up to where some member has purged tombstones, as far as it was heard.
    #[must_use]
    pub fn purged(&self) -> Hlc {
        self.members.values().map(|member| member.purged).max().unwrap_or(Hlc::ZERO)
    }

    /// Above what a member that has claimed nothing itself must stamp: what others have closed, claimed or purged, as far as it
    /// was heard in whatever life. `None` before `enough` others were heard: more than may have lost their disks besides
    /// this one.
    ///
    /// Nobody purges beyond what every member has claimed, and no claim reaches beyond what every member has closed. So one
    /// other that has kept its disk tells enough.
    #[must_use]
    pub fn told(&self, us: &PeerId, enough: usize) -> Option<Hlc> {
        let heard = self.members.keys().filter(|name| *name != us).count();
        (heard >= enough).then_some(self.passed)
    }

    /// The life in which a member was heard last.
    #[must_use]
    pub fn origin(&self, member: &PeerId) -> Option<&Origin> {
        self.members.get(member).map(|member| &member.origin)
    }

    fn life_of(&mut self, origin: &Origin) -> &mut Member {
        let begin = || Member {
            origin: origin.clone(),
            closed: None,
            awaited: None,
            latest: None,
            stable: Hlc::ZERO,
            purged: Hlc::ZERO,
        };
        let member = self.members.entry(origin.node.clone()).or_insert_with(begin);
        if member.origin != *origin {
            *member = begin();
        }
        member
    }
}

impl Member {
    fn close(&mut self, close: &Close) {
        let is_news = self.closed.is_none_or(|closed| closed < close.hlc);
        if self.awaited.is_none() {
            self.awaited = is_news.then(|| close.clone());
        } else if self.awaited.as_ref().is_some_and(|awaited| awaited.hlc < close.hlc) {
            self.latest = Some(close.clone());
        }
    }
}

/// The smallest of all; `None` if one is unknown, or there is none.
fn smallest(times: impl Iterator<Item = Option<Hlc>>) -> Option<Hlc> {
    let ignores = planted::is(Bug::SilentMemberIgnored);
    times
        .filter(|time| time.is_some() || !ignores)
        .reduce(|one, other| Some(one?.min(other?)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::replication::tests::{lineage, peer};
    use crate::testing::epoch;
    use crate::{Incarnation, SeqSet};

    const fn at(millis: u64) -> Hlc {
        Hlc::from_millis(millis)
    }

    fn close(node: &str, millis: u64, last: u64) -> Close {
        Close { hlc: at(millis), covers: held(node, last) }
    }

    fn held(node: &str, last: u64) -> Frontier {
        [(lineage(node, 1), SeqSet::up_to(last))].into_iter().collect()
    }

    fn origin(node: &str) -> Origin {
        lineage(node, 1).origin
    }

    fn second(second: u64) -> Instant {
        epoch() + Duration::from_secs(second)
    }

    fn says(close: Close) -> Announcement {
        Announcement { close: Some(close), ..Announcement::default() }
    }

    fn stable(millis: u64) -> Announcement {
        Announcement { stable: at(millis), ..Announcement::default() }
    }

    #[test]
    fn a_close_counts_once_its_dots_are_held() {
        let (a, b, mut stability) = (peer("a"), peer("b"), Stability::default());
        stability.closed(&origin("a"), &close("a", 50, 0));
        stability.heard(&origin("b"), &says(close("b", 60, 3)));
        stability.look(&held("b", 2));
        assert_eq!(stability.stable([&a, &b]), None, "b's third write is missing");
        stability.look(&held("b", 3));
        assert_eq!(stability.stable([&a, &b]), Some(at(50)));
        assert_eq!(stability.stable([&b]), Some(at(60)), "without a");
    }

    /// A busy member closes again before the dots of its last close have arrived; each in turn is reached.
    #[test]
    fn a_member_that_closes_all_the_time_is_closed_in_time() {
        let (b, mut stability) = (peer("b"), Stability::default());
        for (millis, last) in [(10, 1), (20, 2), (30, 3)] {
            stability.heard(&origin("b"), &says(close("b", millis, last)));
        }
        stability.look(&held("b", 2));
        assert_eq!(stability.stable([&b]), Some(at(10)));
        stability.look(&held("b", 3));
        assert_eq!(stability.stable([&b]), Some(at(30)), "the latest, not each between");
    }

    #[test]
    fn one_member_that_is_unknown_or_behind_holds_the_watermark_back() {
        let (b, c, mut stability) = (peer("b"), peer("c"), Stability::default());
        stability.heard(&origin("b"), &stable(70));
        assert_eq!(stability.watermark(at(90), [&b, &c]), None, "nothing is known of c");
        stability.heard(&origin("c"), &stable(40));
        assert_eq!(stability.watermark(at(90), [&b, &c]), Some(at(40)));
        assert_eq!(stability.watermark(at(30), [&b, &c]), Some(at(30)), "nor this member itself");
        assert_eq!(stability.watermark(at(90), [&b]), Some(at(70)), "c is given up");
    }

    /// A wiped member holds nothing of what its former life held: what that life said must not count for it.
    #[test]
    fn another_life_begins_with_nothing() {
        let (b, mut stability) = (peer("b"), Stability::default());
        stability.heard(&origin("b"), &stable(70));
        stability.heard(&origin("b"), &says(close("b", 60, 0)));
        stability.look(&Frontier::new());
        let mut wiped = origin("b");
        wiped.incarnation = Incarnation::from_bytes([9; 8]);
        stability.heard(&wiped, &Announcement::default());
        assert_eq!(stability.watermark(at(90), [&b]), Some(Hlc::ZERO));
        assert_eq!(stability.stable([&b]), None);
        assert_eq!(stability.origin(&b), Some(&wiped));
    }

    /// What b claimed may be of a life that is over, while c claims.
    #[test]
    fn a_watermark_is_settled_once_each_was_heard_again_after_all_had_claimed() {
        let (b, c, mut stability) = (origin("b"), origin("c"), Stability::default());
        stability.heard(&b, &stable(70));
        stability.heard(&c, &stable(60));
        let heard = |of_b: Option<u64>, of_c: Option<u64>| {
            [(&b, of_b), (&c, of_c)].map(|(life, asked)| Heard {
                member: &life.node,
                answered: asked.map(|asked| (life, second(asked))),
            })
        };
        let reached = at(60);
        assert_eq!(stability.settled(reached, heard(Some(4), Some(4)), second(5)), Hlc::ZERO);
        assert_eq!(stability.settled(reached, heard(Some(6), None), second(6)), Hlc::ZERO);
        assert_eq!(stability.settled(reached, heard(None, Some(4)), second(7)), Hlc::ZERO);
        assert_eq!(
            stability.settled(reached, heard(None, Some(7)), second(8)),
            reached,
            "b was heard before it left"
        );
        assert_eq!(stability.settled(at(65), heard(Some(8), Some(7)), second(8)), reached);
        assert_eq!(stability.settled(at(65), heard(None, None), second(9)), reached, "it was so");
        assert_eq!(stability.settled(at(65), heard(Some(9), Some(9)), second(9)), at(65));
    }

    #[test]
    fn a_life_that_begins_meanwhile_must_claim_and_be_heard_together_with_the_others() {
        let (b, c, mut stability) = (origin("b"), origin("c"), Stability::default());
        stability.heard(&b, &stable(70));
        stability.heard(&c, &stable(60));
        let again = Origin { incarnation: Incarnation::from_bytes([9; 8]), ..b.clone() };
        let heard = |of_b, asked_b, asked_c| {
            [(of_b, asked_b), (&c, asked_c)].map(|(life, asked): (&Origin, u64)| Heard {
                member: &life.node,
                answered: Some((life, second(asked))),
            })
        };
        assert_eq!(stability.settled(at(60), heard(&b, 4, 6), second(5)), Hlc::ZERO);
        assert_eq!(
            stability.settled(at(60), heard(&again, 6, 6), second(6)),
            Hlc::ZERO,
            "no claim"
        );
        stability.heard(&again, &Announcement::default());
        assert_eq!(stability.settled(Hlc::ZERO, heard(&again, 7, 6), second(7)), Hlc::ZERO);
        stability.heard(&again, &stable(60));
        assert_eq!(
            stability.settled(at(60), heard(&again, 8, 6), second(8)),
            Hlc::ZERO,
            "c is old"
        );
        let settled = stability.settled(at(60), heard(&again, 8, 9), second(9));
        assert_eq!(settled, Hlc::ZERO, "it had claimed nothing when both began to be heard");
        assert_eq!(stability.settled(at(60), heard(&again, 8, 9), second(10)), Hlc::ZERO);
        assert_eq!(stability.settled(at(60), heard(&again, 10, 11), second(11)), at(60));
    }

    #[test]
    fn where_nobody_else_counts_the_watermark_is_settled_at_once() {
        assert_eq!(Stability::default().settled(at(5), [], second(0)), at(5));
    }

    #[test]
    fn what_others_have_passed_is_told_and_what_this_member_has_closed_is_not() {
        let (us, other) = (lineage("a", 1).origin, lineage("b", 1).origin);
        let mut stability = Stability::default();
        stability.closed(&us, &close("a", 90, 1));
        assert_eq!(stability.told(&us.node, 1), None, "nobody was heard");
        stability.heard(&other, &Announcement::default());
        assert_eq!(stability.told(&us.node, 1), Some(Hlc::ZERO));
        let said = Announcement { stable: at(40), purged: at(30), ..Announcement::default() };
        stability.heard(&other, &said);
        assert_eq!(stability.told(&us.node, 1), Some(at(40)));
        let said = Announcement { close: Some(close("b", 70, 5)), ..Announcement::default() };
        stability.heard(&other, &said);
        assert_eq!(stability.told(&us.node, 1), Some(at(70)), "though it is not covered here");
    }

    #[test]
    fn enough_members_tell_together() {
        let us = lineage("a", 1).origin;
        let mut stability = Stability::default();
        let least = Announcement { stable: Stability::LEAST_CLAIM, ..Announcement::default() };
        stability.heard(&lineage("b", 1).origin, &least);
        assert_eq!(stability.told(&us.node, 2), None, "it may have lost its disk as well");
        stability.heard(&lineage("c", 1).origin, &Announcement::default());
        assert!(stability.told(&us.node, 2).is_some());
    }

    #[test]
    fn what_a_member_said_in_a_former_life_is_told_still() {
        let us = lineage("a", 1).origin;
        let mut stability = Stability::default();
        let claim = Announcement { stable: at(40), ..Announcement::default() };
        stability.heard(&lineage("b", 1).origin, &claim);
        stability.heard(&lineage("b", 2).origin, &Announcement::default());
        assert_eq!(stability.told(&us.node, 1), Some(at(40)));
        assert_eq!(stability.told(&us.node, 2), None, "it is one member");
    }
}
