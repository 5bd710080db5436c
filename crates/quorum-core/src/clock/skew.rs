//! How far a peer's clock is off, from the four timestamps of one exchange.

use std::time::Duration;

/// A signed clock offset in microseconds: positive if the peer's clock is ahead of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct ClockOffset {
    micros: i64,
}

impl ClockOffset {
    /// An offset from signed microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// The signed offset in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.micros
    }

    /// How far the clocks are apart, whichever is ahead.
    #[must_use]
    pub const fn magnitude(self) -> Duration {
        Duration::from_micros(self.micros.unsigned_abs())
    }

    /// Whether the peer's clock is ahead of ours.
    #[must_use]
    pub const fn is_ahead(self) -> bool {
        self.micros > 0
    }
}

/// The four wall-clock timestamps of one probe, in microseconds since the Unix epoch (RFC 5905, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the four timestamps are the whole idea")]
pub struct SkewProbe {
    /// We sent the probe, by our clock.
    pub sent_micros: u64,
    /// The peer received it, by its clock.
    pub received_micros: u64,
    /// The peer answered, by its clock.
    pub answered_micros: u64,
    /// The answer came back, by our clock.
    pub returned_micros: u64,
}

/// How far our wall clock may move against our monotonic clock while a probe is under way.
const STEADY_WITHIN: Duration = Duration::from_secs(1);

impl SkewProbe {
    /// Whether the timestamps mean anything: a wall clock of ours that was set while the probe was under way, which took
    /// `elapsed` by the monotonic clock, makes nonsense of them.
    #[must_use]
    pub fn is_steady(&self, elapsed: Duration) -> bool {
        let by_wall = i128::from(self.returned_micros) - i128::from(self.sent_micros);
        let by_monotonic = i128::try_from(elapsed.as_micros()).unwrap_or(i128::MAX);
        by_wall.saturating_sub(by_monotonic).unsigned_abs() <= STEADY_WITHIN.as_micros()
    }

    /// The peer's offset: exact if both ways take equally long, wrong by at most half the round trip.
    #[must_use]
    pub fn offset(&self) -> ClockOffset {
        let there = i128::from(self.received_micros) - i128::from(self.sent_micros);
        let back = i128::from(self.answered_micros) - i128::from(self.returned_micros);
        let micros = i64::try_from((there + back) / 2).unwrap_or(i64::MAX);
        ClockOffset { micros }
    }

    /// The time on the wire, without the peer's own; zero if a clock was stepped meanwhile.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        let total = self.returned_micros.saturating_sub(self.sent_micros);
        let inside = self.answered_micros.saturating_sub(self.received_micros);
        Duration::from_micros(total.saturating_sub(inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_counts_only_if_both_clocks_moved_alike() {
        let came_back_at = |returned_micros| SkewProbe {
            sent_micros: 5_000_000,
            received_micros: 0,
            answered_micros: 0,
            returned_micros,
        };
        let elapsed = Duration::from_millis(500);
        for (returned, is_steady) in [
            (5_500_000, true),
            (6_500_000, true),
            (6_500_001, false),
            (4_500_000, true),
            (4_499_999, false),
        ] {
            assert_eq!(came_back_at(returned).is_steady(elapsed), is_steady, "{returned}");
        }
        assert!(!came_back_at(u64::MAX).is_steady(Duration::MAX));
    }

    #[test]
    fn the_offset_of_a_symmetric_exchange_is_exact() {
        let probe = SkewProbe {
            sent_micros: 1_000,
            received_micros: 6_100,
            answered_micros: 6_300,
            returned_micros: 1_400,
        };
        assert_eq!(probe.offset(), ClockOffset::from_micros(5_000));
        assert_eq!(probe.round_trip(), Duration::from_micros(200));
        assert!(probe.offset().is_ahead());
    }

    #[test]
    fn absurd_timestamps_neither_overflow_nor_panic() {
        for probe in [
            SkewProbe {
                sent_micros: 0,
                received_micros: u64::MAX,
                answered_micros: u64::MAX,
                returned_micros: 0,
            },
            SkewProbe {
                sent_micros: u64::MAX,
                received_micros: 0,
                answered_micros: 0,
                returned_micros: u64::MAX,
            },
        ] {
            assert!(probe.offset().magnitude() > Duration::from_secs(1_000_000));
            let _bounded = probe.round_trip();
        }
    }
}
