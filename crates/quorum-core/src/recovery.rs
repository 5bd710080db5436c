//! When a member holds whatever it may have acknowledged: whether its data is new and nothing is missing, or lost and here
//! again.
//!
//! **Here again.** A committed write is on W members. If this one was among them and lost its copy, the other W−1 have theirs; so any
//! N−W+1 of the other members include one that has it. Whoever covers what that many of them held, as told after it came
//! back, lacks nothing that was committed before.
//!
//! **New.** Nobody can tell from an empty disk alone whether its member lived before. So a member counts only once a number of
//! others vouch for it, durably ([`vouchers_needed`]), each only if it knew it in no other life
//! ([`Known`](crate::Known)). A member that lives on an empty disk for the second time needs as many; at least W−1 of them are
//! among those that knew its first life, and as long as no more than W−1 disks are lost at a time, its own among them, one of
//! these still knows. Who knows that it has lost its disk vouches for nobody; while it recovers it takes over whom the
//! complete ones know, as it takes over what they hold.
//!
//! Both hold while N and W stay as they are: members that are configured otherwise one after the other, and a W that is raised,
//! void the count for what was committed before.

use std::collections::BTreeMap;

use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::planted::{self, Bug};

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

/// How many other members of `n` must know a member in its present life before it counts, if writes are committed on `w`:
/// so many that any two such groups have W−1 members in common, or all.
#[must_use]
pub fn vouchers_needed(n: usize, w: usize) -> usize {
    if planted::is(Bug::NewUnvouched) {
        return 0;
    }
    (n + w).saturating_sub(2).div_ceil(2).min(n.saturating_sub(1))
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
                assert!(
                    w < 2 || 2 * (vouchers - 1) < others + w - 1,
                    "{n} {w}: {vouchers} are too many"
                );
            }
        }
        assert_eq!(vouchers_needed(1, 1), 0);
        assert_eq!(vouchers_needed(3, 2), 2);
        assert_eq!(vouchers_needed(5, 3), 3);
        assert_eq!(vouchers_needed(7, 4), 5);
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
