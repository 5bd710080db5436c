//! One thread, many tasks, virtual time: tasks run in the order in which they were woken, and die with their member.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use crate::ports::Clock;
use crate::testing::ManualClock;

/// Whose task it is: a member in one of its starts, or nobody's.
pub(super) type Owner = Option<(usize, u64)>;

/// Members, each with the tasks that would have run.
type Frozen = Vec<(usize, Vec<usize>)>;

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    owner: Owner,
    work: Work,
    waker: Waker,
    woken: Arc<TaskWaker>,
}

struct TaskWaker {
    place: usize,
    is_queued: AtomicBool,
    queue: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.queue.lock().push_back(self.place);
        }
    }
}

/// The tasks of a simulation. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Tasks {
    clock: ManualClock,
    places: Rc<RefCell<Vec<Option<Task>>>>,
    free: Rc<RefCell<Vec<usize>>>,
    queue: Arc<Mutex<VecDeque<usize>>>,
    /// Members that do not run, as a stopped process does not, and whose turn it would have been.
    frozen: Rc<RefCell<Frozen>>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tasks").finish_non_exhaustive()
    }
}

impl Tasks {
    pub(super) fn new(clock: ManualClock) -> Self {
        Self {
            clock,
            places: Rc::default(),
            free: Rc::default(),
            queue: Arc::default(),
            frozen: Rc::default(),
        }
    }

    /// Starts a task; it is first run when those that wait now have been.
    pub(super) fn spawn(&self, owner: Owner, work: impl Future<Output = ()> + 'static) {
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut places = self.places.borrow_mut();
            places.push(None);
            places.len() - 1
        });
        let woken = Arc::new(TaskWaker {
            place,
            is_queued: AtomicBool::new(true),
            queue: Arc::clone(&self.queue),
        });
        let waker = Waker::from(Arc::clone(&woken));
        self.places.borrow_mut()[place] = Some(Task { owner, work: Box::pin(work), waker, woken });
        self.queue.lock().push_back(place);
    }

    /// Drops the tasks of an owner where they stand, as the death of a process does.
    pub(super) fn kill(&self, owner: (usize, u64)) {
        let places: Vec<usize> = (0..self.places.borrow().len())
            .filter(|place| {
                self.places.borrow()[*place].as_ref().is_some_and(|t| t.owner == Some(owner))
            })
            .collect();
        for place in places {
            // Dropped without the list borrowed: what a task drops may wake others.
            let gone = self.places.borrow_mut()[place].take();
            drop(gone);
            self.free.borrow_mut().push(place);
        }
    }

    /// Stops a member where it stands, until it is thawed.
    pub(super) fn freeze(&self, member: usize) {
        let mut frozen = self.frozen.borrow_mut();
        if !frozen.iter().any(|(is, _)| *is == member) {
            frozen.push((member, Vec::new()));
        }
    }

    /// Lets a member go on. What has happened meanwhile it learns in the order in which it happened.
    pub(super) fn thaw(&self, member: usize) {
        let mut frozen = self.frozen.borrow_mut();
        if let Some(place) = frozen.iter().position(|(is, _)| *is == member) {
            self.queue.lock().extend(frozen.remove(place).1);
        }
    }

    /// Whether a task must wait because its member is frozen.
    fn waits(&self, place: usize) -> bool {
        let mut frozen = self.frozen.borrow_mut();
        if frozen.is_empty() {
            return false;
        }
        let places = self.places.borrow();
        let owner = places[place].as_ref().and_then(|task| task.owner);
        let held = frozen.iter_mut().find(|(is, _)| owner.is_some_and(|owner| owner.0 == *is));
        held.map(|(_, held)| held.push(place)).is_some()
    }

    /// Drops every task.
    pub(super) fn clear(&self) {
        let places: Vec<_> = self.places.borrow_mut().drain(..).collect();
        drop(places);
        self.free.borrow_mut().clear();
        self.queue.lock().clear();
    }

    /// Runs until everybody waits. Time stands still.
    fn run_ready(&self) {
        loop {
            let next = self.queue.lock().pop_front();
            let Some(place) = next else { return };
            if self.waits(place) {
                continue;
            }
            let Some(mut task) = self.places.borrow_mut()[place].take() else { continue };
            task.woken.is_queued.store(false, Ordering::Relaxed);
            let waker = task.waker.clone();
            if task.work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                drop(task);
                self.free.borrow_mut().push(place);
            } else {
                self.places.borrow_mut()[place] = Some(task);
            }
        }
    }

    /// Lets time pass until `end`, or until `is_over`; every task runs at its own moment.
    pub(super) fn run_until(&self, end: Instant, is_over: impl Fn() -> bool) {
        loop {
            self.run_ready();
            if is_over() {
                return;
            }
            match self.clock.next_wake().filter(|at| *at <= end) {
                Some(at) => self.clock.advance_to(at),
                None => return self.clock.advance_to(end),
            }
        }
    }
}

/// Rings for one waiter; a ring that nobody waits for is heard by the next.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<(bool, Option<Waker>)>,
}

impl Bell {
    pub(super) fn ring(&self) {
        let mut state = self.state.lock();
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn heard(&self) -> impl Future<Output = ()> + Send + '_ {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if std::mem::take(&mut state.0) {
                return Poll::Ready(());
            }
            state.1 = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

/// Something that happens once, for any number of waiters.
#[derive(Debug, Default)]
pub(super) struct Once {
    state: Mutex<(bool, Vec<Waker>)>,
}

impl Once {
    pub(super) fn happen(&self) {
        let mut state = self.state.lock();
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn happened(&self) -> impl Future<Output = ()> + Send + '_ {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.0 {
                return Poll::Ready(());
            }
            if !state.1.iter().any(|waker| waker.will_wake(context.waker())) {
                state.1.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

/// The first of several futures to end; of those that end together, the first in the list.
pub(super) async fn first<'a, T>(
    mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
) -> T {
    poll_fn(move |context| {
        for future in &mut futures {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

/// The output of a future, unless `at` comes first.
pub(super) async fn until<T: Send>(
    clock: &dyn Clock,
    at: Instant,
    future: impl Future<Output = T> + Send,
) -> Option<T> {
    let sleep = clock.sleep_until(at);
    first(vec![
        Box::pin(async { Some(future.await) }),
        Box::pin(async {
            sleep.await;
            None
        }),
    ])
    .await
}
