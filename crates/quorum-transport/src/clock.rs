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
