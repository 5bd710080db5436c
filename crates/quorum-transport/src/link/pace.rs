//! How fast a lane may send: a token bucket over an injected clock.

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

#[cfg(test)]
mod tests {
    use super::*;

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
