//! How long to wait before the nth attempt at reaching a peer.

use std::time::Duration;

/// The delay before attempt `attempt` (from 0): doubling from `min` up to `max`, of which the upper half is jitter, so
/// that nodes that lost a peer at the same moment do not return at the same moment.
pub(crate) fn delay(attempt: u32, min: Duration, max: Duration, random: u64) -> Duration {
    let full = min.saturating_mul(1 << attempt.min(20)).min(max);
    let half = full / 2;
    let jitter_nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_nanos(random % jitter_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

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
