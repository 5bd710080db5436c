//! When a member that lost its data has again whatever was committed.
//!
//! A committed write is on W members. If this one was among them and lost its copy, the other W−1 have theirs; so any
//! N−W+1 of the other members include one that has it. Whoever covers what that many of them held, as told after it came
//! back, lacks nothing that was committed before.

use std::collections::BTreeMap;

use crate::frontier::Frontier;
use crate::id::PeerId;

/// What a member that is recovering must cover.
#[derive(Debug, Clone, Default)]
pub struct RecoveryTargets {
    targets: BTreeMap<PeerId, Frontier>,
}

/// What another member looks like to one that is recovering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a member is one of these")]
pub enum Source<'a> {
    /// It cannot be heard now.
    Away,
    /// It may not hold what it acknowledged either.
    Recovering,
    /// It holds whatever it acknowledged; this is its frontier now.
    Complete(&'a Frontier),
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
    /// what it takes later is no part of it.
    pub fn look<'a>(
        &mut self,
        ours: &Frontier,
        others: impl IntoIterator<Item = (&'a PeerId, Source<'a>)>,
        needed: usize,
    ) -> RecoveryProgress {
        let (mut away, mut recovering) = (0, 0);
        for (member, source) in others {
            match source {
                Source::Complete(frontier) => {
                    self.targets.entry(member.clone()).or_insert_with(|| frontier.clone());
                }
                Source::Recovering => recovering += 1,
                Source::Away if self.targets.contains_key(member) => {}
                Source::Away => away += 1,
            }
        }
        let covered = self.targets.values().filter(|target| ours.covers(target)).count();
        let missing = self.targets.values().map(|target| target.minus(ours).len()).max();
        // Everybody was heard, and what they have is here: there is nothing else to be had.
        let is_all = away == 0 && covered == self.targets.len();
        let may_have_lost = is_all && covered < needed && recovering > 0;
        RecoveryProgress {
            covered,
            needed,
            missing: missing.unwrap_or(0),
            is_over: covered >= needed || is_all,
            may_have_lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeqSet;
    use crate::replication::tests::{lineage, peer};

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
        let (names, with, without) = (["b", "c", "d", "e"].map(peer), holding(1), Frontier::new());
        let mut targets = RecoveryTargets::default();
        let heard =
            [Source::Away, Source::Away, Source::Complete(&without), Source::Complete(&without)];
        let progress = targets.look(&Frontier::new(), names.iter().zip(heard), 3);
        assert!(!progress.is_over, "{progress:?}");
        let heard = [
            Source::Complete(&with),
            Source::Away,
            Source::Complete(&without),
            Source::Complete(&without),
        ];
        let progress = targets.look(&Frontier::new(), names.iter().zip(heard), 3);
        assert!(!progress.is_over && progress.missing == 1, "{progress:?}");
        let progress = targets.look(&holding(1), names.iter().zip(heard), 3);
        assert!(progress.is_over && !progress.may_have_lost, "{progress:?}");
    }

    #[test]
    fn what_a_member_takes_later_is_not_waited_for() {
        let (names, mut targets) = ([peer("b")], RecoveryTargets::default());
        let (first, later) = (holding(3), holding(9));
        let _first =
            targets.look(&Frontier::new(), names.iter().zip([Source::Complete(&first)]), 1);
        let progress = targets.look(&holding(3), names.iter().zip([Source::Complete(&later)]), 1);
        assert!(progress.is_over);
    }

    #[test]
    fn when_too_many_are_wiped_what_is_left_is_taken_and_the_loss_is_said() {
        let (names, held) = ([peer("b"), peer("c")], holding(2));
        let mut targets = RecoveryTargets::default();
        let heard = [Source::Recovering, Source::Complete(&held)];
        let progress = targets.look(&Frontier::new(), names.iter().zip(heard), 2);
        assert!(!progress.is_over, "what c has is not here yet");
        let progress = targets.look(&held, names.iter().zip(heard), 2);
        assert!(progress.is_over && progress.may_have_lost, "{progress:?}");
    }
}
