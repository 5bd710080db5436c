//! The catch-up lane: what the peer lacks, out of the log, behind whatever is live. While there are live writes, one piece
//! is under way at a time, and the lane rests between them.
//!
//! What is sent, and when everything is compared, is decided by [`quorum_core::CatchUp`]; this is the QUIC lane around it.

use quorum_core::{
    Answer, CatchUpLane, Clock, Dot, Frontier, Incoming, Lineage, LogSource, Origin, QuerySource,
    Question, ReplicaStore, Sent,
};
use tokio::sync::mpsc;

use crate::config::TransportConfig;
use crate::error::TransportError;
use crate::link::lane::Lane;
use crate::link::pace::{self, Pace};
use crate::link::peer::Peer;
use crate::wire::codec;
use crate::wire::message::Append;

/// Chunks sent and not yet answered, at most.
const CHUNKS_UNANSWERED: usize = 4;
/// Items sent and not yet answered, at most: items without a payload weigh nothing.
const ITEMS_UNANSWERED: usize = 16 << 10;

/// Everything the lane works with.
pub(crate) struct PacedLane<'a> {
    pub(crate) lane: Lane,
    pub(crate) peer: &'a Peer,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) config: &'a TransportConfig,
    pub(crate) pace: Pace,
    /// Live writes that there had been when the last piece was sent.
    pub(crate) offered_before: u64,
}

/// Brings the peer up to date, and keeps it so, until the connection ends.
///
/// What is looked at is what was held *before the last pause*: see [`quorum_core::CatchUp::round`].
pub(crate) async fn run<S>(lane: PacedLane<'_>, store: &S) -> Result<(), TransportError>
where
    S: ReplicaStore + LogSource + QuerySource,
{
    let PacedLane { peer, clock, config, .. } = lane;
    let (chunk_bytes, pause_min) = (config.catch_up_chunk_bytes, config.retry_max);
    let mut catch_up =
        quorum_core::CatchUp::new(lane, peer.name(), store, clock, chunk_bytes, pause_min);
    let mut held = store.frontier();
    loop {
        if !catch_up.round(&held).await? {
            held = store.frontier();
            let look_again = clock.sleep_until(peer.look_again(clock.now()));
            tokio::select! {
                biased;
                () = peer.catch_up_ready.notified() => {}
                () = look_again => {}
            }
        }
    }
}

impl CatchUpLane for PacedLane<'_> {
    type Error = TransportError;

    fn owed(&mut self, us: &Origin, held: &Frontier, now: std::time::Instant) -> Frontier {
        self.peer.owed(us, held, now)
    }

    fn has(&self, dot: &Dot) -> bool {
        self.peer.has(dot)
    }

    fn holds_anything(&self) -> bool {
        self.peer.within_reach().is_some_and(|held| !held.is_empty())
    }

    async fn send(&mut self, items: Vec<Incoming>) -> Result<(), TransportError> {
        let (mut frames, mut sent, mut bytes) = (Vec::new(), Vec::new(), 0);
        let handed_over = self.clock.now();
        for item in items {
            let frame = append_frame(&item).ok().filter(|frame| self.peer.fits(frame));
            let Some(frame) = frame else {
                self.lane.skip();
                self.peer.too_large(&item, handed_over);
                continue;
            };
            self.peer.under_way(&item);
            bytes += frame.len();
            frames.push(frame);
            sent.push(Sent { item, handed_over, note: None });
        }
        if frames.is_empty() {
            return Ok(());
        }
        let records = sent.iter().filter(|sent| sent.item.record.is_some()).count();
        self.lane.send(frames, sent).await?;
        self.peer.repaired(records, bytes);
        let free_at = self.pace.spend(bytes, self.clock.now());
        self.clock.sleep_until(free_at).await;
        let offered = self.peer.offered();
        if std::mem::replace(&mut self.offered_before, offered) == offered {
            let bytes = CHUNKS_UNANSWERED * self.config.catch_up_chunk_bytes;
            self.lane.until_unanswered_at_most(bytes, ITEMS_UNANSWERED).await;
        } else {
            self.lane.until_unanswered_at_most(0, 0).await;
            let now = self.clock.now();
            let took = now.saturating_duration_since(handed_over);
            self.clock.sleep_until(now + pace::rest(took)).await;
        }
        Ok(())
    }

    async fn all_answered(&mut self) {
        self.lane.until_unanswered_at_most(0, 0).await;
    }

    fn untaken(&self) -> u64 {
        self.lane.untaken()
    }

    async fn ask(&self, question: Question) -> Answer {
        let (answers, mut answer) = mpsc::channel(1);
        let now = self.clock.now();
        let deadline = now + self.config.idle_timeout;
        self.peer.ask(question, deadline, now, answers);
        let silent = Answer::Unavailable(quorum_core::Unavailable::Unreachable);
        tokio::select! {
            biased;
            answer = answer.recv() => answer.map_or(silent, |answer| answer.answer),
            () = self.clock.sleep_until(deadline) => silent,
        }
    }

    async fn may_snapshot(&self) -> bool {
        self.peer.may_snapshot().await
    }

    fn snapshot_done(&self) {
        self.peer.snapshot_done();
    }

    fn comparing(&self, lineage: &Lineage) {
        tracing::info!(peer = %self.peer.name(), %lineage, "the log no longer reaches back far enough, comparing everything");
    }
}

/// An item as it goes over the wire, on either lane.
pub(crate) fn append_frame(item: &Incoming) -> Result<bytes::Bytes, TransportError> {
    let append = Append {
        record: item.record.as_deref().cloned(),
        covers: item.covers.clone(),
        void: item.void,
        stand_in: item.stand_in.clone().filter(|_| item.record.is_none()),
        trace: item.trace.map(|trace| *trace.as_bytes()),
    };
    codec::encode_frame(&append).map_err(|error| TransportError::Protocol(error.to_string()))
}
