//! Lets one peer at a time send everything: several would send the same.

use crate::id::PeerId;

/// The one place for a peer that sends a snapshot.
#[derive(Debug, Clone, Default)]
pub struct SnapshotSeat {
    holder: Option<PeerId>,
}

impl SnapshotSeat {
    /// Gives the place to `peer` unless another one has it.
    pub fn take(&mut self, peer: &PeerId) -> bool {
        let is_free = self.holder.as_ref().is_none_or(|holder| holder == peer);
        if is_free {
            self.holder = Some(peer.clone());
        }
        is_free
    }

    /// `peer` needs it no more: it is done, or its connection has ended.
    pub fn leave(&mut self, peer: &PeerId) {
        if self.holder.as_ref() == Some(peer) {
            self.holder = None;
        }
    }

    /// Who sends everything now.
    #[must_use]
    pub const fn holder(&self) -> Option<&PeerId> {
        self.holder.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::peer;

    #[test]
    fn one_peer_at_a_time_sends_everything() {
        let (mut seat, a, b) = (SnapshotSeat::default(), peer("a"), peer("b"));
        assert!(seat.take(&a) && seat.take(&a));
        assert!(!seat.take(&b));
        seat.leave(&b);
        assert_eq!(seat.holder(), Some(&a));
        seat.leave(&a);
        assert!(seat.take(&b));
    }
}
