//! The order "stage, send, wait, decide" that makes a write a quorum write.
//!
//! The writer opens nothing, starts nothing and reads no clock of its own: it awaits futures that its store, its
//! network and its clock made. It runs unchanged under a scripted clock.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::error::{QuorumError, QuorumFailureReason};
use crate::id::PeerId;
use crate::observe::{CommitResult, Observer};
use crate::policy::QuorumPolicy;
use crate::ports::{Clock, LocalStore, Outgoing, PeerReply, Replicator, Sleep, Staged, in_time};
use crate::receipt::{NotApplied, Receipt, WriteError};
use crate::record::Record;
use crate::trace::TraceParent;
use crate::tracker::{AckTracker, Verdict};

/// What one write asks for beyond the writer's policy.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// Copies needed; the policy's `w` if left out. Outside `1..=n` the write is not applied.
    pub w: Option<usize>,
    /// How long to wait for the verdict; the policy's `ack_timeout` if left out.
    pub timeout: Option<Duration>,
    /// The span that causes the write, if it is sampled; travels to the peers.
    pub trace: Option<TraceParent>,
    /// Whether this is the second phase of a two-phase write: its version lies above all that a majority reported, so a
    /// newer one at a peer is a concurrent write and counts as a copy. There is no restamp then.
    pub counting_superseded: bool,
}

/// Writes through a local store and a network until W copies are durable, or says truthfully that they are not.
///
/// Share it behind an [`Arc`]; writes run concurrently.
#[derive(Debug)]
pub struct QuorumWriter<S, R, C> {
    store: S,
    replicator: R,
    clock: C,
    observer: Arc<dyn Observer>,
    local: PeerId,
    peers: Vec<PeerId>,
    policy: QuorumPolicy,
}

impl std::fmt::Debug for dyn Observer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Observer")
    }
}

impl<S, R, C> QuorumWriter<S, R, C>
where
    S: LocalStore,
    R: Replicator,
    C: Clock,
{
    /// A writer for the member `local` whose other members are `peers`.
    ///
    /// # Errors
    ///
    /// [`QuorumError::InvalidMembers`] if `local` and `peers` are not exactly `policy.n()` different members.
    pub fn new(
        policy: QuorumPolicy,
        local: PeerId,
        peers: Vec<PeerId>,
        store: S,
        replicator: R,
        clock: C,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, QuorumError> {
        crate::error::check_members(&local, &peers, policy.n())?;
        Ok(Self { store, replicator, clock, observer, local, peers, policy })
    }

    /// The rule that applies where a write asks for nothing else.
    #[must_use]
    pub const fn policy(&self) -> &QuorumPolicy {
        &self.policy
    }

    /// The local store.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Writes `op` and waits until W copies are durable, the local one among them, or the deadline has come.
    ///
    /// The local append and the fan-out run side by side. If newer versions at peers keep W from being met, the write
    /// is stamped once above all of them and sent again within the same deadline; there, a newer version counts.
    ///
    /// # Errors
    ///
    /// [`WriteError::NotApplied`] if nothing was logged or sent; [`WriteError::Indeterminate`] if the verdict is that
    /// W copies were not confirmed: the record stays and goes on replicating.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the verdict, not the write: once staged, it goes on replicating.
    pub async fn commit(
        &self,
        op: S::Op,
        options: CommitOptions,
    ) -> Result<Receipt, WriteError<S::Error>> {
        let started = self.clock.now();
        let outcome = self.attempt(op, &options, started).await;
        self.report(&outcome, self.clock.now().saturating_duration_since(started));
        outcome
    }

    /// Drives a write that this node already holds durably to a verdict: for the retry of a write that was found by its
    /// write id. The record goes out again under its original dot and version, and is never executed a second time.
    ///
    /// `overwritten` says that the key's current record here is a newer one. Then a newer version at a peer counts as a
    /// copy: this write took effect before it.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit); the store is not asked.
    ///
    /// # Cancellation
    ///
    /// As [`commit`](Self::commit).
    pub async fn resume(
        &self,
        record: Arc<Record>,
        overwritten: bool,
        options: CommitOptions,
    ) -> Result<Receipt, WriteError<S::Error>> {
        let started = self.clock.now();
        let outcome = self.attempt_again(record, overwritten, &options, started).await;
        self.report(&outcome, self.clock.now().saturating_duration_since(started));
        outcome
    }

    /// Brings a record that a read has found at too few members to W of them, so that no later read misses it. The record
    /// must be durable here, or a newer one of its key; a newer one at a peer counts.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume). It is no write of anybody's, so the observer does not hear of it.
    ///
    /// # Cancellation
    ///
    /// As [`commit`](Self::commit).
    pub async fn write_back(
        &self,
        record: Arc<Record>,
        options: CommitOptions,
    ) -> Result<Receipt, WriteError<S::Error>> {
        self.attempt_again(record, true, &options, self.clock.now()).await
    }

    async fn attempt_again(
        &self,
        record: Arc<Record>,
        overwritten: bool,
        options: &CommitOptions,
        started: Instant,
    ) -> Result<Receipt, WriteError<S::Error>> {
        let mut tracker = self.tracker(options, started)?;
        if overwritten {
            tracker = tracker.counting_superseded();
        }
        tracker.record_local(started);
        let outgoing = Outgoing { record: Arc::clone(&record), trace: options.trace };
        let replies = Some(self.replicator.fan_out(outgoing));
        let mut round = Round { record, is_known: true, durable: None, replies, tracker };
        self.run(&mut round, Round::never_restamp).await;
        self.conclude(round)
    }

    fn tracker(
        &self,
        options: &CommitOptions,
        started: Instant,
    ) -> Result<AckTracker, WriteError<S::Error>> {
        let policy = self.policy_for(options).map_err(not_applied)?;
        AckTracker::new(policy, self.local.clone(), self.peers.iter().cloned(), started)
            .map_err(not_applied)
    }

    async fn attempt(
        &self,
        op: S::Op,
        options: &CommitOptions,
        started: Instant,
    ) -> Result<Receipt, WriteError<S::Error>> {
        let tracker = self.tracker(options, started)?;
        let staged = self.store.stage(op).await.map_err(refused)?;
        if options.counting_superseded {
            let mut round = self.begin(staged, tracker.counting_superseded(), options.trace);
            self.run(&mut round, Round::never_restamp).await;
            return self.conclude(round);
        }
        let mut round = self.begin(staged, tracker, options.trace);
        if self.run(&mut round, Round::restamp_due).await {
            round = self.restamped(round, options.trace).await;
            self.run(&mut round, Round::never_restamp).await;
        }
        self.conclude(round)
    }

    fn policy_for(&self, options: &CommitOptions) -> Result<QuorumPolicy, QuorumError> {
        let mut policy = self.policy.clone();
        if let Some(w) = options.w {
            policy = policy.with_w(w)?;
        }
        if let Some(timeout) = options.timeout {
            policy = policy.with_ack_timeout(timeout);
        }
        Ok(policy)
    }

    fn begin(
        &self,
        staged: Staged<S::Durable>,
        tracker: AckTracker,
        trace: Option<TraceParent>,
    ) -> Round<S::Durable, R::Replies> {
        let replies =
            self.replicator.fan_out(Outgoing { record: Arc::clone(&staged.record), trace });
        let Staged { record, durable, is_known } = staged;
        Round { record, is_known, durable: Some(durable), replies: Some(replies), tracker }
    }

    /// Feeds the tracker until its verdict is final, or until the write should be stamped anew: then `true`.
    async fn run(
        &self,
        round: &mut Round<S::Durable, R::Replies>,
        restamp_due: impl Fn(&Round<S::Durable, R::Replies>, Instant) -> bool + Send,
    ) -> bool {
        let mut alarm = None;
        loop {
            // The clock is read before the ear is put to the queues: whatever arrived by `now` is told to the tracker
            // before it judges, even if this task was held up until after the deadline.
            let now = self.clock.now();
            poll_fn(|context| Poll::Ready(round.hear(context, &self.clock))).await;
            if restamp_due(round, now) {
                return true;
            }
            if !matches!(round.tracker.verdict(now), Verdict::Pending { .. }) {
                return false;
            }
            let wake_at = round.wake_at(now);
            self.step(round, wake_at, &mut alarm).await;
        }
    }

    /// Waits for the next thing to happen, at most until `wake_at`, and tells the tracker everything that is there.
    async fn step(
        &self,
        round: &mut Round<S::Durable, R::Replies>,
        wake_at: Instant,
        alarm: &mut Option<(Instant, Sleep)>,
    ) {
        // The steps of a write wait for one time, two at most: setting the alarm is what costs.
        let (_, sleep) = match alarm {
            Some(alarm) if alarm.0 == wake_at => alarm,
            stale => stale.insert((wake_at, self.clock.sleep_until(wake_at))),
        };
        poll_fn(|context| {
            let moved = round.hear(context, &self.clock);
            if moved || sleep.as_mut().poll(context).is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Stages the write anew, above every version that was reported. If the store takes no more, the first round's
    /// verdict stands.
    async fn restamped(
        &self,
        mut first: Round<S::Durable, R::Replies>,
        trace: Option<TraceParent>,
    ) -> Round<S::Durable, R::Replies> {
        let Some(above) = first.tracker.superseded_by().cloned() else { return first };
        let (policy, deadline) = (first.tracker.policy().clone(), first.tracker.deadline());
        let peers = self.peers.iter().cloned();
        let Ok(tracker) =
            AckTracker::new(policy, self.local.clone(), peers, first.tracker.started())
        else {
            return first;
        };
        let restamp = self.store.restamp(&first.record, &above);
        let Some(Ok(staged)) = in_time(&self.clock, deadline, restamp).await else {
            // Let the first round come to its own end.
            self.run(&mut first, Round::never_restamp).await;
            return first;
        };
        self.begin(staged, tracker.until(deadline).counting_superseded(), trace)
    }

    fn conclude(
        &self,
        mut round: Round<S::Durable, R::Replies>,
    ) -> Result<Receipt, WriteError<S::Error>> {
        let now = self.clock.now();
        let result = round.tracker.finalise(now);
        let got = match &result {
            Ok(acks) => *acks,
            Err(QuorumError::QuorumNotMet { got, .. }) => *got,
            Err(_) => round.tracker.acked_peer_ids().count(),
        };
        let (needed, members) = (round.tracker.policy().w(), round.tracker.standings());
        let elapsed = now.saturating_duration_since(round.tracker.started());
        let receipt = Receipt::new(&round.record, needed, got, members, elapsed);
        match result {
            Ok(_) => Ok(receipt),
            Err(cause) => Err(WriteError::Indeterminate { receipt: Box::new(receipt), cause }),
        }
    }

    fn report(&self, outcome: &Result<Receipt, WriteError<S::Error>>, elapsed: Duration) {
        let result = match outcome {
            Ok(_) => CommitResult::Committed,
            Err(WriteError::NotApplied(_)) => CommitResult::NotApplied,
            Err(WriteError::Indeterminate { cause, .. }) => {
                self.observer.quorum_missed(match cause {
                    QuorumError::QuorumNotMet { reason, .. } => *reason,
                    _ => QuorumFailureReason::LocalFailed,
                });
                CommitResult::Indeterminate
            }
        };
        self.observer.write_ended(result, elapsed);
    }
}

/// One record under way, with everything that can still be said about it.
struct Round<D, Q> {
    record: Arc<Record>,
    /// Whether the record is that of an earlier write.
    is_known: bool,
    durable: Option<D>,
    replies: Option<Q>,
    tracker: AckTracker,
}

impl<D, Q> Round<D, Q> {
    /// Tells the tracker everything that is there. Returns whether there was anything.
    fn hear<E>(&mut self, context: &mut Context<'_>, clock: &impl Clock) -> bool
    where
        D: Future<Output = Result<Instant, E>> + Unpin,
        E: std::error::Error,
        Q: Stream<Item = PeerReply> + Unpin,
    {
        let mut heard = false;
        if let Some(durable) = self.durable.as_mut()
            && let Poll::Ready(result) = Pin::new(durable).poll(context)
        {
            self.durable = None;
            match result {
                Ok(at) => self.tracker.record_local(at),
                Err(error) => self.tracker.record_local_failure(error.to_string(), clock.now()),
            }
            heard = true;
        }
        while let Some(replies) = self.replies.as_mut()
            && let Poll::Ready(next) = Pin::new(replies).poll_next(context)
        {
            match next {
                Some(PeerReply { peer, reply, at }) => self.tracker.record_reply(&peer, reply, at),
                None => self.replies = None,
            }
            heard = true;
        }
        heard
    }

    /// Whether newer versions elsewhere are what keeps the quorum away: certainly so, or still so when half of the
    /// time is used, while a second round can yet be answered. Never for a write that may have been executed already.
    fn restamp_due(&self, now: Instant) -> bool {
        if self.is_known || self.tracker.is_executed_elsewhere() {
            return false;
        }
        if now >= self.tracker.deadline() || self.tracker.superseded_by().is_none() {
            return false;
        }
        let mut tracker = self.tracker.clone();
        match tracker.verdict(now) {
            Verdict::Missed { reason, .. } => reason == QuorumFailureReason::Superseded,
            Verdict::Pending { .. } => {
                now >= self.halfway() && self.tracker.only_superseded_is_missing()
            }
            Verdict::Met { .. } => false,
        }
    }

    fn never_restamp(&self, _now: Instant) -> bool {
        false
    }

    /// When to look again although nothing arrived.
    fn wake_at(&self, now: Instant) -> Instant {
        let halfway = self.halfway();
        if now < halfway { halfway } else { self.tracker.deadline() }
    }

    fn halfway(&self) -> Instant {
        let started = self.tracker.started();
        started + self.tracker.deadline().saturating_duration_since(started) / 2
    }
}

fn not_applied<E: std::error::Error>(cause: QuorumError) -> WriteError<E> {
    WriteError::NotApplied(NotApplied::Policy(cause))
}

fn refused<E: std::error::Error>(cause: E) -> WriteError<E> {
    WriteError::NotApplied(NotApplied::Store(cause))
}

#[cfg(test)]
mod tests;
