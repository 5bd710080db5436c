//! The catch-up lane: what the peer lacks, out of the log, behind whatever is live.

use quorum_core::{Clock, Frontier, Incoming, LogSource, PeerId, Replay, ReplicaStore};

use crate::config::TransportConfig;
use crate::error::TransportError;
use crate::link::lane::Lane;
use crate::link::ledger::Sent;
use crate::link::pace::Pace;
use crate::link::peer::Peer;
use crate::wire::codec;
use crate::wire::message::Append;

/// Chunks sent and not yet answered, at most.
const CHUNKS_UNANSWERED: usize = 4;
/// Items sent and not yet answered, at most: items without a payload weigh nothing.
const ITEMS_UNANSWERED: usize = 16 << 10;

/// Everything the lane works with.
pub(crate) struct CatchUp<'a, S> {
    pub(crate) lane: Lane,
    pub(crate) peer: &'a Peer,
    pub(crate) us: &'a PeerId,
    pub(crate) store: &'a S,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) config: &'a TransportConfig,
}

impl<S: ReplicaStore + LogSource> CatchUp<'_, S> {
    /// Brings the peer up to date, and keeps it so, until the connection ends.
    pub(crate) async fn run(mut self) -> Result<(), TransportError> {
        let mut pace = Pace::new(self.config.catch_up_bytes_per_second);
        loop {
            if !self.round(&mut pace).await? {
                let look_again = self.clock.sleep_until(self.peer.look_again(self.clock.now()));
                tokio::select! {
                    () = self.peer.catch_up_ready.notified() => {}
                    () = look_again => {}
                }
            }
        }
    }

    /// Sends one chunk of every lineage that is owed. Tells whether there was anything.
    async fn round(&mut self, pace: &mut Pace) -> Result<bool, TransportError> {
        if self.peer.is_saturated() {
            return Ok(false);
        }
        let held = self.store.frontier();
        let owed = self.peer.owed(self.us, &held, self.clock.now());
        let mut sent_any = false;
        for (lineage, wanted) in owed.iter() {
            match self.store.replay(lineage, wanted, self.config.catch_up_chunk_bytes).await {
                Replay::Items(items) => {
                    sent_any |= !items.is_empty();
                    self.send(items, pace).await?;
                }
                Replay::Trimmed => {
                    tracing::info!(peer = %self.peer.name(), %lineage, "the log no longer reaches back far enough, sending everything");
                    return self.snapshot(held, pace).await.map(|()| true);
                }
            }
        }
        Ok(sent_any)
    }

    /// Sends every current record, and claims the frontier of before only behind the last one.
    async fn snapshot(&mut self, held: Frontier, pace: &mut Pace) -> Result<(), TransportError> {
        let mut cursor = None;
        loop {
            let (items, next) = self.store.snapshot(cursor, self.config.catch_up_chunk_bytes).await;
            self.send(items, pace).await?;
            let Some(next) = next else { break };
            cursor = Some(next);
        }
        self.lane.until_unanswered_at_most(0, 0).await;
        if self.peer.status().deferred > 0 {
            // Some record was not taken, so the claim would not be true; what was taken is known and not sent again
            // before the whole is tried anew.
            return Ok(());
        }
        let covers = held.iter().map(|(lineage, set)| (lineage.clone(), set.clone())).collect();
        self.send(vec![Incoming { record: None, covers, trace: None }], pace).await?;
        self.lane.until_unanswered_at_most(0, 0).await;
        Ok(())
    }

    async fn send(&mut self, items: Vec<Incoming>, pace: &mut Pace) -> Result<(), TransportError> {
        if items.is_empty() {
            return Ok(());
        }
        let (mut frames, mut sent, mut bytes) = (Vec::new(), Vec::new(), 0);
        let handed_over = self.clock.now();
        for item in items {
            self.peer.under_way(&item);
            let frame = append_frame(&item)?;
            bytes += frame.len();
            frames.push(frame);
            sent.push(Sent { item, handed_over, span: None });
        }
        self.lane.send(frames, sent).await?;
        let free_at = pace.spend(bytes, self.clock.now());
        self.clock.sleep_until(free_at).await;
        let bytes = CHUNKS_UNANSWERED * self.config.catch_up_chunk_bytes;
        self.lane.until_unanswered_at_most(bytes, ITEMS_UNANSWERED).await;
        Ok(())
    }
}

/// An item as it goes over the wire, on either lane.
pub(crate) fn append_frame(item: &Incoming) -> Result<bytes::Bytes, TransportError> {
    let append = Append {
        record: item.record.as_deref().cloned(),
        covers: item.covers.clone(),
        trace: item.trace.map(|trace| *trace.as_bytes()),
    };
    codec::encode_frame(&append).map_err(|error| TransportError::Protocol(error.to_string()))
}
