//! What a writer and a reader use: every record to every peer, every question to those who are asked; replies and
//! answers as they come.

use std::cmp::Ordering;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use quorum_core::{
    Busy, Clock, Incoming, Inquirer, Outgoing, PeerAnswer, PeerId, PeerReply, Question, Replicator,
    Reply,
};
use tokio::sync::mpsc;

use crate::link::catch_up::append_frame;
use crate::link::peer::{Peer, ReplySender};

/// Sends records to all peers of an [`Endpoint`](crate::Endpoint). Cloning is cheap.
#[derive(Clone)]
pub struct QuicPeers {
    peers: Arc<[Arc<Peer>]>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for QuicPeers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.peers.iter().map(|peer| peer.name())).finish()
    }
}

impl QuicPeers {
    pub(crate) fn new(peers: Arc<[Arc<Peer>]>, clock: Arc<dyn Clock>) -> Self {
        Self { peers, clock }
    }
}

/// Replies to one record. Dropping it cancels nothing: the record goes on to every peer.
pub struct Replies {
    /// Each with the life of its peer in which it was given.
    queue: mpsc::Receiver<(PeerReply, u64)>,
    /// The peers that were asked, each with its life as far as the writer has been told.
    lives: Vec<(Arc<Peer>, u64)>,
    /// Given in a life of which the writer is told first.
    early: Option<(PeerReply, u64)>,
    clock: Arc<dyn Clock>,
}

impl Replies {
    /// A peer that has come back as another incarnation: what it said in its former life is gone with its disk.
    fn withdrawn(&mut self) -> Option<PeerReply> {
        let (peer, life) = self.lives.iter_mut().find(|(peer, life)| *life != peer.life())?;
        *life = peer.life();
        let reply = Reply::Busy { reason: Busy::Recovering };
        Some(PeerReply { peer: peer.name().clone(), reply, at: self.clock.now() })
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Replies").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Stream for Replies {
    type Item = PeerReply;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerReply>> {
        loop {
            if let Some(withdrawn) = self.withdrawn() {
                return Poll::Ready(Some(withdrawn));
            }
            let next = match self.early.take() {
                Some(early) => Some(early),
                None => ready!(self.queue.poll_recv(context)),
            };
            let Some((reply, life)) = next else { return Poll::Ready(None) };
            let mut lives = self.lives.iter();
            let told = lives.find(|(peer, _)| *peer.name() == reply.peer).map(|(_, told)| *told);
            match told.map_or(Ordering::Equal, |told| life.cmp(&told)) {
                Ordering::Equal => return Poll::Ready(Some(reply)),
                // Taken back before it was heard.
                Ordering::Less => {}
                Ordering::Greater => self.early = Some((reply, life)),
            }
        }
    }
}

impl Replicator for QuicPeers {
    type Replies = Replies;

    fn fan_out(&self, outgoing: Outgoing) -> Replies {
        // Every peer gives at most one "busy" and one final reply to a waiting write.
        let (replies, queue) = mpsc::channel((2 * self.peers.len()).max(1));
        let replies = ReplySender(replies);
        let Outgoing { record, trace } = outgoing;
        let item = Incoming { record: Some(Arc::clone(&record)), trace, ..Incoming::default() };
        // Encoded once for all peers.
        let frame = append_frame(&item);
        if let Err(error) = &frame {
            tracing::error!(dot = %record.dot, %error, "a record cannot be sent");
        }
        let now = self.clock.now();
        let lives = self.peers.iter().map(|peer| (Arc::clone(peer), peer.life())).collect();
        for peer in &*self.peers {
            peer.offer(frame.as_ref().ok(), &item, &record.dot, now, replies.clone());
        }
        Replies { queue, lives, early: None, clock: Arc::clone(&self.clock) }
    }
}

/// Answers to one question. Dropping it drops the question.
#[derive(Debug)]
pub struct Answers {
    queue: mpsc::Receiver<PeerAnswer>,
}

impl Stream for Answers {
    type Item = PeerAnswer;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerAnswer>> {
        self.queue.poll_recv(context)
    }
}

impl Inquirer for QuicPeers {
    type Answers = Answers;

    fn ask(&self, peers: &[PeerId], question: Question, deadline: Instant) -> Answers {
        let (answers, queue) = mpsc::channel(peers.len().max(1));
        let now = self.clock.now();
        for peer in self.peers.iter().filter(|peer| peers.contains(peer.name())) {
            peer.ask(question.clone(), deadline, now, answers.clone());
        }
        Answers { queue }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{FutureExt, StreamExt};
    use quorum_core::{
        Announcement, Dot, Durability, Epoch, FrameSize, Frontier, Hlc, Incarnation, Lineage,
        Origin, Record, Silent, WriteId,
    };

    use super::*;
    use crate::clock::{Beat, TokioClock};
    use crate::config::TransportConfig;
    use crate::identity::Member;

    fn life(node: &str, number: u8) -> Lineage {
        let node = PeerId::new(node).expect("a name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([number; 8]) };
        Lineage { origin, epoch: Epoch::new(1, 0) }
    }

    /// A peer that is up and complete, and the replies to a write that is on its way there.
    fn asked() -> (Arc<Peer>, Replies) {
        let (clock, name) = (Arc::new(TokioClock::new()), PeerId::new("peer").expect("a name"));
        let member = Member { name, address: "127.0.0.1:1".into() };
        let (config, beat) = (TransportConfig::default(), Beat::new(clock.now()));
        let peer = Arc::new(Peer::new(member, &config, beat, Arc::new(Silent), Arc::default()));
        peer.connected(clock.now(), life("peer", 1), Frontier::new());
        peer.announced(Announcement::default());
        let peers = QuicPeers::new([Arc::clone(&peer)].into(), clock);
        let dot = Dot { lineage: life("us", 1), seq: 1 };
        let (write_id, payload) = (WriteId::from_bytes([7; 16]), Bytes::from_static(b"payload"));
        let record = Record::new(write_id, dot, Hlc::from_u64(1), Durability::Fsync, payload);
        let replies = peers.fan_out(Outgoing { record: Arc::new(record), trace: None });
        (peer, replies)
    }

    fn stores_it(peer: &Peer) {
        let (_, sent) = peer.take_live(FrameSize::Small, usize::MAX);
        assert!(peer.answered(&sent[0], &Reply::Stored, true, Instant::now()));
    }

    fn next(replies: &mut Replies) -> Option<Reply> {
        replies.next().now_or_never().flatten().map(|reply| reply.reply)
    }

    const WITHDRAWN: Option<Reply> = Some(Reply::Busy { reason: Busy::Recovering });

    /// The copy is gone with the disk.
    #[test]
    fn an_ack_of_a_life_that_is_over_does_not_count_although_nobody_has_read_it_yet() {
        let (peer, mut replies) = asked();
        stores_it(&peer);
        peer.connected(Instant::now(), life("peer", 2), Frontier::new());
        assert_eq!(next(&mut replies), WITHDRAWN);
        assert_eq!(next(&mut replies), None);
    }

    #[test]
    fn an_ack_of_the_present_life_counts_behind_what_was_taken_back() {
        let (peer, mut replies) = asked();
        peer.connected(Instant::now(), life("peer", 2), Frontier::new());
        stores_it(&peer);
        assert_eq!(next(&mut replies), WITHDRAWN);
        assert_eq!(next(&mut replies), Some(Reply::Stored));
    }
}
