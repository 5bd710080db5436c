//! The clocks of the members: one monotonic time for all, a wall clock of its own for each, which steps and drifts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ports::{Clock, Sleep};
use crate::testing::ManualClock;

/// The clock of one member.
#[derive(Debug, Clone)]
pub struct MemberClock {
    base: ManualClock,
    wall: Arc<Mutex<Wall>>,
}

#[derive(Debug)]
struct Wall {
    /// When it was set last, and to what.
    set_at: Instant,
    shows: Duration,
    /// How much faster than time it runs, in millionths.
    drift_ppm: i64,
}

impl Wall {
    fn at(&self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.set_at);
        let micros = i128::try_from(elapsed.as_micros()).unwrap_or(i128::MAX);
        let gained = micros * i128::from(self.drift_ppm) / 1_000_000;
        let gained_micros =
            Duration::from_micros(u64::try_from(gained.unsigned_abs()).unwrap_or(0));
        let true_time = self.shows + elapsed;
        if gained < 0 { true_time.saturating_sub(gained_micros) } else { true_time + gained_micros }
    }
}

impl MemberClock {
    pub(super) fn new(base: ManualClock, drift_ppm: i64) -> Self {
        let wall = Wall { set_at: base.now(), shows: base.wall(), drift_ppm };
        Self { base, wall: Arc::new(Mutex::new(wall)) }
    }

    /// Moves the wall clock by so many milliseconds, but no further than so far from the true time.
    pub(super) fn step(&self, millis: i64, furthest: Duration) {
        let now = self.base.now();
        let mut wall = self.wall.lock();
        let (shows, by) = (wall.at(now), Duration::from_millis(millis.unsigned_abs()));
        let shows = if millis < 0 { shows.saturating_sub(by) } else { shows + by };
        let right = self.base.wall();
        let shows = shows.clamp(right.saturating_sub(furthest), right + furthest);
        *wall = Wall { set_at: now, shows, drift_ppm: wall.drift_ppm };
    }

    /// Sets the wall clock right, and lets it drift no more.
    pub(super) fn correct(&self) {
        *self.wall.lock() = Wall { set_at: self.base.now(), shows: self.base.wall(), drift_ppm: 0 };
    }
}

impl Clock for MemberClock {
    fn now(&self) -> Instant {
        self.base.now()
    }

    fn wall(&self) -> Duration {
        self.wall.lock().at(self.base.now())
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        self.base.sleep_until(at)
    }
}
