//! The clocks of one simulated node: timers run on the simulation's time, the wall clock may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use quorum_core::{Clock, Sleep};

/// What a right wall clock shows when a run begins, since the Unix epoch: some day in 2023.
const WALL_AT_START: Duration = Duration::from_secs(1_700_000_000);

/// How wrong the wall clock of a node is. It outlives the node's restarts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Sets the clock wrong by so many milliseconds.
    pub(crate) fn set_millis(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

/// The clocks of one start of a node.
#[derive(Debug)]
pub(crate) struct SimulatedClock {
    booted: Instant,
    /// How long the simulation had been running by then.
    age: Duration,
    skew: Skew,
}

impl SimulatedClock {
    /// The clocks of a node that starts now. Call it on its simulated host.
    pub(crate) fn boot(skew: &Skew) -> Self {
        let age = turmoil::sim_elapsed().unwrap_or_default();
        Self { booted: now(), age, skew: skew.clone() }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Instant {
        now()
    }

    fn wall(&self) -> Duration {
        let right = WALL_AT_START + self.age + now().saturating_duration_since(self.booted);
        let off = self.skew.0.load(Ordering::Relaxed);
        let by = Duration::from_millis(off.unsigned_abs());
        if off < 0 { right.saturating_sub(by) } else { right + by }
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
