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
    /// How far the wall clock is ahead of what the anchor lets expect; negative if behind.
    drift_micros: i64,
    estimates: BTreeMap<PeerId, Estimate>,
}

/// A peer's offset, with what is needed to know it after this clock has jumped.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    offset: ClockOffset,
    measured_at: Instant,
    /// The drift of this clock when the offset was measured.
    drift_micros: i64,
}

impl Estimate {
    /// The offset now: a clock that has jumped ahead since has moved away from its peers as far.
    fn offset_at(&self, drift_micros: i64) -> ClockOffset {
        let jumped = drift_micros.saturating_sub(self.drift_micros);
        ClockOffset::from_micros(self.offset.as_micros().saturating_sub(jumped))
    }
}

impl ClockGuard {
    /// A guard that tolerates offsets up to `skew_max`.
    #[must_use]
    pub const fn new(skew_max: Duration) -> Self {
        Self { skew_max, anchor: None, drift_micros: 0, estimates: BTreeMap::new() }
    }

    /// The tolerated offset.
    #[must_use]
    pub const fn skew_max(&self) -> Duration {
        self.skew_max
    }

    /// A reading of both clocks. The first one is the anchor that later ones are compared with.
    pub fn record_reading(&mut self, now: Instant, wall_millis: u64) {
        self.drift_micros = self.drift_at(now, wall_millis);
        if self.drift() > self.skew_max && self.peers_agree() {
            // Enough peers share this clock's new opinion: the anchor was taken from a clock that has since been
            // corrected, or the host slept.
            self.anchor = Some((now, wall_millis));
            let moved = std::mem::take(&mut self.drift_micros);
            for estimate in self.estimates.values_mut() {
                estimate.drift_micros = estimate.drift_micros.saturating_sub(moved);
            }
        }
    }

    /// The last estimate of a connected peer's offset, and what both clocks of this node said when it was measured.
    ///
    /// An estimate from before a jump of this clock is carried over the jump, whenever it is told: peers confirm a jump
    /// only by what is measured after it.
    pub fn record_offset(
        &mut self,
        peer: PeerId,
        offset: ClockOffset,
        measured_at: Instant,
        wall_millis: u64,
    ) {
        let is_known =
            self.estimates.get(&peer).is_some_and(|known| known.measured_at >= measured_at);
        if !is_known {
            let drift_micros = self.drift_at(measured_at, wall_millis);
            self.estimates.insert(peer, Estimate { offset, measured_at, drift_micros });
        }
    }

    /// The link to `peer` is gone, and its estimate with it.
    pub fn forget(&mut self, peer: &PeerId) {
        self.estimates.remove(peer);
    }

    /// Why the clock must not stamp new writes, if so.
    #[must_use]
    pub fn fault(&self) -> Option<ClockFault> {
        let (connected, disagreeing) = (self.estimates.len(), self.disagreeing());
        if 2 * disagreeing > connected {
            return Some(ClockFault::Outvoted { disagreeing, connected });
        }
        (self.drift() > self.skew_max).then(|| ClockFault::Jumped { by: self.drift() })
    }

    /// How far a reading is ahead of what the anchor lets expect; the first one is the anchor.
    fn drift_at(&mut self, at: Instant, wall_millis: u64) -> i64 {
        let (anchor, anchor_millis) = *self.anchor.get_or_insert((at, wall_millis));
        let micros = |span: Duration| i128::try_from(span.as_micros()).unwrap_or(i128::MAX / 2);
        let elapsed = micros(at.saturating_duration_since(anchor))
            - micros(anchor.saturating_duration_since(at));
        let ahead = (i128::from(wall_millis) - i128::from(anchor_millis)) * 1_000 - elapsed;
        i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX })
    }

    const fn drift(&self) -> Duration {
        Duration::from_micros(self.drift_micros.unsigned_abs())
    }

    fn disagreeing(&self) -> usize {
        let apart = |estimate: &&Estimate| estimate.offset_at(self.drift_micros).magnitude();
        self.estimates.values().filter(|estimate| apart(estimate) > self.skew_max).count()
    }

    fn peers_agree(&self) -> bool {
        let agreeing = self.estimates.len() - self.disagreeing();
        2 * agreeing > self.estimates.len()
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

    /// An estimate from before the jump says nothing about it, and must not pass for a confirmation.
    #[test]
    fn a_jump_is_a_correction_once_most_peers_confirm_it() {
        let (start, mut guard) = (crate::testing::epoch(), ClockGuard::new(MAX));
        let at = |seconds| start + Duration::from_secs(seconds);
        let agrees = ClockOffset::from_micros(10);
        guard.record_offset(peer("a"), agrees, start, 1_000_000);
        guard.record_reading(start, 1_000_000);
        guard.record_reading(at(1), 9_001_000);
        assert!(guard.fault().is_some(), "nobody has looked since");
        guard.record_offset(peer("a"), agrees, start, 1_000_000);
        guard.record_reading(at(2), 9_002_000);
        assert!(guard.fault().is_some(), "still the old estimate");
        // Measured just before the jump, and told after it.
        guard.record_offset(peer("b"), agrees, start + Duration::from_millis(900), 1_000_900);
        guard.record_reading(at(2), 9_002_000);
        assert!(guard.fault().is_some(), "an old estimate that comes late");
        guard.record_offset(peer("a"), agrees, at(3), 9_003_000);
        guard.record_offset(peer("b"), agrees, at(3), 9_003_000);
        guard.record_reading(at(3), 9_003_000);
        assert_eq!(guard.fault(), None);
        guard.record_reading(at(4), 9_004_000);
        assert_eq!(guard.fault(), None, "the new time is the one to compare with");
    }

    #[test]
    fn a_majority_of_links_beyond_the_limit_outvotes_the_clock() {
        let (start, mut guard) = (crate::testing::epoch(), ClockGuard::new(MAX));
        let mut offset = |name, micros| {
            guard.record_offset(peer(name), ClockOffset::from_micros(micros), start, 0)
        };
        offset("a", 600_000_000);
        offset("b", 10);
        assert_eq!(guard.fault(), None, "one of two is no majority");
        guard.record_offset(peer("c"), ClockOffset::from_micros(-600_000_000), start, 0);
        assert!(matches!(
            guard.fault(),
            Some(ClockFault::Outvoted { disagreeing: 2, connected: 3 })
        ));
        guard.forget(&peer("c"));
        assert_eq!(guard.fault(), None);
    }
}
