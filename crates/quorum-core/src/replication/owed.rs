//! Which records a peer lacks and should get from us.

use crate::frontier::Frontier;
use crate::planted::{self, Bug};
use crate::version::Origin;

/// What a member that lives as `us` should send to a peer: of all that it holds and the peer lacks, what it coordinated
/// itself in this life, and what the peer wants of it.
///
/// Everybody pushes their own writes and nothing else, so that no record arrives from everybody who has it; the rest is
/// [wanted](crate::wants) by the one who lacks it, of one member at a time.
#[must_use]
pub fn owed_to(
    us: &Origin,
    held: &Frontier,
    known_there: &Frontier,
    wanted: &Frontier,
) -> Frontier {
    let mut owed = held.of_member(&us.node);
    owed.retain(|lineage| lineage.origin == *us && !planted::is(Bug::OwnWritesNotOwed));
    // Mostly nothing, so it is looked for in what is held, and not the other way around.
    owed.merge(&wanted.common(held));
    owed.minus(known_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::lineage;
    use crate::{Incarnation, Lineage, SeqSet};

    #[test]
    fn a_peer_gets_what_we_wrote_in_this_life_and_what_it_asked_for() {
        let mut former = lineage("us", 1);
        former.origin.incarnation = Incarnation::from_bytes([9; 8]);
        let all = [lineage("us", 1), lineage("us", 2), former, lineage("other", 1)];
        let held: Frontier =
            all.iter().map(|of: &Lineage| (of.clone(), SeqSet::up_to(9))).collect();
        let mut known = Frontier::new();
        known.insert_range(&lineage("us", 1), 1, 3);
        let mut wanted = Frontier::new();
        wanted.insert_range(&lineage("other", 1), 5, 20);
        let owed = owed_to(&lineage("us", 2).origin, &held, &known, &wanted);
        let mut expected = Frontier::new();
        expected.insert_range(&lineage("us", 1), 4, 9);
        expected.insert_range(&lineage("us", 2), 1, 9);
        expected.insert_range(&lineage("other", 1), 5, 9);
        assert_eq!(owed, expected);
    }
}
