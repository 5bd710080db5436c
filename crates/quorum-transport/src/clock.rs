//! The real clock, and deadlines over any clock.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use quorum_core::{Clock, Sleep};

/// The machine's clocks, with tokio's timers.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TokioClock;

impl TokioClock {
    /// The machine's clock.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}

/// Moments at which tasks do what has time, all at once: each of them alone would wake the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    began: Instant,
}

impl Beat {
    pub(crate) const fn new(began: Instant) -> Self {
        Self { began }
    }

    /// The first moment behind `after` that lies whole intervals behind the beginning.
    pub(crate) fn next(self, interval: Duration, after: Instant) -> Instant {
        let since = after.saturating_duration_since(self.began).as_nanos();
        let into = since.checked_rem(interval.as_nanos()).unwrap_or(0);
        after + interval.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)))
    }
}

/// The future's output, or `None` once `limit` has passed; the future is dropped then.
pub(crate) async fn within<F: Future>(
    clock: &dyn Clock,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep_until(clock.now() + limit) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_comes_after_any_moment_within_one_interval_and_alike_for_all() {
        let began = Instant::now();
        let (beat, ms) = (Beat::new(began), Duration::from_millis);
        for (after, expected) in [(0, 500), (1, 500), (499, 500), (500, 1_000), (1_250, 1_500)] {
            assert_eq!(beat.next(ms(500), began + ms(after)), began + ms(expected), "{after}");
        }
        assert_eq!(beat.next(Duration::ZERO, began + ms(3)), began + ms(3));
    }
}
