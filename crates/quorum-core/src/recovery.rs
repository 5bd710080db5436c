//! When a member that lost its data has again whatever was committed.
//!
//! A committed write is on W members. If this one was among them and lost its copy, the other W−1 have theirs; so any
//! N−W+1 of the other members include one that has it. Whoever covers what that many of them held, as told after it came
//! back, lacks nothing that was committed before.

use std::collections::BTreeMap;

use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::version::Origin;

/// What a member that is recovering must cover.
#[derive(Debug, Clone, Default)]
pub struct RecoveryTargets {
    /// What each member held when it was first heard, in which life.
    targets: BTreeMap<PeerId, (Origin, Frontier)>,
}

/// What another member looks like to one that is recovering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a member is one of these")]
pub enum Source<'a> {
    /// It cannot be heard now.
    Away,
    /// It cannot be heard, and what it holds will not come back: an operator has declared it gone.
    Gone,
    /// It may not hold what it acknowledged either, in this life.
    Recovering(&'a Origin),
    /// It holds whatever it acknowledged, in this life; this is its frontier now.
    Complete(&'a Origin, &'a Frontier),
}

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain figures")]
pub struct RecoveryProgress {
    /// Members whose data is covered.
    pub covered: usize,
    /// Members whose data must be.
    pub needed: usize,
    /// Dots that are missing of what the members that were heard held.
    pub missing: u64,
    /// Whether nothing more is to be waited for.
    pub is_over: bool,
    /// Whether so many members have lost their data that a committed write may be gone: then all that is left anywhere
    /// is here when the recovery is over.
    pub may_have_lost: bool,
}

impl RecoveryTargets {
    /// How many other members of `n` must be covered, if writes are committed on `w`.
    #[must_use]
    pub fn needed(n: usize, w: usize) -> usize {
        (n + 1).saturating_sub(w).min(n.saturating_sub(1))
    }

    /// Looks at the other members, this member holding `ours`. What a member held when it was first heard is the target;
    /// what it takes later is no part of it. If it lives again it has lost its disk, and perhaps what nobody else held: then
    /// its target is what it holds once it is complete again.
    pub fn look<'a>(
        &mut self,
        ours: &Frontier,
        others: impl IntoIterator<Item = (&'a PeerId, Source<'a>)>,
        needed: usize,
    ) -> RecoveryProgress {
        let (mut away, mut lost) = (0, 0);
        for (member, source) in others {
            match source {
                Source::Complete(life, frontier) => {
                    if !self.has_heard(member, life) {
                        self.targets.insert(member.clone(), (life.clone(), frontier.clone()));
                    }
                }
                Source::Recovering(life) => {
                    if !self.has_heard(member, life) {
                        self.targets.remove(member);
                    }
                    lost += 1;
                }
                Source::Gone => {
                    // Of what it held, nothing more will come.
                    self.targets.retain(|name, (_, target)| name != member || ours.covers(target));
                    lost += 1;
                }
                Source::Away if self.targets.contains_key(member) => {}
                Source::Away => away += 1,
            }
        }
        let targets = || self.targets.values().map(|(_, target)| target);
        let covered = targets().filter(|target| ours.covers(target)).count();
        let missing = targets().map(|target| target.minus(ours).len()).max();
        // Everybody was heard, and what they have is here: there is nothing else to be had.
        let is_all = away == 0 && covered == self.targets.len();
        let may_have_lost = is_all && covered < needed && lost > 0;
        RecoveryProgress {
            covered,
            needed,
            missing: missing.unwrap_or(0),
            is_over: covered >= needed || is_all,
            may_have_lost,
        }
    }

    /// Whether the target of a member is that of this life.
    fn has_heard(&self, member: &PeerId, life: &Origin) -> bool {
        self.targets.get(member).is_some_and(|(heard, _)| heard == life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::{lineage, peer};
    use crate::{Incarnation, SeqSet};

    fn life(name: &str) -> Origin {
        lineage(name, 1).origin
    }

    fn holding(last: u64) -> Frontier {
        [(lineage("a", 1), SeqSet::up_to(last))].into_iter().collect()
    }

    #[test]
    fn so_many_must_be_covered_that_one_of_them_has_every_committed_write() {
        assert_eq!(RecoveryTargets::needed(3, 2), 2);
        assert_eq!(RecoveryTargets::needed(5, 3), 3);
        assert_eq!(RecoveryTargets::needed(5, 5), 1);
        assert_eq!(RecoveryTargets::needed(3, 1), 2, "at most all others");
        assert_eq!(RecoveryTargets::needed(1, 1), 0);
    }

    /// Five members, W = 3. The write is on the wiped member, on b and on c; b and c each must do, d alone must not.
    #[test]
    fn a_member_is_not_complete_while_the_only_other_copy_may_be_unseen() {
        let (lives, with, without) = (["b", "c", "d", "e"].map(life), holding(1), Frontier::new());
        let names: Vec<PeerId> = lives.iter().map(|life| life.node.clone()).collect();
        let [b, _, d, e] = &lives;
        let mut targets = RecoveryTargets::default();
        let rest = [Source::Complete(d, &without), Source::Complete(e, &without)];
        let heard = [Source::Away, Source::Away, rest[0], rest[1]];
        let progress = targets.look(&Frontier::new(), names.iter().zip(heard), 3);
        assert!(!progress.is_over, "{progress:?}");
        let heard = [Source::Complete(b, &with), Source::Away, rest[0], rest[1]];
        let progress = targets.look(&Frontier::new(), names.iter().zip(heard), 3);
        assert!(!progress.is_over && progress.missing == 1, "{progress:?}");
        let progress = targets.look(&holding(1), names.iter().zip(heard), 3);
        assert!(progress.is_over && !progress.may_have_lost, "{progress:?}");
    }

    #[test]
    fn what_a_member_takes_later_is_not_waited_for() {
        let (b, mut targets) = (life("b"), RecoveryTargets::default());
        let (first, later) = (holding(3), holding(9));
        let _first = targets.look(&Frontier::new(), [(&b.node, Source::Complete(&b, &first))], 1);
        let progress = targets.look(&holding(3), [(&b.node, Source::Complete(&b, &later))], 1);
        assert!(progress.is_over);
    }

    #[test]
    fn when_too_many_are_wiped_what_is_left_is_taken_and_the_loss_is_said() {
        let (names, held) = ([peer("b"), peer("c")], holding(2));
        let mut targets = RecoveryTargets::default();
        let (b, c) = (life("b"), life("c"));
        let heard = [Source::Recovering(&b), Source::Complete(&c, &held)];
        let progress = targets.look(&Frontier::new(), names.iter().zip(heard), 2);
        assert!(!progress.is_over, "what c has is not here yet");
        let progress = targets.look(&held, names.iter().zip(heard), 2);
        assert!(progress.is_over && progress.may_have_lost, "{progress:?}");
    }

    /// Nothing will come of it any more, so nothing is waited for; what was taken over from it counts.
    #[test]
    fn a_member_that_was_declared_gone_is_lost() {
        let (b, c, mut targets) = (life("b"), life("c"), RecoveryTargets::default());
        let (alone, held) = (holding(3), holding(2));
        let both = |of_b, of_c| [(&b.node, of_b), (&c.node, of_c)];
        let heard = both(Source::Away, Source::Complete(&c, &held));
        assert!(!targets.look(&held, heard, 2).is_over, "it may come back");
        let heard = both(Source::Gone, Source::Complete(&c, &held));
        let progress = targets.look(&held, heard, 2);
        assert!(progress.is_over && progress.may_have_lost, "{progress:?}");

        let heard = both(Source::Complete(&b, &alone), Source::Away);
        assert_eq!(targets.look(&held, heard, 2).missing, 1);
        let heard = both(Source::Gone, Source::Away);
        let progress = targets.look(&held, heard, 2);
        assert!(progress.is_over && progress.may_have_lost, "what it alone held is lost");

        let mut targets = RecoveryTargets::default();
        let heard = both(Source::Complete(&b, &held), Source::Complete(&c, &alone));
        assert_eq!(targets.look(&held, heard, 2).covered, 1);
        let heard = both(Source::Gone, Source::Away);
        let progress = targets.look(&alone, heard, 2);
        assert!(progress.is_over && !progress.may_have_lost, "{progress:?}");
    }

    /// A dot that only one member held went with its disk. Nobody will ever hold it.
    #[test]
    fn what_a_member_held_that_has_lost_its_disk_since_is_not_waited_for() {
        let (b, c, mut targets) = (life("b"), life("c"), RecoveryTargets::default());
        let again = Origin { incarnation: Incarnation::from_bytes([9; 8]), ..b.clone() };
        let (alone, held) = (holding(3), holding(2));
        let both = |of_b, of_c| [(&b.node, of_b), (&c.node, of_c)];
        let heard = both(Source::Complete(&b, &alone), Source::Away);
        assert_eq!(targets.look(&Frontier::new(), heard, 2).missing, 3);
        let heard = both(Source::Away, Source::Complete(&c, &held));
        let progress = targets.look(&held, heard, 2);
        assert_eq!((progress.missing, progress.is_over), (1, false), "b may come back with it");
        let heard = both(Source::Recovering(&again), Source::Complete(&c, &held));
        let progress = targets.look(&held, heard, 2);
        assert!(progress.is_over && progress.may_have_lost, "{progress:?}");
        let heard = both(Source::Complete(&again, &held), Source::Complete(&c, &held));
        let progress = targets.look(&held, heard, 2);
        assert!(progress.is_over && progress.covered == 2, "{progress:?}");
    }
}
