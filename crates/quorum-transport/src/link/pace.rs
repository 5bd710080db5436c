//! How fast the catch-up lane may send: a token bucket over an injected clock, and a rest beside live writes.

use std::time::{Duration, Instant};

/// Lets through a number of bytes a second on average, in bursts of at most a second's worth.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    free_at: Option<Instant>,
}

impl Pace {
    /// Zero is unlimited.
    pub(crate) const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, free_at: None }
    }

    /// Books `bytes` and says when the next piece may be sent.
    pub(crate) fn spend(&mut self, bytes: usize, now: Instant) -> Instant {
        if self.bytes_per_second == 0 {
            return now;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let from = self.free_at.map_or(now, |free_at| free_at.max(now));
        let free_at = from + cost;
        self.free_at = Some(free_at);
        free_at
    }
}

/// Of the time that a member catches up beside live writes, this many parts are left to them for one that it takes.
const LIVE_PARTS: u32 = 2;
/// The longest rest behind one piece.
const REST_MAX: Duration = Duration::from_millis(250);

/// How long to rest behind a piece that took so long to be answered, beside live writes. The peer's answer takes as long as
/// the busiest of all parts of the way, so the rest follows whatever is scarce: the wire, a disk, or a processor.
pub(crate) fn rest(took: Duration) -> Duration {
    took.saturating_mul(LIVE_PARTS).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_in_proportion_and_bounded() {
        assert_eq!(rest(Duration::from_millis(7)), Duration::from_millis(14));
        assert_eq!(rest(Duration::from_secs(9)), REST_MAX);
    }

    #[test]
    fn the_average_rate_is_kept_and_zero_is_unlimited() {
        let (mut pace, now) = (Pace::new(1_000), Instant::now());
        assert_eq!(pace.spend(500, now), now + Duration::from_millis(500));
        assert_eq!(pace.spend(1_500, now), now + Duration::from_secs(2));
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.spend(1_000, later), later + Duration::from_secs(1));
        assert_eq!(Pace::new(0).spend(usize::MAX, now), now);
    }
}
