//! The store as the coordinator of writes sees it: a write gets its place at once and is durable a little later.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use quorum_core::{Digest, Durability, Hlc, LocalStore, Record, Staged, Version, WriteId, in_time};
use tokio::sync::oneshot;
use tracing::Span;

use super::Store;
use super::error::StoreError;
use super::intake::{InFlight, IntakeState, Job};
use super::schema::{RecordKey, WriteEntry};
use super::shared::Shared;
use super::write_id_age::write_id_millis;
use crate::record::{ContentRef, WriteOp, encode};

/// The wait until a staged write is durable.
///
/// Dropping it cancels nothing. It is no handle: it does not keep the store open.
pub struct Durable {
    wait: Wait,
    shared: Arc<Shared>,
}

impl fmt::Debug for Durable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Durable").field("wait", &self.wait).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Wait {
    Over(Instant),
    Coming(oneshot::Receiver<Instant>),
}

impl Future for Durable {
    type Output = Result<Instant, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.wait {
            Wait::Over(at) => Poll::Ready(Ok(*at)),
            Wait::Coming(durable) => match Pin::new(durable).poll(context) {
                Poll::Ready(Ok(at)) => Poll::Ready(Ok(at)),
                Poll::Ready(Err(_)) => Poll::Ready(Err(self.shared.intake.stopped())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// A write with everything but its place.
struct Unplaced {
    write_id: WriteId,
    digest: Digest,
    durability: Durability,
    payload: Bytes,
    key: RecordKey,
    is_tombstone: bool,
    /// Its version must lie above this.
    floor: Hlc,
    /// Whether its write id may name an earlier write: not if it is that write once more.
    is_restamp: bool,
    /// How long to wait for a time to be reserved.
    deadline: Option<Instant>,
}

enum Attempt {
    Placed(Staged<Durable>),
    /// No timestamp is reserved; one will be.
    Reserving(oneshot::Receiver<()>),
}

impl LocalStore for Store {
    type Op = WriteOp;
    type Error = StoreError;
    type Durable = Durable;

    /// A write id that names a write with the same content gives that write again, with its old dot and version.
    async fn stage(&self, op: WriteOp) -> Result<Staged<Durable>, StoreError> {
        let value = op.value.as_deref();
        let (len, limit) = (value.map_or(0, <[u8]>::len), self.shared.config.value_bytes_max);
        if len > limit {
            return Err(StoreError::TooLarge { what: "value", len, limit });
        }
        let payload = encode(&op.namespace, &op.key, value);
        let write = Unplaced {
            write_id: op.write_id,
            digest: Digest::of(&payload),
            durability: op.durability,
            payload,
            key: RecordKey::new(&op.namespace, &op.key),
            is_tombstone: value.is_none(),
            floor: op.above.map_or(Hlc::ZERO, |above| above.hlc),
            is_restamp: false,
            deadline: op.deadline,
        };
        self.place(write).await
    }

    async fn restamp(
        &self,
        record: &Record,
        above: &Version,
    ) -> Result<Staged<Durable>, StoreError> {
        let content = ContentRef::parse(&record.payload)
            .map_err(|error| StoreError::Unreadable { reason: error.to_string().into() })?;
        let known = self.write_entry(&record.write_id)?;
        if known.is_some_and(|known| known.hlc > record.hlc) {
            return Err(StoreError::Overtaken { write_id: record.write_id });
        }
        let write = Unplaced {
            write_id: record.write_id,
            digest: record.digest,
            durability: record.durability,
            payload: record.payload.clone(),
            key: RecordKey::of(&content),
            is_tombstone: content.value.is_none(),
            floor: above.hlc,
            is_restamp: true,
            deadline: None,
        };
        self.place(write).await
    }
}

impl Store {
    async fn place(&self, write: Unplaced) -> Result<Staged<Durable>, StoreError> {
        loop {
            match self.try_place(&write)? {
                Attempt::Placed(staged) => return Ok(staged),
                Attempt::Reserving(reserved) => {
                    let reserved = match write.deadline {
                        Some(deadline) => in_time(&*self.shared.clock, deadline, reserved).await,
                        None => Some(reserved.await),
                    };
                    match reserved {
                        Some(Ok(())) => {}
                        Some(Err(_)) => return Err(self.shared.intake.stopped()),
                        None => return Err(StoreError::Overloaded),
                    }
                }
            }
        }
    }

    /// Everything that must happen in one step: the write is known to be new, gets its dot and version, and is queued.
    fn try_place(&self, write: &Unplaced) -> Result<Attempt, StoreError> {
        let shared: &Shared = &self.shared;
        let (trusted, has_room) = (shared.stamping_millis(), shared.check_room());
        let mut intake = shared.intake.lock();
        intake.check_running()?;
        if !write.is_restamp
            && let Some(staged) = self.staged_before(&mut intake, write)?
        {
            return Ok(Attempt::Placed(staged));
        }
        intake.check_room(&shared.config, 1, write.payload.len())?;
        has_room?;
        let wall = trusted?;
        let by = write.floor.ahead_of(wall);
        if by > shared.config.clock_skew_max {
            return Err(StoreError::FromTheFuture { by });
        }
        let Ok((dot, hlc)) = intake.sequencer.next(write.floor, wall) else {
            let reserved = shared.intake.reserve(&mut intake, write.floor, wall);
            return Ok(Attempt::Reserving(reserved));
        };
        let record = Arc::new(Record {
            write_id: write.write_id,
            dot,
            hlc,
            digest: write.digest,
            durability: write.durability,
            payload: write.payload.clone(),
        });
        let (done, durable) = oneshot::channel();
        let followers = intake.in_flight.remove(&write.write_id).map(|earlier| earlier.followers);
        let in_flight = InFlight {
            record: record.clone(),
            durable_at: None,
            followers: followers.unwrap_or_default(),
        };
        intake.in_flight.insert(write.write_id, in_flight);
        let (key, is_tombstone) = (write.key.clone(), write.is_tombstone);
        shared.intake.push(
            &mut intake,
            Job::Stage { record: record.clone(), key, is_tombstone, span: Span::current(), done },
        );
        shared.intake.renew(&mut intake, wall);
        Ok(Attempt::Placed(self.staged(record, Wait::Coming(durable), false)))
    }

    /// The write that this write id names already, if it does.
    fn staged_before(
        &self,
        intake: &mut IntakeState,
        write: &Unplaced,
    ) -> Result<Option<Staged<Durable>>, StoreError> {
        let write_id = write.write_id;
        if let Some(earlier) = intake.in_flight.get_mut(&write_id) {
            if earlier.record.digest != write.digest {
                return Err(StoreError::IdConflict { write_id });
            }
            let wait = earlier.durable_at.map_or_else(
                || {
                    let (done, durable) = oneshot::channel();
                    earlier.followers.push(done);
                    Wait::Coming(durable)
                },
                Wait::Over,
            );
            return Ok(Some(self.staged(earlier.record.clone(), wait, true)));
        }
        let Some(earlier) = self.write_entry(&write_id)? else {
            let is_too_old = write_id_millis(&write_id).is_some_and(|made| self.is_expired(made));
            return if is_too_old { Err(StoreError::RetryTooOld { write_id }) } else { Ok(None) };
        };
        if self.is_expired(earlier.hlc.millis()) {
            return Err(StoreError::RetryTooOld { write_id });
        }
        if earlier.digest != write.digest {
            return Err(StoreError::IdConflict { write_id });
        }
        let record = self.rebuild(&earlier, write)?;
        Ok(Some(self.staged(Arc::new(record), Wait::Over(self.shared.clock.now()), true)))
    }

    /// Whether a write with this id is on its way to the disk.
    pub(crate) fn is_staged(&self, write_id: &WriteId) -> bool {
        self.shared.intake.lock().in_flight.contains_key(write_id)
    }

    /// The record of an earlier write, from its entry and the content that it shares with this one.
    fn rebuild(&self, earlier: &WriteEntry, write: &Unplaced) -> Result<Record, StoreError> {
        let lineage = self.shared.lineages.read().name(earlier.lineage)?.clone();
        Ok(Record {
            write_id: write.write_id,
            dot: quorum_core::Dot { lineage, seq: earlier.seq },
            hlc: earlier.hlc,
            digest: earlier.digest,
            durability: write.durability,
            payload: write.payload.clone(),
        })
    }

    fn staged(&self, record: Arc<Record>, wait: Wait, is_known: bool) -> Staged<Durable> {
        Staged { record, durable: Durable { wait, shared: self.shared.clone() }, is_known }
    }
}
