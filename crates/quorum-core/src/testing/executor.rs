//! Runs futures without an async runtime: one on this thread, or several in step with a manual clock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;

use crate::ports::Clock;
use crate::testing::ManualClock;

/// Runs one future to its end on this thread, which is parked while the future waits for another thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let signal = Arc::new(Signal { woken: AtomicBool::new(false), thread: thread::current() });
    let waker = Waker::from(Arc::clone(&signal));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        // Parking may end without a reason, so the flag decides.
        while !signal.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

struct Signal {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Runs futures on this thread, always in the same order, and owns the movement of a [`ManualClock`].
///
/// A woken task is polled after those that were woken before it.
pub struct Executor<'a> {
    clock: ManualClock,
    tasks: Vec<Option<Task<'a>>>,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The place where a task of an [`Executor`] leaves its result. Dropping it does not stop the task.
#[derive(Debug)]
pub struct Handle<T> {
    task: usize,
    output: Rc<RefCell<Option<T>>>,
}

impl<T> Handle<T> {
    /// The result, once, if the task has ended.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.output.borrow_mut().take()
    }
}

impl<'a> Executor<'a> {
    /// An executor without tasks that moves `clock`.
    #[must_use]
    pub fn new(clock: ManualClock) -> Self {
        Self { clock, tasks: Vec::new(), woken: Arc::default() }
    }

    /// Adds a task. It is first polled by the next call that runs tasks.
    pub fn spawn<T: 'a>(&mut self, future: impl Future<Output = T> + 'a) -> Handle<T> {
        let output = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&output);
        let task = self.tasks.len();
        self.tasks.push(Some(Box::pin(async move {
            let result = future.await;
            *slot.borrow_mut() = Some(result);
        })));
        self.woken.lock().push_back(task);
        Handle { task, output }
    }

    /// Drops a task where it stands, as a caller does who hangs up.
    pub fn cancel<T>(&mut self, handle: &Handle<T>) {
        self.tasks[handle.task] = None;
    }

    /// Polls until every task has ended or waits. Time stands still.
    pub fn run_until_idle(&mut self) {
        loop {
            let next = self.woken.lock().pop_front();
            let Some(task) = next else { return };
            let Some(future) = self.tasks[task].as_mut() else { continue };
            let waker = Waker::from(Arc::new(Turn { task, woken: Arc::clone(&self.woken) }));
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks[task] = None;
            }
        }
    }

    /// Lets `by` pass: the clock stops at every moment that a task waits for and the tasks run there.
    pub fn advance(&mut self, by: Duration) {
        self.run_until_idle();
        let end = self.clock.now() + by;
        while let Some(at) = self.clock.next_wake().filter(|at| *at <= end) {
            self.clock.advance_to(at);
            self.run_until_idle();
        }
        self.clock.advance_to(end);
    }

    /// Runs `future` beside the other tasks to its end. Whenever all of them wait, the clock jumps to the next moment
    /// that one of them waits for.
    ///
    /// # Panics
    ///
    /// If `future` can never end: nothing is woken and nobody waits for the clock.
    pub fn block_on<T: 'a>(&mut self, future: impl Future<Output = T> + 'a) -> T {
        let handle = self.spawn(future);
        loop {
            self.run_until_idle();
            if let Some(output) = handle.take() {
                return output;
            }
            let next = self.clock.next_wake();
            let next = next.expect("deadlock: every task waits, and none of them for the clock");
            self.clock.advance_to(next);
        }
    }
}

impl std::fmt::Debug for Executor<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let running = self.tasks.iter().flatten().count();
        out.debug_struct("Executor").field("running", &running).finish_non_exhaustive()
    }
}

/// Puts its task in the queue of those to poll.
struct Turn {
    task: usize,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.woken.lock().push_back(self.task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;

    #[test]
    fn a_blocked_thread_goes_on_when_another_one_wakes_it() {
        let shared = Arc::new(Mutex::new((false, None::<Waker>)));
        let waiting = Arc::clone(&shared);
        let future = std::future::poll_fn(move |context| {
            let mut state = waiting.lock();
            state.1 = Some(context.waker().clone());
            if state.0 { Poll::Ready(7) } else { Poll::Pending }
        });
        thread::scope(|scope| {
            let waited = scope.spawn(|| block_on(future));
            let waker = loop {
                if let Some(waker) = shared.lock().1.take() {
                    break waker;
                }
                thread::yield_now();
            };
            shared.lock().0 = true;
            waker.wake();
            assert_eq!(waited.join().expect("no panic"), 7);
        });
    }

    #[test]
    fn time_jumps_to_the_next_waiter_when_all_wait() {
        let clock = ManualClock::new();
        let mut executor = Executor::new(clock.clone());
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(3_600));
        let other = executor.spawn(clock.sleep_until(epoch() + short));
        executor.block_on(clock.sleep_until(epoch() + long));
        assert_eq!(clock.now(), epoch() + long);
        assert_eq!(other.take(), Some(()));
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_future_that_can_never_end_is_reported() {
        Executor::new(ManualClock::new()).block_on(std::future::pending::<()>());
    }
}
