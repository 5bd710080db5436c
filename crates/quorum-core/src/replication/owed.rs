//! Which of our records a peer lacks and should get from us.

use crate::frontier::Frontier;
use crate::id::PeerId;

/// What `us` should send to `peer`: everything that we hold and it lacks, of the lineages that are ours to send.
///
/// Those are our own, which nobody else must be trusted to have, and the peer's own: a node that lost the end of its log
/// in a crash takes back what it had already sent out.
#[must_use]
pub fn owed_to(peer: &PeerId, us: &PeerId, held: &Frontier, known_there: &Frontier) -> Frontier {
    let mut owed = held.minus(known_there);
    owed.retain(|lineage| lineage.origin.node == *us || lineage.origin.node == *peer);
    owed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::{lineage, peer};

    #[test]
    fn a_peer_gets_what_we_wrote_and_what_it_lost_itself() {
        let held: Frontier =
            [(lineage("us", 1), 5), (lineage("peer", 1), 7), (lineage("other", 1), 9)]
                .map(|(of, last)| (of, crate::SeqSet::up_to(last)))
                .into_iter()
                .collect();
        let mut known = Frontier::new();
        known.insert_range(&lineage("us", 1), 1, 3);
        known.insert_range(&lineage("peer", 1), 1, 6);
        let owed = owed_to(&peer("peer"), &peer("us"), &held, &known);
        let mut expected = Frontier::new();
        expected.insert_range(&lineage("us", 1), 4, 5);
        expected.insert_range(&lineage("peer", 1), 7, 7);
        assert_eq!(owed, expected);
    }
}
