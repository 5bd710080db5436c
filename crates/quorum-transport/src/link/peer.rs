//! One peer of this node: the state of its link, and the bells by which the tasks around it call each other.
//!
//! What is decided about a peer is in [`Link`], a plain value; this is the lock around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::{
    Announcement, Answer, ClockOffset, Dot, FrameSize, Frontier, Incoming, Lineage, Link,
    LinkConfig, LinkWord, Observer, Origin, PeerAnswer, PeerId, PeerReply, Question, Reply,
    ReplyTo, Rings, Sent, Unavailable,
};
use tokio::sync::{Notify, mpsc};
use tracing::Span;

use crate::clock::Beat;
use crate::config::TransportConfig;
use crate::identity::Member;
use crate::link::ask::{AnswerSender, Questions};
use crate::link::catch_up::append_frame;
use crate::status::PeerStatus;
use crate::wire::LENGTH_BYTES;
use crate::wire::message::Control;

/// Answers of peers to one write, on their way to its writer, each with the peer's life in which it was given.
#[derive(Debug, Clone)]
pub(crate) struct ReplySender(pub(crate) mpsc::Sender<(PeerReply, u64)>);

impl ReplyTo for ReplySender {
    /// The queue holds a busy and a final reply of every peer, so it is never full; a writer that has gone needs no reply.
    fn reply(&self, reply: PeerReply, life: u64) {
        let _gone = self.0.try_send((reply, life));
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// An item under way, with the span that is open until it is answered if its write is sampled.
pub(crate) type SentItem = Sent<Option<Span>>;

/// One peer of this node.
pub(crate) struct Peer {
    pub(crate) member: Member,
    pub(crate) beat: Beat,
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
    /// A record of this size waits for its live lane.
    pub(crate) live_ready: [Notify; 2],
    /// The catch-up lane should look for work.
    pub(crate) catch_up_ready: Notify,
    /// The peer has just dialled us, so it can be reached.
    pub(crate) dial_now: Notify,
    /// Perhaps the connection should be made anew: see [`is_stale`](Self::is_stale).
    pub(crate) look_at_connection: Notify,
    /// There is something to say on the control stream.
    pub(crate) to_say: Notify,
    /// What the peer holds, or whether it can be reached, has changed.
    pub(crate) news: Arc<Notify>,
    /// The peer has answered whether everything may be sent to it.
    pub(crate) snapshot_answered: Notify,
    /// What it is being asked.
    pub(crate) questions: Questions,
    /// [`Link::life`], read by everybody who waits for answers.
    life: AtomicU64,
    /// Writes that were offered so far.
    offered: AtomicU64,
}

struct State {
    link: Link<Bytes, ReplySender>,
    repaired_records: u64,
    repaired_bytes: u64,
    /// With what the clocks said when it was measured.
    offset: Option<(ClockOffset, (Instant, Duration))>,
    round_trip: Option<Duration>,
    last_error: Option<String>,
}

impl Peer {
    pub(crate) fn new(
        member: Member,
        config: &TransportConfig,
        beat: Beat,
        observer: Arc<dyn Observer>,
        news: Arc<Notify>,
    ) -> Self {
        let questions = Questions::new(member.name.clone(), config.questions_max);
        let bounds = LinkConfig {
            live_queue_bytes_max: config.live_queue_bytes_max,
            frame_bytes_max: LENGTH_BYTES + config.frame_limit(),
            retry_min: config.retry_min,
            retry_max: config.retry_max,
            retries_max: config.retries_max,
        };
        let state = State {
            link: Link::new(member.name.clone(), bounds),
            repaired_records: 0,
            repaired_bytes: 0,
            offset: None,
            round_trip: None,
            last_error: None,
        };
        Self {
            member,
            beat,
            observer,
            state: Mutex::new(state),
            live_ready: <[_; 2]>::default(),
            catch_up_ready: Notify::new(),
            dial_now: Notify::new(),
            look_at_connection: Notify::new(),
            to_say: Notify::new(),
            news,
            snapshot_answered: Notify::new(),
            questions,
            life: AtomicU64::new(0),
            offered: AtomicU64::new(0),
        }
    }

    pub(crate) fn name(&self) -> &PeerId {
        &self.member.name
    }

    fn ring(&self, rings: Rings) {
        let [small, large] = &self.live_ready;
        for (ready, rings) in [(small, rings.live), (large, rings.large)] {
            if rings {
                ready.notify_one();
            }
        }
        if rings.catch_up {
            self.catch_up_ready.notify_one();
        }
        if rings.news {
            self.news.notify_one();
        }
        if rings.connection {
            self.look_at_connection.notify_one();
        }
    }

    // What comes from the writer.

    /// A new write. Without a frame it is too large to be sent at all.
    pub(crate) fn offer(
        &self,
        frame: Option<&Bytes>,
        item: &Incoming,
        dot: &Dot,
        handed_over: Instant,
        replies: ReplySender,
    ) {
        self.offered.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        let frame = frame.filter(|frame| state.link.fits(frame.len()));
        let framed = frame.map(|frame| (frame.clone(), frame.len()));
        let Some(rings) = state.link.offer(framed, item, dot, handed_over, replies) else {
            return;
        };
        drop(state);
        self.ring(rings);
        if frame.is_none() {
            self.too_large(item, handed_over);
        }
    }

    /// How many writes were offered so far: whether there are live ones.
    pub(crate) fn offered(&self) -> u64 {
        self.offered.load(Ordering::Relaxed)
    }

    /// Whether the peer takes a frame of this size.
    pub(crate) fn fits(&self, frame: &Bytes) -> bool {
        self.state.lock().link.fits(frame.len())
    }

    /// The item is larger than a frame may be: it stays a gap there, and what is behind it goes on.
    pub(crate) fn too_large(&self, item: &Incoming, now: Instant) {
        let too_large = Reply::Refused { reason: quorum_core::Refusal::TooLarge };
        self.observe(item, now, &too_large, now);
        let rings = self.state.lock().link.too_large(item, now);
        self.ring(rings);
    }

    /// Up to about `bytes_max` of queued frames of a size, in order, with what is to be entered in the ledger.
    pub(crate) fn take_live(
        &self,
        size: FrameSize,
        bytes_max: usize,
    ) -> (Vec<Bytes>, Vec<SentItem>) {
        let taken = self.state.lock().link.take_live(size, bytes_max);
        let apart = taken.into_iter().map(|queued| {
            let sampled = queued.item.trace.is_some();
            let note = sampled.then(|| tracing::debug_span!("quorum.send", peer = %self.name()));
            let sent = Sent { item: queued.item, handed_over: queued.handed_over, note };
            // It could be encoded when it was offered.
            let frame = queued.frame.or_else(|| append_frame(&sent.item).ok())?;
            Some((frame, sent))
        });
        apart.flatten().unzip()
    }

    // What comes from the connection.

    /// The peer has welcomed us.
    pub(crate) fn connected(&self, now: Instant, lineage: Lineage, frontier: Frontier) {
        let mut state = self.state.lock();
        let rings = state.link.connected(now, lineage, frontier);
        state.last_error = None;
        self.life.store(state.link.life(), Ordering::Relaxed);
        drop(state);
        self.observer.link(self.name(), true);
        self.ring(rings);
        self.news.notify_one();
    }

    /// Which life of the peer this is: a number that changes when it comes back as another incarnation.
    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    /// See [`Link::once_said_more`].
    pub(crate) fn once_said_more(&self, lineage: &Lineage, frontier: &Frontier) -> bool {
        self.state.lock().link.once_said_more(lineage, frontier)
    }

    /// The peer has dialled us, so it can be reached.
    pub(crate) fn dialled_us(&self, lineage: &Lineage) {
        let mut state = self.state.lock();
        if state.link.dialled_us(lineage) {
            self.look_at_connection.notify_one();
        }
        self.life.store(state.link.life(), Ordering::Relaxed);
        self.dial_now.notify_one();
    }

    /// The connection, if there is one, should be made anew, and what the peer said on it counts no more.
    pub(crate) fn hang_up(&self) {
        self.state.lock().link.hang_up();
        self.look_at_connection.notify_one();
    }

    /// Whether the connection that was welcomed last is of no more use.
    pub(crate) fn is_stale(&self) -> bool {
        self.state.lock().link.is_stale()
    }

    /// The connection is gone, and all that was under way on it.
    pub(crate) fn disconnected(&self, error: Option<String>, now: Instant) {
        self.questions.close(now);
        let mut state = self.state.lock();
        let was_up = state.link.disconnected();
        self.snapshot_answered.notify_one();
        self.news.notify_one();
        (state.offset, state.round_trip) = (None, None);
        if error.is_some() {
            state.last_error = error;
        }
        drop(state);
        if was_up {
            self.observer.link(self.name(), false);
        }
    }

    /// The peer answered an item. Tells whether it was taken.
    pub(crate) fn answered(
        &self,
        sent: &SentItem,
        reply: &Reply,
        synced: bool,
        now: Instant,
    ) -> bool {
        self.observe(&sent.item, sent.handed_over, reply, now);
        let answered = self.state.lock().link.answered(&sent.item, reply, synced, now);
        self.ring(answered.rings);
        answered.taken
    }

    fn observe(&self, item: &Incoming, handed_over: Instant, reply: &Reply, now: Instant) {
        let (observer, peer) = (&self.observer, self.name());
        match reply {
            Reply::Stored => observer.peer_ack(peer, now.saturating_duration_since(handed_over)),
            Reply::Superseded { .. } => observer.peer_superseded(peer),
            Reply::Drift => {
                tracing::error!(%peer, dot = ?item.record.as_ref().map(|r| r.dot.to_string()), "peer holds the same version with other content");
                observer.id_drift(peer);
            }
            Reply::Refused { reason } => {
                tracing::warn!(%peer, %reason, "peer refused a record");
                observer.peer_refusal(peer, *reason);
            }
            Reply::Busy { reason } => observer.peer_busy(peer, *reason),
            _ => {}
        }
    }

    /// The peer says what it durably holds now, or that it is what it said last.
    pub(crate) fn reported(&self, frontier: Option<&Frontier>) {
        let rings = self.state.lock().link.reported(frontier);
        self.ring(rings);
    }

    /// What the peer says of itself.
    pub(crate) fn announced(&self, said: Announcement) {
        let rings = self.state.lock().link.announced(said);
        self.ring(rings);
    }

    /// Asked at this time, it has said everything that it had to say.
    pub(crate) fn heard_out(&self, asked_at: Instant) {
        self.state.lock().link.heard_out(asked_at);
    }

    /// Whether its acks and answers count.
    pub(crate) fn counts(&self) -> bool {
        self.state.lock().link.view().counts
    }

    /// The lineage in which the peer numbers its writes, as of its last welcome.
    pub(crate) fn lineage(&self) -> Option<Lineage> {
        self.state.lock().link.view().lineage.cloned()
    }

    /// The lineage that the connection which is up leads to.
    pub(crate) fn connected_lineage(&self) -> Option<Lineage> {
        let state = self.state.lock();
        let view = state.link.view();
        view.connected_since.and(view.lineage).cloned()
    }

    /// A fresh estimate of the peer's clock.
    pub(crate) fn measured(
        &self,
        offset: ClockOffset,
        round_trip: Duration,
        at: (Instant, Duration),
    ) {
        let mut state = self.state.lock();
        (state.offset, state.round_trip) = (Some((offset, at)), Some(round_trip));
        drop(state);
        self.observer.clock_skew(self.name(), offset.magnitude(), offset.is_ahead());
    }

    // What the catch-up lane needs.

    /// See [`Link::owed`].
    pub(crate) fn owed(&self, us: &Origin, held: &Frontier, now: Instant) -> Frontier {
        let (owed, rings) = self.state.lock().link.owed(us, held, now);
        self.ring(rings);
        owed
    }

    /// Whether the peer holds a dot, or it is on its way there.
    pub(crate) fn has(&self, dot: &Dot) -> bool {
        self.state.lock().link.has(dot)
    }

    /// An item from the log is about to be sent.
    pub(crate) fn under_way(&self, item: &Incoming) {
        self.state.lock().link.under_way(item);
    }

    /// Records were sent because the peer lacked them.
    pub(crate) fn repaired(&self, records: usize, bytes: usize) {
        let mut state = self.state.lock();
        state.repaired_records += records as u64;
        state.repaired_bytes += bytes as u64;
        drop(state);
        self.observer.repaired(self.name(), records, bytes);
    }

    /// Asks the peer something. What it says of a single key or write counts only if it holds what it acknowledged.
    pub(crate) fn ask(
        &self,
        question: Question,
        deadline: Instant,
        now: Instant,
        answers: AnswerSender,
    ) {
        let is_recovering = question.must_count() && self.state.lock().link.counts() == Some(false);
        if is_recovering {
            let answer = Answer::Unavailable(Unavailable::Recovering);
            let _gone = answers.try_send(PeerAnswer { peer: self.name().clone(), answer, at: now });
        } else {
            self.questions.ask(question, deadline, now, answers);
        }
    }

    // What the exchange needs.

    /// What the peer holds, if it can be asked for it.
    pub(crate) fn within_reach(&self) -> Option<Frontier> {
        self.state.lock().link.within_reach().cloned()
    }

    /// Wants this of the peer, and nothing else any more.
    pub(crate) fn want(&self, dots: Frontier) {
        if self.state.lock().link.want(dots) {
            self.to_say.notify_one();
        }
    }

    /// The peer wants this of us.
    pub(crate) fn is_wanted_there(&self, dots: Frontier) {
        self.state.lock().link.is_wanted_there(dots);
        self.catch_up_ready.notify_one();
    }

    /// What is to be said on the control stream now.
    pub(crate) fn next_word(&self) -> Option<Control> {
        let word = self.state.lock().link.next_word()?;
        Some(match word {
            LinkWord::Want(dots) => Control::Want { dots },
            LinkWord::MaySnapshot => Control::MaySnapshot,
            LinkWord::SnapshotDone => Control::SnapshotDone,
        })
    }

    /// Asks whether everything may be sent, and waits for the answer. `false` also if the connection ends.
    pub(crate) async fn may_snapshot(&self) -> bool {
        self.state.lock().link.ask_for_snapshot();
        self.to_say.notify_one();
        loop {
            let answer = self.state.lock().link.snapshot_answer();
            match answer {
                Some(granted) => return granted,
                None => self.snapshot_answered.notified().await,
            }
        }
    }

    /// The peer's answer to that.
    pub(crate) fn snapshot_is(&self, granted: bool) {
        self.state.lock().link.snapshot_is(granted);
        self.snapshot_answered.notify_one();
    }

    /// Everything is sent, or the attempt is given up.
    pub(crate) fn snapshot_done(&self) {
        self.state.lock().link.snapshot_done();
        self.to_say.notify_one();
    }

    /// When to look for work again although nobody rings.
    pub(crate) fn look_again(&self, now: Instant) -> Instant {
        const IDLE: Duration = Duration::from_millis(500);
        // What was looked at has half a pause at least to be sent live.
        let idle = self.beat.next(IDLE, now + IDLE / 2);
        self.state.lock().link.look_again(now, idle)
    }

    /// Whether everything queued has been answered.
    pub(crate) fn is_drained(&self) -> bool {
        self.state.lock().link.is_drained()
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let state = self.state.lock();
        let link = state.link.view();
        PeerStatus {
            peer: self.name().clone(),
            address: self.member.address.clone(),
            connected_since: link.connected_since,
            lineage: link.lineage.cloned(),
            served: None,
            round_trip: state.round_trip,
            clock_offset: state.offset.map(|(offset, _)| offset),
            clock_measured_at: state.offset.map(|(_, at)| at),
            frontier: link.frontier.cloned(),
            announcement: link.announcement.cloned(),
            counts: link.counts,
            asked_at: link.asked_at,
            wanted: link.wanted.len(),
            repaired_records: state.repaired_records,
            repaired_bytes: state.repaired_bytes,
            queued_bytes: link.queued_bytes,
            deferred: link.deferred,
            last_error: state.last_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
