//! Brings a peer up to date: what it lacks, out of the log, or by comparing everything where the log has forgotten.
//!
//! What the log has forgotten is found by comparing: page by page, the peer is asked how its records of that range of
//! keys add up, and where they do not, which ones it has. Only the others are sent.

use std::collections::HashSet;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::clock::hlc::Hlc;
use crate::frontier::Frontier;
use crate::id::{Digest, PeerId};
use crate::planted::{self, Bug};
use crate::ports::{Clock, Incoming, LogSource, Replay, ReplicaStore, SnapshotCursor, StandIn};
use crate::query::{Answer, QuerySource, Question, Unavailable};
use crate::version::{Dot, Lineage, Origin, Version};

/// When a peer that is being sent everything by somebody else is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Answers for the range of one page, at most: a peer may hold more there than we do, without end if it likes. What it did
/// not tell of by then is sent.
const ANSWERS_MAX: usize = 64;

/// The network around a [`CatchUp`]: one lane of one connection, and the [`Link`](crate::Link) it belongs to.
pub trait CatchUpLane: Send {
    /// Why the connection is of no more use.
    type Error;

    /// See [`Link::owed`](crate::Link::owed).
    fn owed(&mut self, us: &Origin, held: &Frontier, now: Instant) -> Frontier;
    /// See [`Link::has`](crate::Link::has).
    fn has(&self, dot: &Dot) -> bool;
    /// Whether the peer is known to hold anything.
    fn holds_anything(&self) -> bool;
    /// Sends items in order and enters them as under way; returns when more may be sent.
    ///
    /// # Cancellation
    ///
    /// The connection must be ended: some may have been sent.
    fn send(
        &mut self,
        items: Vec<Incoming>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Returns once everything that was sent is answered.
    fn all_answered(&mut self) -> impl Future<Output = ()> + Send;
    /// How many items the peer has not taken so far on this lane, those that were too large to be sent included.
    fn untaken(&self) -> u64;
    /// Asks the peer something; a peer that does not answer in time is unavailable.
    fn ask(&self, question: Question) -> impl Future<Output = Answer> + Send;
    /// Asks whether everything may be sent, and waits for the answer.
    fn may_snapshot(&self) -> impl Future<Output = bool> + Send;
    /// Everything is sent, or the attempt is given up.
    fn snapshot_done(&self);
    /// Hears that the log does not reach back far enough.
    fn comparing(&self, _lineage: &Lineage) {}
}

/// What a peer holds of a range of keys.
enum Compared {
    /// The same.
    Alike,
    /// These of ours.
    Holding(HashSet<(Version, Digest)>),
    /// It did not say: not now, or it answers no such question.
    Unknown { ever: bool },
}

/// When everything may be sent again, after a time when the peer did not take all of it.
#[derive(Debug, Default)]
struct SnapshotPause {
    until: Option<Instant>,
    failures: u32,
}

impl SnapshotPause {
    /// Longest pause, in times the shortest.
    const GROWTH_MAX: u32 = 16;

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

/// The catch-up lane of one connection.
#[derive(Debug)]
pub struct CatchUp<'a, S, L> {
    lane: L,
    peer: &'a PeerId,
    store: &'a S,
    clock: &'a dyn Clock,
    chunk_bytes: usize,
    pause_min: Duration,
    snapshots: SnapshotPause,
}

impl std::fmt::Debug for dyn Clock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Clock")
    }
}

impl<'a, S, L> CatchUp<'a, S, L>
where
    S: ReplicaStore + LogSource + QuerySource,
    L: CatchUpLane,
{
    /// A lane to `peer`. The log is read `chunk_bytes` at a time; after a time when the peer did not take everything, it
    /// is not sent again for `pause_min`, and longer the oftener that happens.
    #[must_use]
    pub fn new(
        lane: L,
        peer: &'a PeerId,
        store: &'a S,
        clock: &'a dyn Clock,
        chunk_bytes: usize,
        pause_min: Duration,
    ) -> Self {
        let snapshots = SnapshotPause::default();
        Self { lane, peer, store, clock, chunk_bytes, pause_min, snapshots }
    }

    /// Sends one chunk of every lineage that is owed out of `held`. Tells whether there was anything.
    ///
    /// A write becomes durable here about when it is sent live, often a moment before. So `held` should be what was held
    /// *before the last pause*: whatever of it is neither known there nor under way was really not sent live.
    ///
    /// # Errors
    ///
    /// The lane's, if the connection is of no more use.
    ///
    /// # Cancellation
    ///
    /// The connection must be ended.
    pub async fn round(&mut self, held: &Frontier) -> Result<bool, L::Error> {
        let us = self.store.lineage().origin;
        let owed = self.lane.owed(&us, held, self.clock.now());
        let mut sent_any = false;
        for (lineage, wanted) in owed.iter() {
            let replay = self.store.replay(lineage, wanted, self.chunk_bytes).await;
            let (mut items, is_trimmed) = match replay {
                Replay::Items(items) => (items, false),
                Replay::Partly(items) => (items, true),
                Replay::Trimmed => (Vec::new(), true),
            };
            if is_trimmed && self.snapshots.is_over(self.clock.now()) {
                if self.lane.may_snapshot().await {
                    self.lane.comparing(lineage);
                    self.snapshot(held).await?;
                    self.lane.snapshot_done();
                    return Ok(true);
                }
                // Somebody else is sending everything. Most likely nothing is owed afterwards.
                self.snapshots.wait(self.clock.now() + ASK_AGAIN);
            }
            // What the log knows does not wait for what it does not: that may be refused for good.
            sent_any |= !items.is_empty();
            items.iter_mut().for_each(|item| self.spare(item));
            self.send(items).await?;
        }
        Ok(sent_any)
    }

    /// Sends what was read where everything is durable.
    async fn send(&mut self, mut items: Vec<Incoming>) -> Result<(), L::Error> {
        items.iter_mut().for_each(|item| item.durable = true);
        self.lane.send(items).await
    }

    /// Leaves out a record that the peer has, or is being sent: it was the current record of other dots before.
    fn spare(&self, item: &mut Incoming) {
        let is_there =
            |stand_in: &StandIn| self.lane.has(&stand_in.dot) || planted::is(Bug::RecordLeftOut);
        if !item.covers.is_empty() && item.stand_in.as_ref().is_some_and(is_there) {
            item.record = None;
        }
    }

    /// Sends every current record that the peer has not, and claims the frontier of before only behind the last one.
    async fn snapshot(&mut self, held: &Frontier) -> Result<(), L::Error> {
        // What came before is another matter.
        self.lane.all_answered().await;
        let untaken_before = self.lane.untaken();
        let covers = || held.iter().map(|(of, set)| (of.clone(), set.clone())).collect();
        let claim = || vec![Incoming { record: None, covers: covers(), ..Incoming::default() }];
        if planted::is(Bug::ClaimBeforeSnapshot) {
            self.send(claim()).await?;
        }
        let mut cursor: Option<SnapshotCursor> = None;
        let mut compares = self.lane.holds_anything();
        loop {
            let (mut items, next) = self.store.snapshot(cursor.clone(), self.chunk_bytes).await;
            if items.is_empty() && next.is_some() && next == cursor {
                // The store cannot read on. Somebody else may be able to, so the place is not kept.
                self.lane.all_answered().await;
                self.snapshots.begin(self.clock.now(), self.pause_min);
                return Ok(());
            }
            if compares && !items.is_empty() {
                match self.held_there(cursor.as_deref(), next.as_deref(), &items).await {
                    Compared::Alike => items.clear(),
                    Compared::Holding(theirs) => {
                        items.retain(|item| named(item).is_none_or(|name| !theirs.contains(&name)));
                    }
                    // A peer that is too busy now may answer for the next page.
                    Compared::Unknown { ever } => compares = ever,
                }
            }
            self.send(items).await?;
            let Some(next) = next else { break };
            cursor = Some(next);
        }
        self.lane.all_answered().await;
        if self.lane.untaken() > untaken_before && !planted::is(Bug::ClaimDespiteUntaken) {
            // Some record was not taken, so the claim would not be true. What is refused may be refused for good, so
            // the whole is not tried anew at once.
            self.snapshots.begin(self.clock.now(), self.pause_min);
            return Ok(());
        }
        self.send(claim()).await?;
        self.lane.all_answered().await;
        if self.lane.untaken() > untaken_before {
            self.snapshots.begin(self.clock.now(), self.pause_min);
        } else {
            self.snapshots = SnapshotPause::default();
        }
        Ok(())
    }

    /// How the peer's records behind `after` up to `through` compare with ours, `items`. The cursors of a snapshot are the store's
    /// keys, if it answers for ranges.
    async fn held_there(
        &self,
        after: Option<&[u8]>,
        through: Option<&[u8]>,
        items: &[Incoming],
    ) -> Compared {
        let key = |cursor: Option<&[u8]>| cursor.map(Bytes::copy_from_slice);
        let (mut after, through) = (key(after), key(through));
        let digest = Question::RangeDigest {
            after: after.clone(),
            through: through.clone(),
            ignore_tombstones_through: Hlc::ZERO,
        };
        let ours = self.store.answer(self.peer, digest.clone()).await;
        match self.lane.ask(digest).await {
            theirs @ Answer::RangeDigest { is_complete: true, .. } if theirs == ours => {
                return Compared::Alike;
            }
            Answer::RangeDigest { .. } => {}
            Answer::Unavailable(Unavailable::Unsupported) => {
                return Compared::Unknown { ever: false };
            }
            _ => return Compared::Unknown { ever: true },
        }
        let mut lacking: HashSet<(Version, Digest)> = items.iter().filter_map(named).collect();
        let mut held = HashSet::new();
        for _ in 0..ANSWERS_MAX {
            let question = Question::Range { after: after.clone(), through: through.clone() };
            let Answer::Range { entries, is_complete } = self.lane.ask(question).await else {
                return Compared::Unknown { ever: true };
            };
            let last = entries.last().map(|entry| entry.key.clone());
            let named = entries.into_iter().map(|entry| (entry.version, entry.digest));
            held.extend(named.filter_map(|name| lacking.take(&name)));
            if is_complete || lacking.is_empty() || last <= after {
                break;
            }
            after = last;
        }
        Compared::Holding(held)
    }
}

/// What tells a record from every other one.
fn named(item: &Incoming) -> Option<(Version, Digest)> {
    item.record.as_ref().map(|record| (record.version(), record.digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;

    #[test]
    fn the_pause_after_an_incomplete_snapshot_doubles_up_to_a_ceiling() {
        let (mut pause, now, second) = (SnapshotPause::default(), epoch(), Duration::from_secs(1));
        assert!(pause.is_over(now));
        for expected in [1, 2, 4, 8, 16, 16, 16] {
            pause.begin(now, second);
            let end = now + expected * second;
            assert!(!pause.is_over(end - Duration::from_nanos(1)) && pause.is_over(end));
        }
    }
}
