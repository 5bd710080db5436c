//! Closes the gaps that a crash left in this node's own earlier lineages, those of earlier lives included.

use quorum_core::{Frontier, Lineage, SeqSet, void_dots};
use quorum_transport::PeerStatus;

/// The void dots of every earlier lineage of this node that can be told now.
///
/// A peer's frontier counts once it has welcomed us in the present epoch, which the link's state says: it is empty
/// until then, and every start begins with a new link.
pub(crate) fn closable(
    current: &Lineage,
    ours: &Frontier,
    peers: &[PeerStatus],
) -> Vec<(Lineage, SeqSet)> {
    let closed = ours
        .iter()
        .map(|(lineage, _)| lineage)
        .filter(|lineage| lineage.origin.node == current.origin.node && *lineage != current);
    let void = |lineage: &Lineage| {
        let void = void_dots(lineage, ours, peers.iter().map(|peer| peer.frontier.as_ref()))?;
        (!void.is_empty()).then(|| (lineage.clone(), void))
    };
    closed.filter_map(void).collect()
}
