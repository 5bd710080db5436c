//! The door to the committer: a bounded queue, and the sequencer that orders what enters it.
//!
//! One lock guards both, so a write gets its dot and its place in the queue in one step. A full queue says so at once;
//! it never grows beyond its bounds and never makes a caller wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use quorum_core::{Applied, Dot, Hlc, Lineage, Record, SeqSet, WriteId};
use tokio::sync::oneshot;
use tracing::Span;

use super::config::StoreConfig;
use super::error::StoreError;
use super::facts::Fact;
use super::schema::RecordKey;
use super::sequencer::Sequencer;
use crate::receive::Admitted;

/// Tells a caller that its request is durable. Dropped instead if it never will be:
/// [`Intake::stopped`] then says why.
pub(crate) type Done<T> = oneshot::Sender<T>;

/// One thing for the committer to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// A local write.
    Stage {
        record: Arc<Record>,
        key: RecordKey,
        is_tombstone: bool,
        span: Span,
        done: Done<Instant>,
    },
    /// A batch from a peer, already checked.
    Merge { items: Vec<Admitted>, span: Span, done: Done<Applied> },
    /// Make a higher clock ceiling durable.
    Reserve { ceiling: Hlc },
    /// Cover dots that no member holds.
    Cover { dots: Vec<(Lineage, SeqSet)>, done: Done<()> },
    /// Shorten the log of a lineage by one step; answers up to where it is trimmed now.
    Trim { lineage: Lineage, up_to: u64, done: Done<u64> },
    /// Forget write ids.
    Forget { write_ids: Vec<WriteId>, done: Done<()> },
    /// Sync whatever was committed before.
    Sync { done: Done<()> },
    /// Make it durable that no version at or below this time is issued any more.
    Close { hlc: Hlc, done: Done<()> },
    /// Remove the oldest tombstones up to a time, one step of them; answers how many went, and whether that was all.
    Purge { up_to: Hlc, done: Done<(u64, bool)> },
    /// Put a record over one that is no good; answers whether it was put.
    Repair { record: Arc<Record>, done: Done<bool> },
    /// Remember something about a member.
    Establish { fact: Fact, done: Done<()> },
    /// Go on in a lineage of a new incarnation.
    Reincarnate { lineage: Lineage, done: Done<()> },
}

impl Job {
    /// The span of the write or batch that waits for the sync; disabled unless it is traced.
    pub(crate) fn span(&self) -> Option<&Span> {
        match self {
            Self::Stage { span, .. } | Self::Merge { span, .. } => Some(span),
            _ => None,
        }
    }

    /// Records and payload bytes, by which the queue is bounded.
    fn cost(&self) -> (usize, usize) {
        match self {
            Self::Stage { record, .. } => (1, record.payload.len()),
            Self::Merge { items, .. } => (items.len(), items.iter().map(Admitted::bytes).sum()),
            Self::Repair { record, .. } => (1, record.payload.len()),
            Self::Reserve { .. }
            | Self::Sync { .. }
            | Self::Cover { .. }
            | Self::Trim { .. }
            | Self::Forget { .. }
            | Self::Close { .. }
            | Self::Purge { .. }
            | Self::Establish { .. }
            | Self::Reincarnate { .. } => (0, 0),
        }
    }
}

/// Whether the store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store runs, has failed or is closed")]
pub enum StoreState {
    /// It does.
    Running,
    /// The disk failed: it takes and acknowledges nothing more until it is opened anew.
    Failed {
        /// What failed first.
        reason: Arc<str>,
    },
    /// It is closed, or about to be.
    Closed,
}

/// A staged write that is not yet in the synced state.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) record: Arc<Record>,
    /// When it became as durable as it asked, if it did: a relaxed write does so before it is synced.
    pub(crate) durable_at: Option<Instant>,
    /// Further callers that wait for it.
    pub(crate) followers: Vec<Done<Instant>>,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct IntakeState {
    pub(crate) state: StoreState,
    pub(crate) sequencer: Sequencer,
    pub(crate) in_flight: HashMap<WriteId, InFlight>,
    queue: VecDeque<Job>,
    queued_records: usize,
    queued_bytes: usize,
    /// The ceiling that is on its way to the disk, and who waits for it.
    reserving: Option<(Hlc, Vec<oneshot::Sender<()>>)>,
    /// The committer, if it is a task that waits.
    committer: Option<Waker>,
}

/// The queue and the sequencer.
#[derive(Debug)]
pub(crate) struct Intake {
    inner: Mutex<IntakeState>,
    arrived: Condvar,
}

impl Intake {
    pub(crate) fn new(sequencer: Sequencer) -> Self {
        let state = IntakeState {
            state: StoreState::Running,
            sequencer,
            in_flight: HashMap::new(),
            queue: VecDeque::new(),
            queued_records: 0,
            queued_bytes: 0,
            reserving: None,
            committer: None,
        };
        Self { inner: Mutex::new(state), arrived: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, IntakeState> {
        self.inner.lock()
    }

    /// Enqueues a job and wakes the committer.
    pub(crate) fn push(&self, state: &mut IntakeState, job: Job) {
        let (records, bytes) = job.cost();
        state.queued_records += records;
        state.queued_bytes += bytes;
        state.queue.push_back(job);
        self.wake(state);
    }

    /// Enqueues a job of the store's own upkeep, which the bounds do not hold back.
    pub(crate) fn submit(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.check_running()?;
        self.push(&mut state, job);
        Ok(())
    }

    /// Asks for a ceiling that admits a version above `floor`; the answer comes once it is durable.
    pub(crate) fn reserve(
        &self,
        state: &mut IntakeState,
        floor: Hlc,
        wall_millis: u64,
    ) -> oneshot::Receiver<()> {
        let (waiter, reserved) = oneshot::channel();
        let needed = state.sequencer.ceiling_above(floor, wall_millis);
        match &mut state.reserving {
            Some((ceiling, waiters)) if *ceiling >= needed => waiters.push(waiter),
            reserving => {
                let mut waiters = reserving.take().map(|(_, waiters)| waiters).unwrap_or_default();
                waiters.push(waiter);
                *reserving = Some((needed, waiters));
                self.push(state, Job::Reserve { ceiling: needed });
            }
        }
        reserved
    }

    /// Asks for a higher ceiling if half of the reserved time is used and nobody has asked yet.
    pub(crate) fn renew(&self, state: &mut IntakeState, wall_millis: u64) {
        if state.reserving.is_some() {
            return;
        }
        if let Some(ceiling) = state.sequencer.renewal(wall_millis) {
            state.reserving = Some((ceiling, Vec::new()));
            self.push(state, Job::Reserve { ceiling });
        }
    }

    /// Whether it takes jobs.
    pub(crate) fn is_running(&self) -> bool {
        self.lock().state == StoreState::Running
    }

    /// Takes no more jobs; those in the queue are still done.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.state == StoreState::Running {
            state.state = StoreState::Closed;
        }
        self.wake(&mut state);
    }

    fn wake(&self, state: &mut IntakeState) {
        self.arrived.notify_one();
        if let Some(committer) = state.committer.take() {
            committer.wake();
        }
    }

    /// Ready once a job waits or the store is closed: for a committer that is a task.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn poll_arrived(&self, context: &std::task::Context<'_>) -> std::task::Poll<()> {
        use std::task::Poll;
        let mut state = self.lock();
        if !state.queue.is_empty() || state.state == StoreState::Closed {
            return Poll::Ready(());
        }
        state.committer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Everything that waits, up to the bounds of one commit and at least one job. Waits for a first one, at most for
    /// `patience` if there is one; empty after that. `None` once the store is closed and everything is done.
    pub(crate) fn take(
        &self,
        config: &StoreConfig,
        patience: Option<Duration>,
    ) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.queue.is_empty() {
            if state.state == StoreState::Closed {
                return None;
            }
            match patience {
                None => self.arrived.wait(&mut state),
                Some(patience) => {
                    if self.arrived.wait_for(&mut state, patience).timed_out() {
                        break;
                    }
                }
            }
        }
        let (mut jobs, mut records, mut bytes) = (Vec::new(), 0, 0);
        while records < config.batch_records_max && bytes < config.batch_bytes_max {
            let Some(job) = state.queue.pop_front() else { break };
            let cost = job.cost();
            (records, bytes) = (records + cost.0, bytes + cost.1);
            jobs.push(job);
        }
        state.queued_records -= records;
        state.queued_bytes -= bytes;
        Some(jobs)
    }

    /// The store has failed: what waits is dropped, whatever comes is refused.
    pub(crate) fn fail(&self, reason: Arc<str>) {
        let mut state = self.lock();
        state.state = StoreState::Failed { reason };
        state.in_flight.clear();
        state.reserving = None;
        state.queue.clear();
        (state.queued_records, state.queued_bytes) = (0, 0);
    }

    /// Why an answer will never come: while the store runs, because the committer could not read what it needed for it.
    pub(crate) fn stopped(&self) -> StoreError {
        let unreadable = || StoreError::Unreadable { reason: "the log says what".into() };
        self.lock().check_running().err().unwrap_or_else(unreadable)
    }
}

impl IntakeState {
    pub(crate) fn check_running(&self) -> Result<(), StoreError> {
        match &self.state {
            StoreState::Running => Ok(()),
            StoreState::Failed { reason } => Err(StoreError::Failed { reason: reason.clone() }),
            StoreState::Closed => Err(StoreError::Closed),
        }
    }

    /// Whether the queue takes this much more. An empty queue takes anything: sizes are checked elsewhere.
    pub(crate) fn check_room(
        &self,
        config: &StoreConfig,
        records: usize,
        bytes: usize,
    ) -> Result<(), StoreError> {
        let fits = self.queued_records + records <= config.queue_records_max
            && self.queued_bytes + bytes <= config.queue_bytes_max;
        if fits || self.queue.is_empty() { Ok(()) } else { Err(StoreError::Overloaded) }
    }

    /// A staged write is as durable as it asked to be: tells the further callers that wait for it.
    pub(crate) fn durable(&mut self, write_id: &WriteId, dot: &Dot, at: Instant) {
        if let Some(staged) = self.in_flight.get_mut(write_id)
            && staged.record.dot == *dot
        {
            staged.durable_at = Some(at);
            for follower in staged.followers.drain(..) {
                let _heard = follower.send(at);
            }
        }
    }

    /// A staged write is in the synced state, where lookups find it.
    pub(crate) fn landed(&mut self, write_id: &WriteId, dot: &Dot) {
        // A restamp may have taken the place of the write that landed.
        if self.in_flight.get(write_id).is_some_and(|staged| staged.record.dot == *dot) {
            self.in_flight.remove(write_id);
        }
    }

    /// Whether nothing waits.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Records and payload bytes that wait.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.queued_records, self.queued_bytes)
    }

    /// A ceiling is durable: writes may be stamped below it.
    pub(crate) fn reserved(&mut self, ceiling: Hlc) {
        self.sequencer.raise_ceiling(ceiling);
        if self.reserving.as_ref().is_some_and(|(awaited, _)| *awaited <= ceiling) {
            let waiters = self.reserving.take().map(|(_, waiters)| waiters).unwrap_or_default();
            for waiter in waiters {
                let _gone = waiter.send(());
            }
        }
    }
}
