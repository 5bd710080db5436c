//! How long to wait before the nth attempt at reaching a peer, and how long to give it.

use std::time::Duration;

/// The delay before attempt `attempt` (from 0): doubling from `min` up to `max`, of which the upper half is jitter, so
/// that nodes that lost a peer at the same moment do not return at the same moment.
pub(crate) fn delay(attempt: u32, min: Duration, max: Duration, random: u64) -> Duration {
    let full = min.saturating_mul(1 << attempt.min(20)).min(max);
    let half = full / 2;
    let jitter_nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_nanos(random % jitter_nanos)
}

/// How long attempt `attempt` (from 0) may take: the first one `first`, the next twice, all later ones four times as long.
/// Many nodes that start at once on one machine need longer for their handshakes than anybody else.
pub(crate) fn patience(attempt: u32, first: Duration) -> Duration {
    first.saturating_mul(1 << attempt.min(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_attempts_may_take_longer_within_bounds() {
        let first = Duration::from_millis(500);
        let limits = [0, 1, 2, 3, u32::MAX].map(|attempt| patience(attempt, first).as_millis());
        assert_eq!(limits, [500, 1_000, 2_000, 2_000, 2_000]);
    }

    #[test]
    fn the_delay_grows_stays_below_its_ceiling_and_varies() {
        let (min, max) = (Duration::from_millis(20), Duration::from_millis(500));
        for attempt in 0..64 {
            let full = min.saturating_mul(1 << attempt.min(20)).min(max);
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                let delay = delay(attempt, min, max, random);
                assert!(delay >= full / 2 && delay <= full, "attempt {attempt}: {delay:?}");
            }
        }
        assert_ne!(delay(9, min, max, 1), delay(9, min, max, u64::MAX / 3));
    }
}
