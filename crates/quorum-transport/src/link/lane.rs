//! One lane of a connection: a stream on which records go out and cumulative acks come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendStream};
use quorum_core::{AckOfLane, Clock, Ledger, Lineage};
use tokio::sync::Notify;
use tracing::Span;

use crate::error::TransportError;
use crate::frames::FrameReader;
use crate::link::peer::{Peer, SentItem};
use crate::wire::codec;
use crate::wire::message::{Ack, LaneKind, OpenLane};

/// The sending half of a lane, and the account of what was sent.
pub(crate) struct Lane {
    stream: SendStream,
    ledger: Arc<Mutex<Ledger<Option<Span>>>>,
    /// Rings when items were answered.
    answered: Arc<Notify>,
    /// Items that the peer did not take.
    untaken: Arc<AtomicU64>,
}

/// The half of a lane on which acks come back.
pub(crate) struct Acks {
    frames: FrameReader,
    ledger: Arc<Mutex<Ledger<Option<Span>>>>,
    answered: Arc<Notify>,
    untaken: Arc<AtomicU64>,
}

/// Opens a lane on a welcomed connection.
pub(crate) async fn open(
    connection: &Connection,
    kind: LaneKind,
    ours: &Lineage,
    frame_bytes_max: usize,
) -> Result<(Lane, Acks), TransportError> {
    let (stream, back) = open_stream(connection, kind, ours).await?;
    let (ledger, answered) = (Arc::new(Mutex::new(Ledger::default())), Arc::new(Notify::new()));
    let untaken = Arc::new(AtomicU64::new(0));
    let acks = Acks {
        frames: FrameReader::new(back, frame_bytes_max),
        ledger: Arc::clone(&ledger),
        answered: Arc::clone(&answered),
        untaken: Arc::clone(&untaken),
    };
    Ok((Lane { stream, ledger, answered, untaken }, acks))
}

/// Opens a stream and says what it is for.
pub(crate) async fn open_stream(
    connection: &Connection,
    kind: LaneKind,
    ours: &Lineage,
) -> Result<(SendStream, RecvStream), TransportError> {
    let (mut stream, back) =
        connection.open_bi().await.map_err(|error| crate::close::explain(&error))?;
    let opening =
        OpenLane { kind, incarnation: ours.origin.incarnation, epoch: ours.epoch.as_u64() };
    let opening = codec::encode_frame(&opening)
        .map_err(|error| TransportError::Protocol(error.to_string()))?;
    stream.write_chunk(opening).await.map_err(|error| TransportError::Lost(error.to_string()))?;
    Ok((stream, back))
}

impl Lane {
    /// Lets everything of a higher priority go first; that of other lanes is zero.
    pub(crate) fn give_way(&self, priority: i32) {
        let _only_fails_once_closed = self.stream.set_priority(priority);
    }

    /// Sends frames that carry `sent`, in this order. Waits while the peer's window is full.
    pub(crate) async fn send(
        &mut self,
        mut frames: Vec<Bytes>,
        sent: Vec<SentItem>,
    ) -> Result<(), TransportError> {
        // Entered before the first byte leaves: an ack cannot outrun its entry.
        {
            let mut ledger = self.ledger.lock();
            sent.into_iter().for_each(|sent| ledger.push(sent));
        }
        self.stream
            .write_all_chunks(&mut frames)
            .await
            .map_err(|error| TransportError::Lost(error.to_string()))
    }

    /// An item could not be sent on this lane.
    pub(crate) fn skip(&self) {
        self.untaken.fetch_add(1, Ordering::Relaxed);
    }

    /// How many items of this lane the peer has not taken so far.
    pub(crate) fn untaken(&self) -> u64 {
        self.untaken.load(Ordering::Relaxed)
    }

    /// Returns once at most `bytes` and `items` are sent and unanswered.
    pub(crate) async fn until_unanswered_at_most(&self, bytes: usize, items: usize) {
        loop {
            {
                let ledger = self.ledger.lock();
                if ledger.unanswered_bytes() <= bytes && ledger.unanswered() <= items {
                    return;
                }
            }
            self.answered.notified().await;
        }
    }
}

impl Acks {
    /// Hears acks until the stream ends.
    pub(crate) async fn hear(
        mut self,
        peer: &Peer,
        clock: &dyn Clock,
    ) -> Result<(), TransportError> {
        while let Some(frame) = self.frames.next().await? {
            let protocol =
                |error: &dyn std::fmt::Display| TransportError::Protocol(error.to_string());
            let ack: Ack = codec::decode(&frame).map_err(|error| protocol(&error))?;
            let (now, synced) = (clock.now(), ack.synced);
            let Ack { upto, hash, exceptions, .. } = ack;
            let ack = AckOfLane { upto, hash, exceptions };
            let settled = self.ledger.lock().settle(ack).map_err(|error| protocol(&error))?;
            for (sent, reply) in settled {
                if !peer.answered(&sent, &reply, synced, now) {
                    self.untaken.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.answered.notify_one();
        }
        Ok(())
    }
}
