//! Takes a write from a client to a verdict: admits it, looks its id up, commits it through the quorum writer.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::{
    Clock, ClockFault, ClockGuard, CommitOptions, CommitResult, Digest, Durability, NotApplied,
    Observer, QuorumError, QuorumWriter, Random, Receipt, Record, WriteError, WriteId, wall_millis,
};
use quorum_metrics::current_trace_parent;
use quorum_transport::QuicPeers;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::admission::{Admission, Refusal};
use crate::config::WriteQuorum;
use crate::record::{self, Key, Namespace, WriteOp};
use crate::store::{Store, StoreError};

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
            WriteError::NotApplied(NotApplied::Store(cause)) => Self::Refused(cause),
            WriteError::NotApplied(other) => {
                Self::Invalid(QuorumError::InvalidPolicy { detail: other.to_string() })
            }
        }
    }
}

/// The quorum writer of this node.
pub(crate) type Writer = QuorumWriter<Store, QuicPeers, Arc<dyn Clock>>;

/// Everything a write passes through.
pub(crate) struct Writes {
    pub(crate) writer: Writer,
    pub(crate) admission: Admission,
    pub(crate) clock_guard: Arc<Mutex<ClockGuard>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) durability: Durability,
    /// Cancelled when the node can wait no longer: every write that is under way gets its verdict at once.
    pub(crate) hurry: CancellationToken,
}

impl Writes {
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
        self.admitted(request).instrument(span).await
    }

    async fn admitted(&self, request: WriteRequest) -> Result<Receipt, WriteFailed> {
        let mut options = CommitOptions::default();
        options.w = request.copies.map(|copies| copies.of(self.writer.policy().n()));
        options.timeout = request.timeout;
        options.trace = current_trace_parent();
        let op = WriteOp {
            namespace: request.namespace,
            key: request.key,
            value: request.value,
            write_id: request.write_id.unwrap_or_else(|| self.fresh_id()),
            durability: request.durability.unwrap_or(self.durability),
        };
        let is_named = request.write_id.is_some();
        let mut verdict = pin!(self.verdict(op.clone(), options.clone(), is_named));
        tokio::select! {
            biased;
            outcome = &mut verdict => return outcome,
            () = self.hurry.cancelled() => {}
        }
        // What is not yet durable here cannot be spoken of, so its own verdict is the only true one.
        let Ok(Some((record, overwritten))) = self.find(&op) else { return verdict.await };
        options.timeout = Some(LAST_WORD);
        Ok(self.writer.resume(record, overwritten, options).await?)
    }

    async fn verdict(
        &self,
        op: WriteOp,
        options: CommitOptions,
        is_named: bool,
    ) -> Result<Receipt, WriteFailed> {
        if is_named
            && let Some((record, overwritten)) =
                self.find(&op).map_err(|error| self.turned_away(WriteFailed::Refused(error)))?
        {
            return Ok(self.writer.resume(record, overwritten, options).await?);
        }
        if let Some(fault) = self.clock_fault() {
            return Err(self.turned_away(WriteFailed::Clock(fault)));
        }
        Ok(self.writer.commit(op, options).await?)
    }

    /// Why this clock must not stamp a write. Read anew for every write: one stamped by a clock that has just jumped
    /// ahead would win over everything for as long as it jumped.
    fn clock_fault(&self) -> Option<ClockFault> {
        let mut guard = self.clock_guard.lock();
        guard.record_reading(self.clock.now(), wall_millis(&*self.clock));
        guard.fault()
    }

    /// The record that an earlier write with the same id left here, and whether another write has overwritten it since.
    fn find(&self, op: &WriteOp) -> Result<Option<(Arc<Record>, bool)>, StoreError> {
        let Some(found) = self.writer.store().lookup(&op.write_id)? else { return Ok(None) };
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
        random_write_id(&*self.random)
    }
}

/// A random write id, with the version and variant bits of a UUID of version 4 (RFC 9562, section 5.4).
pub(crate) fn random_write_id(random: &dyn Random) -> WriteId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    WriteId::from_bytes(bytes)
}
