//! A network whose peers answer as they were told to.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use parking_lot::Mutex;

use crate::error::{Busy, Refusal};
use crate::id::PeerId;
use crate::ports::{Clock, Outgoing, PeerReply, Replicator, Reply, Sleep};
use crate::record::Record;
use crate::testing::ManualClock;
use crate::version::Version;

/// What one peer does with one record: when it has it, and what it says when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    delivered_after: Option<Duration>,
    replies: Vec<(Duration, Reply)>,
}

impl Script {
    /// The record never gets there.
    #[must_use]
    pub const fn unreachable() -> Self {
        Self { delivered_after: None, replies: Vec::new() }
    }

    /// The record gets there after `delay`, and nothing is ever said.
    #[must_use]
    pub const fn mute(delay: Duration) -> Self {
        Self { delivered_after: Some(delay), replies: Vec::new() }
    }

    /// The record gets there after `delay`, and is answered then.
    #[must_use]
    pub fn answer(delay: Duration, reply: Reply) -> Self {
        Self::mute(delay).then(delay, reply)
    }

    /// The same, and `reply` comes `delay` after the record was sent.
    #[must_use]
    pub fn then(mut self, delay: Duration, reply: Reply) -> Self {
        self.replies.push((delay, reply));
        self
    }

    /// An ack after `delay`.
    #[must_use]
    pub fn stored(delay: Duration) -> Self {
        Self::answer(delay, Reply::Stored)
    }

    /// A newer version, reported after `delay`.
    #[must_use]
    pub fn superseded(delay: Duration, version: Version) -> Self {
        Self::answer(delay, Reply::Superseded { version, is_same_write: false })
    }

    /// A newer version of the very same write, reported after `delay`: somebody else has executed it.
    #[must_use]
    pub fn executed_elsewhere(delay: Duration, version: Version) -> Self {
        Self::answer(delay, Reply::Superseded { version, is_same_write: true })
    }

    /// A drift, reported after `delay`.
    #[must_use]
    pub fn drift(delay: Duration) -> Self {
        Self::answer(delay, Reply::Drift)
    }

    /// A refusal after `delay`.
    #[must_use]
    pub fn refused(delay: Duration, reason: Refusal) -> Self {
        Self::answer(delay, Reply::Refused { reason })
    }

    /// "Not now" after `delay`; chain [`then`](Self::then) for what follows.
    #[must_use]
    pub fn busy(delay: Duration, reason: Busy) -> Self {
        Self::answer(delay, Reply::Busy { reason })
    }
}

/// A record that reached a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// Which peer.
    pub peer: PeerId,
    /// Which record.
    pub record: Arc<Record>,
    /// When.
    pub at: Instant,
}

/// A [`Replicator`] whose peers follow scripts on a [`ManualClock`]. Clones are the same network.
///
/// What was sent arrives when its time has come, whether or not the writer still listens.
#[derive(Debug, Clone)]
pub struct ScriptedPeers {
    clock: ManualClock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The first script of each peer is for the next record, the last one for all that follow.
    scripts: Vec<(PeerId, VecDeque<Script>)>,
    sent: Vec<Outgoing>,
    /// Everything that arrives some time, in the order of sending.
    under_way: Vec<Delivered>,
}

impl ScriptedPeers {
    /// A network without peers.
    #[must_use]
    pub fn new(clock: ManualClock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Adds a peer, or tells it anew what to do: the nth script is for the nth record from now on, the last one for
    /// all that follow. A peer without a script is unreachable. The name need not be a member's.
    #[must_use]
    pub fn with(self, peer: &PeerId, scripts: impl IntoIterator<Item = Script>) -> Self {
        let scripts = scripts.into_iter().collect();
        let mut state = self.state.lock();
        if let Some((_, old)) = state.scripts.iter_mut().find(|(name, _)| name == peer) {
            *old = scripts;
        } else {
            state.scripts.push((peer.clone(), scripts));
        }
        drop(state);
        self
    }

    /// Everything handed over for sending, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<Outgoing> {
        self.state.lock().sent.clone()
    }

    /// Every record that has reached a peer by now, in the order of sending.
    #[must_use]
    pub fn delivered(&self) -> Vec<Delivered> {
        let now = self.clock.now();
        self.state.lock().under_way.iter().filter(|arrival| arrival.at <= now).cloned().collect()
    }

    /// The records that have reached `peer` by now.
    #[must_use]
    pub fn delivered_to(&self, peer: &PeerId) -> Vec<Arc<Record>> {
        let arrivals = self.delivered().into_iter().filter(|arrival| arrival.peer == *peer);
        arrivals.map(|arrival| arrival.record).collect()
    }
}

impl State {
    /// Takes each peer's script for the next record.
    fn next_scripts(&mut self) -> Vec<(PeerId, Script)> {
        let next = |(peer, scripts): &mut (PeerId, VecDeque<Script>)| {
            let script = match scripts.len() {
                0 | 1 => scripts.front().cloned(),
                _ => scripts.pop_front(),
            };
            (peer.clone(), script.unwrap_or_else(Script::unreachable))
        };
        self.scripts.iter_mut().map(next).collect()
    }
}

impl Replicator for ScriptedPeers {
    type Replies = ScriptedReplies;

    fn fan_out(&self, outgoing: Outgoing) -> ScriptedReplies {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let mut replies = Vec::new();
        let mut open = false;
        for (peer, script) in state.next_scripts() {
            if let Some(delay) = script.delivered_after {
                let (peer, record) = (peer.clone(), Arc::clone(&outgoing.record));
                state.under_way.push(Delivered { peer, record, at: now + delay });
            }
            // Whoever has not given its final answer may still speak.
            open |=
                script.replies.last().is_none_or(|(_, reply)| matches!(reply, Reply::Busy { .. }));
            replies.extend(script.replies.into_iter().map(|(delay, reply)| PeerReply {
                peer: peer.clone(),
                reply,
                at: now + delay,
            }));
        }
        state.sent.push(outgoing);
        // A stable sort: replies of one moment come in the order of the peers.
        replies.sort_by_key(|reply| reply.at);
        ScriptedReplies { clock: self.clock.clone(), replies: replies.into(), open, sleep: None }
    }
}

/// The replies to one record, each at its time. Ends when every peer has given a final answer.
pub struct ScriptedReplies {
    clock: ManualClock,
    replies: VecDeque<PeerReply>,
    open: bool,
    sleep: Option<Sleep>,
}

impl Stream for ScriptedReplies {
    type Item = PeerReply;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerReply>> {
        let Some(at) = self.replies.front().map(|reply| reply.at) else {
            return if self.open { Poll::Pending } else { Poll::Ready(None) };
        };
        let clock = self.clock.clone();
        let sleep = self.sleep.get_or_insert_with(|| clock.sleep_until(at));
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.sleep = None;
        Poll::Ready(self.replies.pop_front())
    }
}

impl std::fmt::Debug for ScriptedReplies {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ScriptedReplies").field("to_come", &self.replies).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, WriteId};
    use crate::record::Durability;
    use crate::testing::{Executor, epoch};
    use crate::version::{Dot, Epoch, Lineage, Origin};
    use bytes::Bytes;
    use std::future::poll_fn;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn peer(name: &str) -> PeerId {
        PeerId::new(name).expect("a valid name")
    }

    fn outgoing() -> Outgoing {
        let origin = Origin { node: peer("n1"), incarnation: Incarnation::from_bytes([1; 8]) };
        let dot = Dot { lineage: Lineage { origin, epoch: Epoch::new(1, 0) }, seq: 1 };
        let (id, hlc) = (WriteId::from_bytes([1; 16]), crate::Hlc::from_millis(1));
        let record = Record::new(id, dot, hlc, Durability::Fsync, Bytes::new());
        Outgoing { record: Arc::new(record), trace: None }
    }

    #[test]
    fn replies_come_at_their_time_and_end_with_the_last_final_one() {
        let clock = ManualClock::new();
        let peers = ScriptedPeers::new(clock.clone())
            .with(&peer("n2"), [Script::stored(ms(20))])
            .with(&peer("n3"), [Script::busy(ms(5), Busy::Overload).then(ms(30), Reply::Stored)]);
        let mut replies = peers.fan_out(outgoing());
        let heard = Executor::new(clock).block_on(async move {
            let mut heard = Vec::new();
            while let Some(reply) = poll_fn(|cx| Pin::new(&mut replies).poll_next(cx)).await {
                heard.push((reply.peer.to_string(), reply.at - epoch()));
            }
            heard
        });
        assert_eq!(
            heard,
            [("n3".into(), ms(5)), ("n2".into(), ms(20)), ("n3".into(), ms(30))],
            "in the order of arrival"
        );
    }

    #[test]
    fn what_was_sent_arrives_although_nobody_listens() {
        let clock = ManualClock::new();
        let peers = ScriptedPeers::new(clock.clone())
            .with(&peer("n2"), [Script::mute(ms(10))])
            .with(&peer("n3"), [Script::unreachable()]);
        drop(peers.fan_out(outgoing()));
        assert!(peers.delivered().is_empty());
        clock.advance(ms(10));
        assert_eq!(peers.delivered_to(&peer("n2")).len(), 1);
        assert!(peers.delivered_to(&peer("n3")).is_empty());
    }
}
