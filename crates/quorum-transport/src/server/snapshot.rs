//! Lets one peer at a time send everything: several would send the same.

use parking_lot::Mutex;
use quorum_core::PeerId;

/// The one place for a peer that sends a snapshot.
#[derive(Debug, Default)]
pub(crate) struct SnapshotSeat(Mutex<Option<PeerId>>);

impl SnapshotSeat {
    /// Gives the place to `peer` unless another one has it.
    pub(crate) fn take(&self, peer: &PeerId) -> bool {
        let mut seat = self.0.lock();
        let is_free = seat.as_ref().is_none_or(|holder| holder == peer);
        if is_free {
            *seat = Some(peer.clone());
        }
        is_free
    }

    /// `peer` needs it no more: it is done, or its connection has ended.
    pub(crate) fn leave(&self, peer: &PeerId) {
        let mut seat = self.0.lock();
        if seat.as_ref() == Some(peer) {
            *seat = None;
        }
    }

    /// Who sends everything now.
    pub(crate) fn holder(&self) -> Option<PeerId> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_at_a_time_sends_everything() {
        let (seat, a, b) = (SnapshotSeat::default(), PeerId::new("a"), PeerId::new("b"));
        let (a, b) = (a.expect("a name"), b.expect("a name"));
        assert!(seat.take(&a) && seat.take(&a));
        assert!(!seat.take(&b));
        seat.leave(&b);
        assert_eq!(seat.holder(), Some(a.clone()));
        seat.leave(&a);
        assert!(seat.take(&b));
    }
}
