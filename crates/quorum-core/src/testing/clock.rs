//! A clock that stands still until a test moves it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ports::{Clock, Sleep};
use crate::testing::epoch;

/// The wall clock of a new [`ManualClock`], since the Unix epoch: some day in 2023.
const WALL_AT_START: Duration = Duration::from_secs(1_700_000_000);

/// A [`Clock`] that moves only when told to.
///
/// Clones are the same clock. Monotonic time starts at [`epoch`]. Sleepers are woken in the order of the moments they
/// wait for, and among equals in the order in which they began to wait, so a test runs the same way every time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    now: Instant,
    wall: Duration,
    sleepers: BTreeMap<Turn, Waker>,
    next_sleeper: u64,
}

/// When a sleeper is due, and its place among those that are due together.
type Turn = (Instant, u64);

impl Default for State {
    fn default() -> Self {
        Self { now: epoch(), wall: WALL_AT_START, sleepers: BTreeMap::new(), next_sleeper: 0 }
    }
}

impl ManualClock {
    /// A clock that shows [`epoch`] and a fixed wall-clock time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves both clocks on by `by` and wakes the sleepers that are due.
    ///
    /// Sleepers see the time at the end of the move. Where tasks should act at their own moments on the way, let
    /// [`Executor::advance`](crate::testing::Executor::advance) move the clock.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.now += by;
        state.wall += by;
        // The smallest turn that may not be due yet.
        let not_due = (state.now + Duration::from_nanos(1), 0);
        let waiting = state.sleepers.split_off(&not_due);
        let due = std::mem::replace(&mut state.sleepers, waiting);
        // A waker may ask for the time, so none is called under the lock.
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    /// Moves both clocks on to `at`; does nothing if that is past.
    pub fn advance_to(&self, at: Instant) {
        self.advance(at.saturating_duration_since(self.now()));
    }

    /// Steps the wall clock, forwards or backwards. Monotonic time does not move.
    pub fn set_wall(&self, wall: Duration) {
        self.state.lock().wall = wall;
    }

    /// The earliest moment that somebody sleeps until.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.state.lock().sleepers.first_key_value().map(|((at, _), _)| *at)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.state.lock().now
    }

    fn wall(&self) -> Duration {
        self.state.lock().wall
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Box::pin(Sleeping { state: Arc::clone(&self.state), at, turn: None })
    }
}

struct Sleeping {
    state: Arc<Mutex<State>>,
    at: Instant,
    /// Where it is registered, once it has been polled.
    turn: Option<Turn>,
}

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.state);
        let mut state = shared.lock();
        if state.now >= self.at {
            return Poll::Ready(());
        }
        let at = self.at;
        let turn = *self.turn.get_or_insert_with(|| {
            state.next_sleeper += 1;
            (at, state.next_sleeper)
        });
        state.sleepers.insert(turn, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            self.state.lock().sleepers.remove(&turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Executor;
    use std::cell::RefCell;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn time_moves_only_when_told_to() {
        let clock = ManualClock::new();
        assert_eq!((clock.now(), clock.wall()), (epoch(), WALL_AT_START));
        clock.advance(ms(5));
        assert_eq!((clock.now(), clock.wall()), (epoch() + ms(5), WALL_AT_START + ms(5)));
        clock.set_wall(ms(1));
        clock.advance_to(epoch());
        assert_eq!((clock.now(), clock.wall()), (epoch() + ms(5), ms(1)));
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_moments_then_of_their_coming() {
        let clock = ManualClock::new();
        let order = RefCell::new(Vec::new());
        let mut executor = Executor::new(clock.clone());
        for (name, millis) in [("c", 20), ("a", 10), ("b", 10)] {
            let (clock, order) = (clock.clone(), &order);
            executor.spawn(async move {
                clock.sleep_until(epoch() + ms(millis)).await;
                order.borrow_mut().push(name);
            });
        }
        executor.run_until_idle();
        assert_eq!(clock.next_wake(), Some(epoch() + ms(10)));
        clock.advance(ms(20));
        executor.run_until_idle();
        drop(executor);
        assert_eq!(order.into_inner(), ["a", "b", "c"]);
    }

    #[test]
    fn a_sleeper_that_gave_up_is_forgotten() {
        let clock = ManualClock::new();
        let mut executor = Executor::new(clock.clone());
        let sleeper = executor.spawn(clock.sleep_until(epoch() + ms(10)));
        executor.run_until_idle();
        executor.cancel(&sleeper);
        assert_eq!(clock.next_wake(), None);
    }
}
