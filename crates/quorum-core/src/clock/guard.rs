//! Whether this node's own wall clock may stamp new writes.
//!
//! One bad clock must not stop the mesh, and must not poison last-writer-wins either: a node that has reason to
//! distrust its own clock takes no new writes, still stores and serves, and resumes by itself when the clock is right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::skew::ClockOffset;
use crate::id::PeerId;

/// Why this node's clock is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockFault {
    /// The wall clock jumped against the monotonic clock by more than the limit.
    #[error("the wall clock jumped by {} s against the monotonic clock", .by.as_secs())]
    Jumped {
        /// How far.
        by: Duration,
    },
    /// A majority of the connected peers sees this node's clock beyond the limit.
    #[error(
        "{disagreeing} of {connected} connected peers are further than the limit from this clock"
    )]
    Outvoted {
        /// Peers further away than the limit.
        disagreeing: usize,
        /// Peers with a recent estimate.
        connected: usize,
    },
}

/// Watches one clock. Feed it readings and peer offsets; ask [`fault`](Self::fault).
#[derive(Debug, Clone)]
pub struct ClockGuard {
    skew_max: Duration,
    anchor: Option<(Instant, u64)>,
    drift: Duration,
    offsets: BTreeMap<PeerId, ClockOffset>,
}

impl ClockGuard {
    /// A guard that tolerates offsets up to `skew_max`.
    #[must_use]
    pub const fn new(skew_max: Duration) -> Self {
        Self { skew_max, anchor: None, drift: Duration::ZERO, offsets: BTreeMap::new() }
    }

    /// The tolerated offset.
    #[must_use]
    pub const fn skew_max(&self) -> Duration {
        self.skew_max
    }

    /// A reading of both clocks. The first one is the anchor that later ones are compared with.
    pub fn record_reading(&mut self, now: Instant, wall_millis: u64) {
        let (anchor, anchor_millis) = *self.anchor.get_or_insert((now, wall_millis));
        let elapsed = now.saturating_duration_since(anchor).as_millis();
        let expected = i128::from(anchor_millis) + i128::try_from(elapsed).unwrap_or(i128::MAX / 2);
        let apart = (i128::from(wall_millis) - expected).unsigned_abs();
        self.drift = Duration::from_millis(u64::try_from(apart).unwrap_or(u64::MAX));
        if self.drift > self.skew_max && self.peers_agree() {
            // Enough peers share this clock's new opinion: the anchor was taken from a clock that has since been
            // corrected, or the host slept.
            self.anchor = Some((now, wall_millis));
            self.drift = Duration::ZERO;
        }
    }

    /// A fresh estimate of a connected peer's offset.
    pub fn record_offset(&mut self, peer: PeerId, offset: ClockOffset) {
        self.offsets.insert(peer, offset);
    }

    /// The link to `peer` is gone, and its estimate with it.
    pub fn forget(&mut self, peer: &PeerId) {
        self.offsets.remove(peer);
    }

    /// Why the clock must not stamp new writes, if so.
    #[must_use]
    pub fn fault(&self) -> Option<ClockFault> {
        let (connected, disagreeing) = (self.offsets.len(), self.disagreeing());
        if 2 * disagreeing > connected {
            return Some(ClockFault::Outvoted { disagreeing, connected });
        }
        (self.drift > self.skew_max).then_some(ClockFault::Jumped { by: self.drift })
    }

    fn disagreeing(&self) -> usize {
        self.offsets.values().filter(|offset| offset.magnitude() > self.skew_max).count()
    }

    fn peers_agree(&self) -> bool {
        let agreeing = self.offsets.len() - self.disagreeing();
        2 * agreeing > self.offsets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(300);

    fn peer(name: &str) -> PeerId {
        PeerId::new(name).expect("a valid name")
    }

    #[test]
    fn a_steady_clock_is_trusted() {
        let (start, mut guard) = (crate::testing::epoch(), ClockGuard::new(MAX));
        for second in 0..1_000 {
            guard.record_reading(start + Duration::from_secs(second), 5_000 + second * 1_000);
            assert_eq!(guard.fault(), None);
        }
    }

    #[test]
    fn a_jump_is_a_fault_until_the_clock_is_back() {
        let (start, mut guard) = (crate::testing::epoch(), ClockGuard::new(MAX));
        guard.record_reading(start, 1_000_000);
        guard.record_reading(start + Duration::from_secs(1), 1_601_000);
        assert!(matches!(guard.fault(), Some(ClockFault::Jumped { .. })));
        guard.record_reading(start + Duration::from_secs(2), 1_002_000);
        assert_eq!(guard.fault(), None);
    }

    #[test]
    fn a_jump_that_most_peers_confirm_is_a_correction() {
        let (start, mut guard) = (crate::testing::epoch(), ClockGuard::new(MAX));
        guard.record_reading(start, 1_000_000);
        guard.record_offset(peer("a"), ClockOffset::from_micros(10));
        guard.record_reading(start + Duration::from_secs(1), 9_000_000);
        assert_eq!(guard.fault(), None);
    }

    #[test]
    fn a_majority_of_links_beyond_the_limit_outvotes_the_clock() {
        let mut guard = ClockGuard::new(MAX);
        guard.record_offset(peer("a"), ClockOffset::from_micros(600_000_000));
        guard.record_offset(peer("b"), ClockOffset::from_micros(10));
        assert_eq!(guard.fault(), None, "one of two is no majority");
        guard.record_offset(peer("c"), ClockOffset::from_micros(-600_000_000));
        assert!(matches!(
            guard.fault(),
            Some(ClockFault::Outvoted { disagreeing: 2, connected: 3 })
        ));
        guard.forget(&peer("c"));
        assert_eq!(guard.fault(), None);
    }
}
