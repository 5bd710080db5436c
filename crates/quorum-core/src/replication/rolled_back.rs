//! Whether this node's disk has gone back in time.

use crate::frontier::Frontier;
use crate::version::Lineage;

/// Whether a peer remembers a later start of our incarnation than the one we are in.
///
/// Every start is durable before its epoch is first used, so only a disk that was rolled back (a restored snapshot, a
/// copied directory) can know fewer starts than the mesh. Such a node must become another incarnation before it numbers
/// any write: dots are never given out twice.
#[must_use]
pub fn rolled_back(ours: &Lineage, remembered: &Frontier) -> bool {
    remembered.iter().any(|(lineage, _)| {
        lineage.origin == ours.origin
            && lineage.epoch != ours.epoch
            && lineage.epoch.start() >= ours.epoch.start()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::lineage;
    use crate::version::Epoch;

    fn remembering(lineages: impl IntoIterator<Item = Lineage>) -> Frontier {
        lineages.into_iter().map(|lineage| (lineage, crate::SeqSet::up_to(1))).collect()
    }

    #[test]
    fn earlier_starts_and_other_lives_are_no_evidence() {
        let ours = lineage("us", 3);
        let mut other_life = lineage("us", 9);
        other_life.origin.incarnation = crate::Incarnation::from_bytes([9; 8]);
        let seen =
            remembering([lineage("us", 1), lineage("us", 3), lineage("other", 9), other_life]);
        assert!(!rolled_back(&ours, &seen));
    }

    #[test]
    fn a_later_start_or_a_twin_of_this_one_is() {
        let ours = lineage("us", 3);
        assert!(rolled_back(&ours, &remembering([lineage("us", 4)])));
        let twin = Lineage { epoch: Epoch::new(3, 77), ..ours.clone() };
        assert!(rolled_back(&ours, &remembering([twin])));
    }
}
