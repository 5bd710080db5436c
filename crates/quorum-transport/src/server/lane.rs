//! One inbound lane: batches of records into the store, cumulative acks back.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::SendStream;
use quorum_core::{
    Clock, Incoming, LaneHash, Lineage, PeerId, QuerySource, ReplicaStore, Reply, SnapshotSeat,
    TraceParent,
};
use tokio_util::sync::CancellationToken;

use crate::error::TransportError;
use crate::frames::FrameReader;
use crate::link::dial::{hear, say};
use crate::server::query::Queries;
use crate::wire::codec;
use crate::wire::message::{Ack, Append, LaneKind, OpenLane};

/// Items handed to the store at once, at most.
const BATCH_ITEMS_MAX: usize = 4096;

/// A lane and what it needs.
pub(crate) struct Lane {
    pub(crate) from: PeerId,
    /// The lineage that the Hello named: the lane must name the same.
    pub(crate) lineage: Lineage,
    pub(crate) frames: FrameReader,
    pub(crate) acks: SendStream,
    pub(crate) batch_bytes_max: usize,
    pub(crate) frame_bytes_max: usize,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) snapshot: Arc<Mutex<SnapshotSeat>>,
    /// No further batch is begun.
    pub(crate) stop: CancellationToken,
}

impl Lane {
    /// Applies until the stream ends, or until it is stopped: then what was begun is answered first. While the store is at work, what arrives waits in the stream's window and makes
    /// the next batch: batches grow by themselves under load, and nothing waits for a batch to fill.
    pub(crate) async fn run<S>(mut self, store: &S) -> Result<(), TransportError>
    where
        S: ReplicaStore + QuerySource,
    {
        let stop = self.stop.clone();
        match stop.run_until_cancelled(self.opening()).await {
            None => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(LaneKind::Query)) => {
                let queries = Queries {
                    from: &self.from,
                    questions: self.frames,
                    answers: self.acks,
                    clock: &*self.clock,
                    snapshot: &self.snapshot,
                    frame_bytes_max: self.frame_bytes_max,
                };
                // Nothing that is cut off here leaves anything behind.
                stop.run_until_cancelled(queries.run(store)).await.unwrap_or(Ok(()))
            }
            Some(Ok(kind)) => self.apply_all(store, kind).await,
        }
    }

    async fn apply_all<S: ReplicaStore>(
        mut self,
        store: &S,
        kind: LaneKind,
    ) -> Result<(), TransportError> {
        let stop = self.stop.clone();
        let (mut upto, mut hash) = (0, LaneHash::new());
        while let Some(next) = stop.run_until_cancelled(self.frames.next()).await {
            let Some(first) = next? else { return Ok(()) };
            let mut batch = self.batch(first).await?;
            for item in &mut batch {
                item.durable = kind == LaneKind::CatchUp;
                hash.update(item.record.as_deref());
            }
            let (count, base) = (batch.len(), upto);
            let applied = store.apply(&self.from, batch).await;
            if applied.replies.len() != count {
                return Err(TransportError::Lost("the store did not answer every item".into()));
            }
            if kind == LaneKind::CatchUp {
                self.snapshot.lock().gets_on(&self.from, self.clock.now());
            }
            upto += count as u64;
            let exceptions = applied.replies.into_iter().zip(base + 1..);
            let exceptions = exceptions.filter(|(reply, _)| *reply != Reply::Stored);
            let exceptions = exceptions.map(|(reply, number)| (number, reply)).collect();
            say(
                &mut self.acks,
                &Ack { upto, hash: hash.value(), synced: applied.synced, exceptions },
            )
            .await?;
        }
        // Stopped. The last answer has arrived once the peer has acknowledged the end of the stream.
        if self.acks.finish().is_ok() {
            let _peer_may_be_gone = self.acks.stopped().await;
        }
        Ok(())
    }

    /// What the stream is for.
    async fn opening(&mut self) -> Result<LaneKind, TransportError> {
        let opening: OpenLane = hear(&mut self.frames).await?;
        let expected = &self.lineage;
        if opening.incarnation != expected.origin.incarnation
            || opening.epoch != expected.epoch.as_u64()
        {
            return Err(TransportError::Protocol(
                "lane of another incarnation or epoch than the hello".into(),
            ));
        }
        tracing::debug!(peer = %self.from, kind = ?opening.kind, "lane open");
        Ok(opening.kind)
    }

    /// The first frame and everything that is already here behind it.
    async fn batch(&mut self, first: Bytes) -> Result<Vec<Incoming>, TransportError> {
        let mut bytes = first.len();
        let mut batch = vec![incoming(&first)?];
        while bytes < self.batch_bytes_max && batch.len() < BATCH_ITEMS_MAX {
            let Some(frame) = self.frames.next_ready().await? else { break };
            bytes += frame.len();
            batch.push(incoming(&frame)?);
        }
        Ok(batch)
    }
}

/// The item in the body of a frame.
pub(crate) fn incoming(frame: &[u8]) -> Result<Incoming, TransportError> {
    let append: Append =
        codec::decode(frame).map_err(|error| TransportError::Protocol(error.to_string()))?;
    let Append { record, covers, void, stand_in, trace } = append;
    let trace = trace.map(TraceParent::from_bytes);
    let record = record.map(Arc::new);
    Ok(Incoming { record, covers, void, stand_in, trace, durable: false })
}
