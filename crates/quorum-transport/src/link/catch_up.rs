//! The catch-up lane: what the peer lacks, out of the log, behind whatever is live.
//!
//! What the log has forgotten is found by comparing: page by page, the peer is asked how its records of that range of
//! keys add up, and where they do not, which ones it has. Only the others are sent.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use quorum_core::{
    Answer, Clock, Digest, Frontier, Incoming, LogSource, QuerySource, Question, Replay,
    ReplicaStore, SnapshotCursor, StandIn, Version,
};
use tokio::sync::mpsc;

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

/// When a peer that is being sent everything by somebody else is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Everything the lane works with.
pub(crate) struct CatchUp<'a, S> {
    pub(crate) lane: Lane,
    pub(crate) peer: &'a Peer,
    pub(crate) store: &'a S,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) config: &'a TransportConfig,
    pub(crate) pace: Pace,
    pub(crate) snapshots: SnapshotPause,
}

/// What a peer holds of a range of keys.
enum Compared {
    /// The same.
    Alike,
    /// These records.
    Holding(HashSet<(Version, Digest)>),
    /// It did not say.
    Unknown,
}

/// When everything may be sent again, after a time when the peer did not take all of it.
#[derive(Debug, Default)]
pub(crate) struct SnapshotPause {
    until: Option<Instant>,
    failures: u32,
}

impl SnapshotPause {
    /// Longest pause, in times the shortest.
    const GROWTH_MAX: u32 = 64;

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// The peer does not want everything now.
    fn wait(&mut self, until: Instant) {
        self.until = Some(until);
    }

    fn begin(&mut self, now: Instant, shortest: Duration) {
        let growth = 1_u32.checked_shl(self.failures).unwrap_or(Self::GROWTH_MAX);
        self.until = Some(now + shortest * growth.min(Self::GROWTH_MAX));
        self.failures += 1;
    }
}

impl<S: ReplicaStore + LogSource + QuerySource> CatchUp<'_, S> {
    /// Brings the peer up to date, and keeps it so, until the connection ends.
    ///
    /// A write becomes durable here about when it is sent live, often a moment before. So what is looked at is what was
    /// held *before the last pause*: whatever of it is neither known there nor under way was really not sent live.
    pub(crate) async fn run(mut self) -> Result<(), TransportError> {
        let mut held = self.store.frontier();
        loop {
            if !self.round(&held).await? {
                held = self.store.frontier();
                let look_again = self.clock.sleep_until(self.peer.look_again(self.clock.now()));
                tokio::select! {
                    biased;
                    () = self.peer.catch_up_ready.notified() => {}
                    () = look_again => {}
                }
            }
        }
    }

    /// Sends one chunk of every lineage that is owed out of `held`. Tells whether there was anything.
    async fn round(&mut self, held: &Frontier) -> Result<bool, TransportError> {
        let us = self.store.lineage().origin;
        let owed = self.peer.owed(&us, held, self.clock.now());
        let mut sent_any = false;
        for (lineage, wanted) in owed.iter() {
            match self.store.replay(lineage, wanted, self.config.catch_up_chunk_bytes).await {
                Replay::Items(mut items) => {
                    sent_any |= !items.is_empty();
                    items.iter_mut().for_each(|item| self.spare(item));
                    self.send(items).await?;
                }
                Replay::Trimmed if self.snapshots.is_over(self.clock.now()) => {
                    if !self.peer.may_snapshot().await {
                        // Somebody else is sending everything. Most likely nothing is owed afterwards.
                        self.snapshots.wait(self.clock.now() + ASK_AGAIN);
                        continue;
                    }
                    tracing::info!(peer = %self.peer.name(), %lineage, "the log no longer reaches back far enough, comparing everything");
                    self.snapshot(held).await?;
                    self.peer.snapshot_done();
                    return Ok(true);
                }
                Replay::Trimmed => {}
            }
        }
        Ok(sent_any)
    }

    /// Leaves out a record that the peer has, or is being sent: it was the current record of other dots before.
    fn spare(&self, item: &mut Incoming) {
        let is_there = |stand_in: &StandIn| self.peer.has(&stand_in.dot);
        if !item.covers.is_empty() && item.stand_in.as_ref().is_some_and(is_there) {
            item.record = None;
        }
    }

    /// Sends every current record that the peer has not, and claims the frontier of before only behind the last one.
    async fn snapshot(&mut self, held: &Frontier) -> Result<(), TransportError> {
        let untaken_before = self.lane.untaken();
        let mut cursor: Option<SnapshotCursor> = None;
        let mut compares = self.peer.within_reach().is_some_and(|held| !held.is_empty());
        loop {
            let (mut items, next) =
                self.store.snapshot(cursor.clone(), self.config.catch_up_chunk_bytes).await;
            if items.is_empty() && next.is_some() && next == cursor {
                // The store cannot read on. Somebody else may be able to, so the place is not kept.
                self.snapshots.begin(self.clock.now(), self.config.retry_max);
                return Ok(());
            }
            if compares && !items.is_empty() {
                match self.held_there(cursor.as_deref(), next.as_deref()).await {
                    Compared::Alike => items.clear(),
                    Compared::Holding(theirs) => {
                        items.retain(|item| {
                            !item.record.as_ref().is_some_and(|record| {
                                theirs.contains(&(record.version(), record.digest))
                            })
                        });
                    }
                    // A store that answers no such question, or a peer that is too busy: once is enough.
                    Compared::Unknown => compares = false,
                }
            }
            self.send(items).await?;
            let Some(next) = next else { break };
            cursor = Some(next);
        }
        self.lane.until_unanswered_at_most(0, 0).await;
        if self.lane.untaken() > untaken_before {
            // Some record was not taken, so the claim would not be true. What is refused may be refused for good, so
            // the whole is not tried anew at once.
            self.snapshots.begin(self.clock.now(), self.config.retry_max);
            return Ok(());
        }
        let covers = held.iter().map(|(lineage, set)| (lineage.clone(), set.clone())).collect();
        self.send(vec![Incoming { record: None, covers, ..Incoming::default() }]).await?;
        self.lane.until_unanswered_at_most(0, 0).await;
        if self.lane.untaken() > untaken_before {
            self.snapshots.begin(self.clock.now(), self.config.retry_max);
        } else {
            self.snapshots = SnapshotPause::default();
        }
        Ok(())
    }

    /// How the peer's records behind `after` up to `through` compare with ours. The cursors of a snapshot are the store's
    /// keys, if it answers for ranges.
    async fn held_there(&self, after: Option<&[u8]>, through: Option<&[u8]>) -> Compared {
        let key = |cursor: Option<&[u8]>| cursor.map(bytes::Bytes::copy_from_slice);
        let (mut after, through) = (key(after), key(through));
        let digest = Question::RangeDigest {
            after: after.clone(),
            through: through.clone(),
            ignore_tombstones_through: quorum_core::Hlc::ZERO,
        };
        let ours = self.store.answer(self.peer.name(), digest.clone()).await;
        match self.ask(digest).await {
            theirs @ Answer::RangeDigest { is_complete: true, .. } if theirs == ours => {
                return Compared::Alike;
            }
            Answer::RangeDigest { .. } => {}
            _ => return Compared::Unknown,
        }
        let mut held = HashSet::new();
        loop {
            let question = Question::Range { after: after.clone(), through: through.clone() };
            let Answer::Range { entries, is_complete } = self.ask(question).await else {
                return Compared::Unknown;
            };
            after = entries.last().map(|entry| entry.key.clone());
            held.extend(entries.into_iter().map(|entry| (entry.version, entry.digest)));
            if is_complete || after.is_none() {
                return Compared::Holding(held);
            }
        }
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
            sent.push(Sent { item, handed_over, span: None });
        }
        if frames.is_empty() {
            return Ok(());
        }
        let records = sent.iter().filter(|sent| sent.item.record.is_some()).count();
        self.lane.send(frames, sent).await?;
        self.peer.repaired(records, bytes);
        let free_at = self.pace.spend(bytes, self.clock.now());
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
        void: item.void,
        stand_in: item.stand_in.clone().filter(|_| item.record.is_none()),
        trace: item.trace.map(|trace| *trace.as_bytes()),
    };
    codec::encode_frame(&append).map_err(|error| TransportError::Protocol(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_an_incomplete_snapshot_doubles_up_to_a_ceiling() {
        let (mut pause, now, second) =
            (SnapshotPause::default(), Instant::now(), Duration::from_secs(1));
        assert!(pause.is_over(now));
        for expected in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
            pause.begin(now, second);
            let end = now + expected * second;
            assert!(!pause.is_over(end - Duration::from_nanos(1)) && pause.is_over(end));
        }
    }
}
