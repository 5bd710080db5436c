//! What a writer and a reader use: every record to every peer, every question to those who are asked; replies and
//! answers as they come.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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
    queue: mpsc::Receiver<PeerReply>,
    /// The peers that were asked, each with its life at that time.
    lives: Vec<(Arc<Peer>, u64)>,
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
        if let Some(withdrawn) = self.withdrawn() {
            return Poll::Ready(Some(withdrawn));
        }
        self.queue.poll_recv(context)
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
        Replies { queue, lives, clock: Arc::clone(&self.clock) }
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
