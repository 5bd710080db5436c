//! In which life a member knows another one, and what follows when members compare what they know.
//!
//! An empty disk does not say whether its member lived before; others must remember. Knowing is a lattice, so that it does not
//! matter who hears of whom in which order: *vouched* for one life, below *contested* between several, below *complete* in
//! one. Only a member's own word makes it complete.

use crate::announcement::Recovery;
use crate::version::Origin;

/// What is known of the lives of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct Known {
    /// The member, in the life in which it is known.
    pub life: Origin,
    /// How well.
    pub repute: Repute,
}

/// How well a member is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_enums, reason = "whoever compares must judge every case")]
pub enum Repute {
    /// It came with an empty disk, in this life and in no other.
    Vouched,
    /// It came with an empty disk in this life and in another one, to somebody else: it has lost a disk.
    Contested,
    /// It held whatever it had acknowledged, in this life.
    Complete,
}

impl Known {
    /// What is known of a member that comes in `life` and says this of itself; nothing if nothing is to be known yet.
    /// `may_vouch` is whether this member itself has not forgotten whom it knew.
    #[must_use]
    pub fn met(
        known: Option<&Self>,
        life: &Origin,
        recovery: Recovery,
        may_vouch: bool,
    ) -> Option<Self> {
        let now = |repute| Some(Self { life: life.clone(), repute });
        match (recovery, known) {
            (Recovery::Complete, _) => now(Repute::Complete),
            (Recovery::New, None) if may_vouch => now(Repute::Vouched),
            (_, known) => known.cloned(),
        }
    }

    /// What is known of a member of which somebody else, who has not forgotten whom it knew, knows `told`.
    #[must_use]
    pub fn joined(known: Option<&Self>, told: &Self) -> Self {
        let Some(known) = known else { return told.clone() };
        match (known.repute, told.repute) {
            (Repute::Complete, _) => known.clone(),
            (_, Repute::Complete) => told.clone(),
            (Repute::Vouched, Repute::Vouched) if known.life == told.life => known.clone(),
            _ => Self { life: known.life.clone(), repute: Repute::Contested },
        }
    }

    /// Whether this vouches that the member, which lives as `life` and began with an empty disk, never lived before.
    #[must_use]
    pub fn vouches_for(&self, life: &Origin) -> bool {
        self.repute == Repute::Vouched && self.life == *life
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::lineage;

    const REPUTES: [Repute; 3] = [Repute::Vouched, Repute::Contested, Repute::Complete];

    fn life(number: u8) -> Origin {
        let mut life = lineage("m", 1).origin;
        life.incarnation = crate::Incarnation::from_bytes([number; 8]);
        life
    }

    fn known(number: u8, repute: Repute) -> Known {
        Known { life: life(number), repute }
    }

    /// What matters of it to somebody who comes with an empty disk: in which life, if any, it is vouched for.
    fn vouched(known: &Known) -> Option<Origin> {
        [1, 2, 3].map(life).into_iter().find(|life| known.vouches_for(life))
    }

    #[test]
    fn the_first_life_is_vouched_for_and_no_other() {
        let first = Known::met(None, &life(1), Recovery::New, true).expect("known from now on");
        assert!(first.vouches_for(&life(1)) && !first.vouches_for(&life(2)));
        let again = Known::met(Some(&first), &life(2), Recovery::New, true);
        assert_eq!(again, Some(first.clone()), "that is a loss");
        assert_eq!(
            Known::met(None, &life(1), Recovery::New, false),
            None,
            "it has forgotten itself"
        );
        assert_eq!(Known::met(Some(&first), &life(2), Recovery::Recovering, true), Some(first));
        assert_eq!(Known::met(None, &life(2), Recovery::Recovering, true), None);
    }

    #[test]
    fn who_was_complete_is_vouched_for_in_no_life_any_more() {
        let complete = Known::met(None, &life(1), Recovery::Complete, false).expect("its word");
        assert_eq!(vouched(&complete), None, "its disk went back to before it was");
        assert_eq!(Known::met(Some(&complete), &life(1), Recovery::New, true), Some(complete));
        let contested = known(1, Repute::Contested);
        let again = Known::met(Some(&contested), &life(2), Recovery::Complete, true);
        assert_eq!(again, Some(known(2, Repute::Complete)), "its own word settles it");
    }

    #[test]
    fn two_that_vouch_for_different_lives_show_a_loss() {
        let (one, other) = (known(1, Repute::Vouched), known(2, Repute::Vouched));
        assert_eq!(vouched(&Known::joined(Some(&one), &other)), None);
        assert_eq!(vouched(&Known::joined(Some(&other), &one)), None);
        assert_eq!(Known::joined(None, &one), one);
        let complete = known(3, Repute::Complete);
        assert_eq!(Known::joined(Some(&one), &complete), complete);
    }

    /// In whatever order, and however often, members hear of what others know: the same life is vouched for, or none.
    #[test]
    fn the_order_of_hearing_does_not_matter() {
        let all: Vec<Known> = [1, 2, 3]
            .into_iter()
            .flat_map(|number| REPUTES.map(|repute| known(number, repute)))
            .collect();
        let join = |one: &Known, other: &Known| Known::joined(Some(one), other);
        for a in &all {
            assert_eq!(join(a, a), *a);
            for b in &all {
                assert_eq!(join(a, b).repute, join(b, a).repute, "{a:?} {b:?}");
                assert_eq!(vouched(&join(a, b)), vouched(&join(b, a)), "{a:?} {b:?}");
                for c in &all {
                    let (left, right) = (join(&join(a, b), c), join(a, &join(b, c)));
                    assert_eq!(left.repute, right.repute, "{a:?} {b:?} {c:?}");
                    assert_eq!(vouched(&left), vouched(&right), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }
}
