//! Lets one peer at a time send everything: several would send the same.

use std::time::{Duration, Instant};

use crate::id::PeerId;

/// How long the peer that sends everything may send nothing before another one may.
const PATIENCE: Duration = Duration::from_secs(30);

/// The one place for a peer that sends a snapshot. Whoever has it and gets no further, because its disk hangs for one, does
/// not keep it.
#[derive(Debug, Clone, Default)]
pub struct SnapshotSeat {
    /// Who has it, and when something came of that last.
    holder: Option<(PeerId, Instant)>,
}

impl SnapshotSeat {
    /// Gives the place to `peer` unless another one has it and gets on.
    pub fn take(&mut self, peer: &PeerId, now: Instant) -> bool {
        let is_free = self.holder(now).is_none_or(|holder| holder == peer);
        if is_free {
            self.holder = Some((peer.clone(), now));
        }
        is_free
    }

    /// Something came from `peer`, or it compares.
    pub fn gets_on(&mut self, peer: &PeerId, now: Instant) {
        if let Some((holder, last)) = &mut self.holder
            && holder == peer
        {
            *last = now;
        }
    }

    /// `peer` needs it no more: it is done, or its connection has ended.
    pub fn leave(&mut self, peer: &PeerId) {
        self.holder.take_if(|(holder, _)| holder == peer);
    }

    /// Who sends everything now.
    #[must_use]
    pub fn holder(&self, now: Instant) -> Option<&PeerId> {
        let gets_on = |last: &Instant| now.saturating_duration_since(*last) < PATIENCE;
        self.holder.as_ref().filter(|(_, last)| gets_on(last)).map(|(holder, _)| holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::peer;
    use crate::testing::epoch;

    #[test]
    fn one_peer_at_a_time_sends_everything() {
        let (mut seat, a, b, now) = (SnapshotSeat::default(), peer("a"), peer("b"), epoch());
        assert!(seat.take(&a, now) && seat.take(&a, now));
        assert!(!seat.take(&b, now));
        seat.leave(&b);
        assert_eq!(seat.holder(now), Some(&a));
        seat.leave(&a);
        assert!(seat.take(&b, now));
    }

    /// Its disk hangs. Nobody else could bring this member up, and nothing would be asked of anybody else.
    #[test]
    fn a_peer_that_sends_nothing_does_not_keep_the_place() {
        let (mut seat, a, b, start) = (SnapshotSeat::default(), peer("a"), peer("b"), epoch());
        assert!(seat.take(&a, start));
        let later = start + PATIENCE / 2;
        seat.gets_on(&b, later);
        seat.gets_on(&a, later);
        assert!(!seat.take(&b, start + PATIENCE), "it gets on");
        let at_last = later + PATIENCE;
        assert_eq!(seat.holder(at_last), None);
        assert!(seat.take(&b, at_last));
        seat.gets_on(&a, at_last + PATIENCE / 2);
        seat.leave(&a);
        assert_eq!(seat.holder(at_last + PATIENCE / 2), Some(&b), "it is another one's by now");
    }
}
