//! The only source of `peer` label values: the member list that the node was started with.
//!
//! Whatever a peer calls itself, it cannot add a series: a name that is not in the list has no label.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::{KeyValue, Value};
use quorum_core::PeerId;

use crate::names::PEER;

/// One ready-made label per member, so that a recording allocates nothing.
#[derive(Debug)]
pub(crate) struct PeerLabels(HashMap<PeerId, KeyValue>);

impl PeerLabels {
    pub(crate) fn new(peers: &[PeerId]) -> Self {
        let label = |peer: &PeerId| {
            let name: Arc<str> = peer.as_str().into();
            KeyValue::new(PEER, Value::String(name.into()))
        };
        Self(peers.iter().map(|peer| (peer.clone(), label(peer))).collect())
    }

    /// The label of a member, nothing for a stranger.
    pub(crate) fn of(&self, peer: &PeerId) -> Option<KeyValue> {
        self.0.get(peer).cloned()
    }

    /// The labels of all members.
    pub(crate) fn all(&self) -> impl Iterator<Item = &KeyValue> {
        self.0.values()
    }
}
