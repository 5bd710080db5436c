//! What happened, in order, as one number: two runs of a seed are the same run if their traces are.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::ports::Clock;
use crate::testing::{ManualClock, epoch};

/// Events of one run. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    clock: ManualClock,
    state: Arc<Mutex<State>>,
    prints: bool,
}

#[derive(Debug)]
struct State {
    hash: u64,
    events: u64,
}

impl Trace {
    pub(super) fn new(clock: ManualClock, prints: bool) -> Self {
        let state = State { hash: 0xcbf2_9ce4_8422_2325, events: 0 };
        Self { clock, state: Arc::new(Mutex::new(state)), prints }
    }

    /// Enters an event by its kind and two numbers; `words` is for people.
    pub(super) fn event<D: Display>(
        &self,
        kind: &'static str,
        numbers: (u64, u64),
        words: impl FnOnce() -> D,
    ) {
        let now = self.clock.now();
        {
            let mut state = self.state.lock();
            state.events += 1;
            for word in [micros(now), kind.len() as u64, numbers.0, numbers.1] {
                state.hash =
                    (state.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
            }
            for byte in kind.bytes() {
                state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        if self.prints {
            self.print(now, kind, &words());
        }
    }

    #[expect(clippy::print_stderr, reason = "asked for by whoever looks into a failure")]
    fn print(&self, now: Instant, kind: &str, words: &dyn Display) {
        let at = now.saturating_duration_since(epoch()).as_secs_f64();
        eprintln!("{at:>12.6}  {kind:<10} {words}");
    }

    pub(super) fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    pub(super) fn events(&self) -> u64 {
        self.state.lock().events
    }
}

fn micros(now: Instant) -> u64 {
    let since = now.saturating_duration_since(epoch());
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
