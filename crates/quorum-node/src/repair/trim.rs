//! Forgets log entries that every member has.

use quorum_core::{Frontier, trim_floor};
use quorum_transport::PeerStatus;

/// What may be forgotten now: nothing while some member has not said what it holds.
pub(crate) fn floor(ours: &Frontier, peers: &[PeerStatus]) -> Option<Frontier> {
    let reported: Option<Vec<&Frontier>> =
        peers.iter().map(|peer| peer.frontier.as_ref()).collect();
    let floor = trim_floor(reported?.into_iter().chain([ours]));
    (!floor.is_empty()).then_some(floor)
}
