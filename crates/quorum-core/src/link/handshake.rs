//! Whether what a member says when a connection begins fits what is remembered of it.

use crate::frontier::Frontier;
use crate::observe::HandshakeRefusal;
use crate::replication::rolled_back;
use crate::version::{Lineage, Origin};

/// Why a connection must not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a network must judge every case")]
pub enum HandshakeFault {
    /// Something is wrong with the other side: say so, and end the connection.
    Theirs {
        /// What.
        reason: HandshakeRefusal,
        /// In words.
        detail: String,
    },
    /// The other side remembers a later start of this node than its disk does: it must take another incarnation.
    OursIsRolledBack,
}

fn theirs<T>(reason: HandshakeRefusal, detail: String) -> Result<T, HandshakeFault> {
    Err(HandshakeFault::Theirs { reason, detail })
}

/// Whether a member that says Hello as `lineage` may be let in. `ours` is what is held here, `forgotten` whom nobody waits
/// for, `served` the lineage of its connection that is being served, if there is one.
///
/// # Errors
///
/// [`HandshakeFault::Theirs`].
pub fn check_hello(
    lineage: &Lineage,
    ours: &Frontier,
    forgotten: &[Origin],
    served: Option<&Lineage>,
) -> Result<(), HandshakeFault> {
    check_forgotten(lineage, forgotten)?;
    let older = served
        .is_some_and(|served| served.origin == lineage.origin && served.epoch > lineage.epoch);
    if older || rolled_back(lineage, ours) {
        let (name, epoch) = (&lineage.origin.node, lineage.epoch);
        let detail = format!("{name} says epoch {epoch}, a later one is remembered");
        return theirs(HandshakeRefusal::RolledBack, detail);
    }
    Ok(())
}

/// Whether a welcome by a member that lives as `lineage` and holds `frontier` may be believed. `us` is the lineage that was
/// told it, `ours` what is held here, `once_said_more` whether this life of it has claimed more before.
///
/// # Errors
///
/// [`HandshakeFault`].
pub fn check_welcome(
    lineage: &Lineage,
    frontier: &Frontier,
    (us, ours): (&Lineage, &Frontier),
    forgotten: &[Origin],
    once_said_more: bool,
) -> Result<(), HandshakeFault> {
    if rolled_back(us, frontier) {
        return Err(HandshakeFault::OursIsRolledBack);
    }
    let (name, epoch) = (&lineage.origin.node, lineage.epoch);
    if rolled_back(lineage, ours) {
        let detail = format!("{name} says epoch {epoch}, a later one is remembered");
        return theirs(HandshakeRefusal::RolledBack, detail);
    }
    check_forgotten(lineage, forgotten)?;
    if once_said_more {
        let detail = format!("{name} says less than it once held durably");
        return theirs(HandshakeRefusal::RolledBack, detail);
    }
    Ok(())
}

fn check_forgotten(lineage: &Lineage, forgotten: &[Origin]) -> Result<(), HandshakeFault> {
    if forgotten.contains(&lineage.origin) {
        let detail = format!("this life of {} was declared gone", lineage.origin.node);
        return theirs(HandshakeRefusal::Forgotten, detail);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeqSet;
    use crate::replication::tests::lineage;

    fn remembering(of: &Lineage) -> Frontier {
        [(of.clone(), SeqSet::up_to(1))].into_iter().collect()
    }

    fn reason(outcome: &Result<(), HandshakeFault>) -> Option<HandshakeRefusal> {
        match outcome {
            Err(HandshakeFault::Theirs { reason, .. }) => Some(*reason),
            _ => None,
        }
    }

    #[test]
    fn a_hello_of_an_earlier_start_or_a_forgotten_life_is_refused() {
        let (first, second) = (lineage("b", 1), lineage("b", 2));
        let nothing = Frontier::new();
        assert_eq!(check_hello(&first, &nothing, &[], Some(&first)), Ok(()));
        let rolled_back = Some(HandshakeRefusal::RolledBack);
        assert_eq!(reason(&check_hello(&first, &remembering(&second), &[], None)), rolled_back);
        assert_eq!(reason(&check_hello(&first, &nothing, &[], Some(&second))), rolled_back);
        let gone = [second.origin.clone()];
        let refused = reason(&check_hello(&second, &nothing, &gone, None));
        assert_eq!(refused, Some(HandshakeRefusal::Forgotten));
    }

    #[test]
    fn a_welcome_tells_who_of_the_two_has_forgotten() {
        let (us, them, nothing) = (lineage("a", 1), lineage("b", 1), Frontier::new());
        let later = remembering(&lineage("a", 2));
        let said = check_welcome(&them, &later, (&us, &nothing), &[], false);
        assert_eq!(said, Err(HandshakeFault::OursIsRolledBack));
        let rolled_back = Some(HandshakeRefusal::RolledBack);
        let known = remembering(&lineage("b", 2));
        assert_eq!(reason(&check_welcome(&them, &nothing, (&us, &known), &[], false)), rolled_back);
        assert_eq!(
            reason(&check_welcome(&them, &nothing, (&us, &nothing), &[], true)),
            rolled_back
        );
        assert_eq!(check_welcome(&them, &nothing, (&us, &nothing), &[], false), Ok(()));
    }
}
