//! Takes a write from a client to a verdict: admits it, looks its id up, commits it through the quorum writer.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::planted::{self, Bug};
use quorum_core::{
    Answer, Clock, ClockFault, ClockGuard, CommitOptions, CommitResult, Digest, Dot, Durability,
    Hlc, Inquirer, KnownWrite, NotApplied, Observer, PeerId, Question, QuorumError, QuorumWriter,
    Random, ReadAnswer, ReadTracker, Receipt, Record, Recovery, Replicator, Reply, Unavailable,
    Version, WriteError, WriteId, deadline_after, in_time, wall_millis,
};
use quorum_metrics::current_trace_parent;
use quorum_transport::QuicPeers;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::admission::{Admission, Refusal};
use crate::config::{Policies, WriteQuorum};
use crate::poll::{Members, TooFewAnswers};
use crate::receive::Receiver;
use crate::record::{self, Key, Namespace, WriteOp};
use crate::store::{Store, StoreError, WriteLookup};
use crate::under_way::UnderWay;

/// How long after an answer a member is asked again that is executing the write.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long a write whose node can wait no longer listens for a last answer.
const LAST_WORD: Duration = Duration::from_millis(50);

/// One write as a client words it.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct WriteRequest {
    /// Where.
    pub namespace: Namespace,
    /// Under which key.
    pub key: Key,
    /// What; `None` deletes.
    pub value: Option<Bytes>,
    /// The write's name; the same name again is the same write. Random if left out.
    pub write_id: Option<WriteId>,
    /// Copies needed; the node's policy if left out.
    pub copies: Option<WriteQuorum>,
    /// How long to wait for the verdict; the node's policy if left out.
    pub timeout: Option<Duration>,
    /// How durable a copy must be to count; the node's setting if left out.
    pub durability: Option<Durability>,
    /// Whether the same write was asked for before, here or elsewhere: then it is looked for at a read quorum before it
    /// is taken for a new one.
    pub is_retry: bool,
}

/// A write that was not committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteFailed {
    /// Too many writes are under way. Nothing happened; try again after a moment.
    #[error("not applied: too many writes are under way")]
    Overloaded,
    /// The node is shutting down. Nothing happened; write through another node.
    #[error("not applied: the node is shutting down")]
    ShuttingDown,
    /// The node distrusts its own clock, so it stamps no new writes. Nothing happened; write through another node.
    #[error("not applied: {0}")]
    Clock(ClockFault),
    /// The write asks for something that cannot be. Nothing happened; a retry fails the same way.
    #[error("not applied: {0}")]
    Invalid(QuorumError),
    /// The request asks for something that its namespace does not allow. Nothing happened; a retry fails the same way.
    #[error("not applied: {field}: {detail}")]
    Forbidden {
        /// What of it.
        field: &'static str,
        /// Why.
        detail: String,
    },
    /// Too few members said which version of the key they hold, which a two-phase write must know first. Nothing
    /// happened.
    #[error("not applied: read quorum not met: {0}")]
    NoReadQuorum(TooFewAnswers),
    /// This node has lost what it acknowledged before, and does not have everything again: it could stamp a write below
    /// one that was committed. Nothing happened; write through another node.
    #[error("not applied: this node has lost its data and is recovering")]
    Recovering,
    /// This node's data is new, and too few peers were heard: it does not know whether it has lost what it acknowledged
    /// before, or above what its versions must lie. Nothing happened; try again when peers are there.
    #[error("not applied: this node's data is new and it has not heard from enough peers yet")]
    NoContact,
    /// A retry could not be looked up at enough members. Nothing happened now; what became of the earlier attempt is not
    /// known.
    #[error("indeterminate: the write could not be looked up: {too_few}")]
    LookupUnreachable {
        /// Its id.
        write_id: WriteId,
        /// Who answered, and why the others did not.
        too_few: TooFewAnswers,
    },
    /// It, or an earlier attempt that was found or may be there, could not be driven to an end now. Retry with the same write
    /// id.
    #[error("indeterminate: {detail}")]
    Unsettled {
        /// Its id.
        write_id: WriteId,
        /// What stands in the way.
        detail: String,
    },
    /// The local store refused it. Nothing happened.
    #[error("not applied: {0}")]
    Refused(StoreError),
    /// It may or may not survive. Retry with the same write id.
    #[error("indeterminate: {cause}")]
    Indeterminate {
        /// Where every member stands.
        receipt: Box<Receipt>,
        /// Why it is not committed.
        cause: QuorumError,
    },
}

impl From<WriteError<StoreError>> for WriteFailed {
    fn from(error: WriteError<StoreError>) -> Self {
        match error {
            WriteError::Indeterminate { receipt, cause } => Self::Indeterminate { receipt, cause },
            WriteError::NotApplied(NotApplied::Policy(cause)) => Self::Invalid(cause),
            WriteError::NotApplied(NotApplied::Store(StoreError::Overloaded)) => Self::Overloaded,
            WriteError::NotApplied(NotApplied::Store(StoreError::Closed)) => Self::ShuttingDown,
            WriteError::NotApplied(NotApplied::Store(StoreError::Clock(fault))) => {
                Self::Clock(fault)
            }
            WriteError::NotApplied(NotApplied::Store(cause)) => Self::Refused(cause),
            WriteError::NotApplied(other) => {
                Self::Invalid(QuorumError::InvalidPolicy { detail: other.to_string() })
            }
        }
    }
}

/// The quorum writer of this node.
pub(crate) type Writer<N = QuicPeers> = QuorumWriter<Store, N, Arc<dyn Clock>>;

/// What members said of a write that is looked for.
#[derive(Debug, Default)]
struct Seen {
    /// The newest version of it, and who holds it.
    found: Option<(PeerId, Found)>,
    is_expired: bool,
    /// A member that is executing it now.
    executing: Option<PeerId>,
}

/// How much is known of a write before it is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its id was made just now.
    Fresh,
    /// The client has named it.
    Named,
    /// The client says that it asked for it before.
    Retry,
}

/// A write that a peer knows: its dot, version and digest, and whether it is still the newest of its key there.
type Found = (Dot, Version, Digest, bool);

/// Everything a write passes through.
pub(crate) struct Writes<N = QuicPeers> {
    pub(crate) writer: Writer<N>,
    pub(crate) admission: Admission,
    pub(crate) clock_guard: Arc<Mutex<ClockGuard>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) read_timeout: Duration,
    pub(crate) members: Members<N>,
    /// What peers' records pass through, for those that are fetched.
    pub(crate) receiver: Receiver,
    /// The named writes that are being executed here.
    pub(crate) under_way: UnderWay,
    /// Cancelled when the node can wait no longer: every write that is under way gets its verdict at once.
    pub(crate) hurry: CancellationToken,
}

impl<N: Replicator + Inquirer> Writes<N> {
    /// Commits one write. Dropping the future gives up the verdict, not the write.
    pub(crate) async fn write(&self, request: WriteRequest) -> Result<Receipt, WriteFailed> {
        let bytes = request.key.as_bytes().len() + request.value.as_ref().map_or(0, Bytes::len);
        let _permit = self.admission.admit(bytes).map_err(|refusal| {
            self.turned_away(match refusal {
                Refusal::Overloaded => WriteFailed::Overloaded,
                Refusal::Closed => WriteFailed::ShuttingDown,
            })
        })?;
        let span = tracing::debug_span!("quorum.commit", namespace = %request.namespace);
        self.vouched_for(request).instrument(span).await
    }

    /// The outcome, unless this node has learned meanwhile that it had lost what it acknowledged. A member whose disk was
    /// rolled back hears that from a peer, which may be the one whose ack completes the quorum: by then the write is
    /// stamped without knowing what was committed with this node's lost copy, and perhaps below it.
    async fn vouched_for(&self, request: WriteRequest) -> Result<Receipt, WriteFailed> {
        let losses = self.writer.store().losses();
        let receipt = self.admitted(request).await?;
        if self.writer.store().losses() == losses {
            return Ok(receipt);
        }
        Err(lost_unawares(receipt.write_id))
    }

    async fn admitted(&self, request: WriteRequest) -> Result<Receipt, WriteFailed> {
        let mut options = self.options(&request).map_err(|failed| self.turned_away(failed))?;
        let policy = self.policies.of(&request.namespace);
        let op = WriteOp {
            namespace: request.namespace,
            key: request.key,
            value: request.value,
            write_id: request.write_id.unwrap_or_else(|| self.fresh_id()),
            durability: request.durability.unwrap_or_else(|| policy.durability()),
            above: None,
            deadline: None,
        };
        let kind = match (request.write_id, request.is_retry) {
            (None, _) => Kind::Fresh,
            (Some(_), false) => Kind::Named,
            (Some(_), true) => Kind::Retry,
        };
        let mut verdict = pin!(self.verdict(op.clone(), options.clone(), kind));
        tokio::select! {
            biased;
            outcome = &mut verdict => return outcome,
            () = self.hurry.cancelled() => {}
        }
        // What is not yet durable here cannot be spoken of, so its own verdict is the only true one.
        let Ok(Some((record, overwritten))) = self.find(&op) else { return verdict.await };
        if !self.counts() {
            return Err(lost_unawares(op.write_id));
        }
        options.timeout = Some(LAST_WORD);
        // A newer version says only of a write whose first phase has heard of all before it that it took effect.
        let overwritten = overwritten && self.policies.of(&op.namespace).is_linearizable();
        Ok(self.writer.resume(record, overwritten, options).await?)
    }

    /// Whether a write asks for something that cannot be, which shows before anything is done.
    pub(crate) fn check(&self, request: &WriteRequest) -> Result<(), WriteFailed> {
        let (len, limit) =
            (request.value.as_ref().map_or(0, Bytes::len), self.writer.store().value_bytes_max());
        if len > limit {
            let too_large = StoreError::TooLarge { what: "value", len, limit };
            return Err(WriteFailed::Refused(too_large));
        }
        self.options(request).map(drop)
    }

    /// What the write asks for, held against the policy of its namespace.
    fn options(&self, request: &WriteRequest) -> Result<CommitOptions, WriteFailed> {
        let policy = self.policies.of(&request.namespace);
        let forbidden = |field, detail| WriteFailed::Forbidden { field, detail };
        let w = match request.copies {
            Some(asked) => self
                .policies
                .requested_w(&request.namespace, asked)
                .map_err(|detail| forbidden("w", detail))?,
            None => policy.write().w(),
        };
        if policy.is_linearizable() && request.durability == Some(Durability::Relaxed) {
            let detail = "a linearizable namespace needs fsync".to_owned();
            return Err(forbidden("durability", detail));
        }
        let mut options = CommitOptions::default();
        options.w = Some(w);
        options.timeout = Some(request.timeout.unwrap_or_else(|| policy.write().ack_timeout()));
        options.trace = current_trace_parent();
        Ok(options)
    }

    async fn verdict(
        &self,
        mut op: WriteOp,
        mut options: CommitOptions,
        kind: Kind,
    ) -> Result<Receipt, WriteFailed> {
        let deadline = deadline_after(self.clock.now(), options.timeout.unwrap_or_default());
        op.deadline = Some(deadline);
        let mut entry = (kind != Kind::Fresh).then(|| self.under_way.look(op.write_id));
        while let Some(entry) = &mut entry {
            if let Some((record, overwritten)) =
                self.find_anywhere(&op, kind, options.w, deadline).await?
            {
                if !self.counts() {
                    return Err(lost_unawares(op.write_id));
                }
                options.timeout = Some(deadline.saturating_duration_since(self.clock.now()));
                return Ok(self.writer.resume(record, overwritten, options).await?);
            }
            // If another member looked for it meanwhile and goes first, a retry is looked for once more.
            if entry.execute() || (kind != Kind::Retry && entry.execute()) {
                break;
            }
        }
        match self.stamps_above() {
            Ok(told) => self.writer.store().observe(told),
            Err(failed) => return Err(self.turned_away(failed)),
        }
        if self.policies.of(&op.namespace).is_linearizable() {
            if let Some(fault) = self.clock_guard.lock().fault() {
                return Err(self.turned_away(WriteFailed::Clock(fault)));
            }
            if !planted::is(Bug::FirstPhaseSkipped) {
                op.above = self.first_phase(&op, deadline).await?;
            }
            options.counting_superseded = true;
        }
        options.timeout = Some(deadline.saturating_duration_since(self.clock.now()));
        Ok(self.writer.commit(op, options).await?)
    }

    /// Above what this node stamps what it is given to write, if it may take any.
    ///
    /// It must hold what it once acknowledged, or it could stamp below that. A member that has claimed, durably, to hold
    /// everything up to a time stamps above that, and nobody purges beyond it. One that has not got there yet must hear first
    /// what others have passed: a write below that may be taken by nobody.
    pub(crate) fn stamps_above(&self) -> Result<Hlc, WriteFailed> {
        let (store, members) = (self.writer.store(), self.members.count());
        match self.receiver.recovery() {
            Recovery::New => return Err(WriteFailed::NoContact),
            Recovery::Recovering => return Err(WriteFailed::Recovering),
            Recovery::Complete if store.has_claimed() => return Ok(Hlc::ZERO),
            Recovery::Complete => {}
        }
        let told = self.receiver.watermark().told(&store.lineage().origin.node, members);
        let told = told.ok_or(WriteFailed::NoContact)?;
        let by = told.ahead_of(wall_millis(&*self.clock));
        if by > self.clock_guard.lock().skew_max() {
            return Err(WriteFailed::Refused(StoreError::FromTheFuture { by }));
        }
        Ok(told)
    }

    /// The newest version of the key that a majority knows.
    async fn first_phase(
        &self,
        op: &WriteOp,
        deadline: Instant,
    ) -> Result<Option<Version>, WriteFailed> {
        let refused = |error| self.turned_away(WriteFailed::Refused(error));
        let own = self.own(&op.namespace, &op.key).map_err(refused)?;
        let own = own.as_ref().map(Option::as_ref);
        let majority = self.members.count() / 2 + 1;
        let tracker = self.newest(&op.namespace, &op.key, own, majority, deadline).await;
        let tracker =
            tracker.map_err(|too_few| self.turned_away(WriteFailed::NoReadQuorum(too_few)))?;
        Ok(tracker.newest().map(|(version, _)| version))
    }

    /// The record that an earlier attempt left: here, or for a retry at any member of a read quorum. One that is found
    /// elsewhere is taken in first.
    async fn find_anywhere(
        &self,
        op: &WriteOp,
        kind: Kind,
        w: Option<usize>,
        deadline: Instant,
    ) -> Result<Option<(Arc<Record>, bool)>, WriteFailed> {
        let refused = |error| self.turned_away(WriteFailed::Refused(error));
        if kind == Kind::Retry {
            // A relaxed copy may have been acknowledged here and not be visible yet.
            let settled = in_time(&*self.clock, deadline, self.writer.store().settle()).await;
            let Some(settled) = settled else {
                let detail =
                    "this node's disk does not answer: what it holds of the write is not known";
                return Err(unsettled(op.write_id, detail));
            };
            settled.map_err(refused)?;
        }
        if let Some(found) = self.find(op).map_err(refused)? {
            return Ok(Some(found));
        }
        if kind != Kind::Retry {
            return Ok(None);
        }
        let Some((from, known)) = self.find_at_peers(op, w, deadline).await? else {
            return Ok(None);
        };
        let payload = record::encode(&op.namespace, &op.key, op.value.as_deref());
        let (dot, version, digest, is_current) = known;
        if Digest::of(&payload) != digest {
            return Err(refused(StoreError::IdConflict { write_id: op.write_id }));
        }
        // Equal digests are equal payloads, so the retry itself brings the record.
        let record = Record::new(op.write_id, dot, version.hlc, op.durability, payload);
        let record = Arc::new(record);
        let overwritten = match self.take_in(&from, &record, deadline).await {
            Reply::Stored => !is_current,
            Reply::Superseded { .. } => true,
            other => {
                let detail = format!("the write was found at {from} and not taken here: {other:?}");
                return Err(unsettled(op.write_id, detail));
            }
        };
        Ok(Some((record, overwritten)))
    }

    /// The newest that members of a read quorum know of the write. While one of them is executing it, they are asked again.
    async fn find_at_peers(
        &self,
        op: &WriteOp,
        w: Option<usize>,
        deadline: Instant,
    ) -> Result<Option<(PeerId, Found)>, WriteFailed> {
        let write_id = op.write_id;
        loop {
            let (seen, outcome) = self.ask_peers_for(op, w, deadline).await;
            if seen.is_expired {
                let error = StoreError::RetryTooOld { write_id };
                return Err(self.turned_away(WriteFailed::Refused(error)));
            }
            if seen.found.is_some() {
                return Ok(seen.found);
            }
            let Some(executing) = seen.executing else {
                return match outcome {
                    Ok(_) => Ok(None),
                    Err(too_few) => Err(WriteFailed::LookupUnreachable { write_id, too_few }),
                };
            };
            let again_at = self.clock.now() + ASK_AGAIN_AFTER;
            if again_at >= deadline {
                return Err(unsettled(write_id, format!("{executing} is executing the write")));
            }
            self.clock.sleep_until(again_at).await;
        }
    }

    /// Asks everybody once, until so many have answered that a write which was committed at `w` members is known to one of
    /// them.
    async fn ask_peers_for(
        &self,
        op: &WriteOp,
        w: Option<usize>,
        deadline: Instant,
    ) -> (Seen, Result<ReadTracker, TooFewAnswers>) {
        let policy_w = self.policies.of(&op.namespace).write().w();
        let needed = self.members.count() - w.unwrap_or(policy_w).min(policy_w) + 1;
        let vouches = self.counts() && self.writer.store().knows_all_of(&op.write_id);
        let own = if vouches {
            ReadAnswer::Held(None)
        } else {
            ReadAnswer::Unavailable(Unavailable::Recovering)
        };
        let mut seen = Seen::default();
        let question = Question::Write { write_id: op.write_id };
        let asked = self.members.ask(question, own, needed, deadline, |peer, answer| {
            match answer {
                Answer::Write(KnownWrite::Held { dot, version, digest, newest, .. }) => {
                    if seen.found.as_ref().is_none_or(|(_, found)| found.1 < version) {
                        let is_current = newest.as_ref() == Some(&version);
                        seen.found = Some((peer.clone(), (dot, version, digest, is_current)));
                    }
                }
                Answer::Write(KnownWrite::Expired) => seen.is_expired = true,
                Answer::Write(KnownWrite::UnderWay) => seen.executing = Some(peer.clone()),
                Answer::Write(KnownWrite::Unknown) => {}
                _ => return ReadAnswer::Unavailable(Unavailable::Failed),
            }
            ReadAnswer::Held(None)
        });
        let outcome = asked.await;
        (seen, outcome)
    }

    /// Whether what this node says of what it holds counts: it holds whatever it once acknowledged.
    pub(crate) fn counts(&self) -> bool {
        self.receiver.recovery().counts()
    }

    /// The record that an earlier write with the same id left here, and whether another write has overwritten it since.
    fn find(&self, op: &WriteOp) -> Result<Option<(Arc<Record>, bool)>, StoreError> {
        let found = match self.writer.store().lookup(&op.write_id)? {
            WriteLookup::Unknown => return Ok(None),
            WriteLookup::Expired => {
                return Err(StoreError::RetryTooOld { write_id: op.write_id });
            }
            WriteLookup::Known(found) => *found,
        };
        let payload = record::encode(&op.namespace, &op.key, op.value.as_deref());
        if Digest::of(&payload) != found.digest {
            return Err(StoreError::IdConflict { write_id: op.write_id });
        }
        let overwritten = found.record.is_none();
        let record = found.record.unwrap_or_else(|| {
            // Equal digests are equal payloads, so the retry itself brings back what was overwritten.
            let (dot, hlc) = (found.dot, found.version.hlc);
            Arc::new(Record::new(op.write_id, dot, hlc, op.durability, payload))
        });
        Ok(Some((record, overwritten)))
    }

    /// A write that never reached the quorum writer is counted like every other.
    fn turned_away(&self, failed: WriteFailed) -> WriteFailed {
        self.observer.write_ended(CommitResult::NotApplied, Duration::ZERO);
        failed
    }

    fn fresh_id(&self) -> WriteId {
        fresh_write_id(&*self.random, wall_millis(&*self.clock))
    }
}

/// Of a write whose copy here does not count, since it was made without knowing what this node had acknowledged.
fn lost_unawares(write_id: WriteId) -> WriteFailed {
    let detail = "this node's copy does not count: it has lost its data, or does not know yet whether it has";
    unsettled(write_id, detail)
}

fn unsettled(write_id: WriteId, detail: impl Into<String>) -> WriteFailed {
    WriteFailed::Unsettled { write_id, detail: detail.into() }
}

/// A write id that says when it was made: a UUID of version 7 (RFC 9562, section 5.7), so that a retry that comes too
/// late is known to be too late.
pub(crate) fn fresh_write_id(random: &dyn Random, wall_millis: u64) -> WriteId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[..6].copy_from_slice(&wall_millis.to_be_bytes()[2..]);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    WriteId::from_bytes(bytes)
}

#[cfg(test)]
mod tests;
