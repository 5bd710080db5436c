//! One peer of a simulated member, and what its writers and readers use: the real [`Link`] behind a lock and bells.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;
use parking_lot::Mutex;

use super::history::History;
use super::rng::SeededRandom;
use super::tasks::Bell;
use crate::announcement::Announcement;
use crate::clock::skew::ClockOffset;
use crate::error::Busy;
use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::link::{Link, LinkConfig, ReplyTo, Rings};
use crate::ports::{Clock, Incoming, Outgoing, PeerReply, Replicator, Reply};
use crate::query::{Answer, Inquirer, PeerAnswer, Question, Unavailable};
use crate::version::{Dot, Lineage};

/// Bounds of every simulated link, small enough that runs reach them.
pub(super) const LINK: LinkConfig = LinkConfig {
    live_queue_bytes_max: 2 << 10,
    frame_bytes_max: 1 << 20,
    retry_min: Duration::from_millis(50),
    retry_max: Duration::from_secs(5),
    retries_max: 16,
};

/// Records that may be put off beyond the bound, because they were under way when it was reached.
const IN_FLIGHT_MAX: usize = 128;

/// What one member knows of a peer at a moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LinkReport {
    /// Which member.
    pub peer: PeerId,
    /// Since when the link is up.
    pub connected_since: Option<Instant>,
    /// The peer's lineage, as of its last welcome.
    pub lineage: Option<Lineage>,
    /// The lineage as which it has dialled this member and is served.
    pub served: Option<Lineage>,
    /// What it durably holds, as far as it told.
    pub frontier: Option<Frontier>,
    /// What it said of itself last.
    pub announcement: Option<Announcement>,
    /// Whether its acks and answers count.
    pub counts: bool,
    /// When it was asked what it has answered last on this connection.
    pub asked_at: Option<Instant>,
    /// How far its clock is off, with what both clocks of this member said when that was measured.
    pub clock_offset: Option<(ClockOffset, (Instant, Duration))>,
}

/// A queue of what peers say to one writer or reader.
struct Mailbox<T> {
    state: Mutex<MailboxState<T>>,
}

struct MailboxState<T> {
    letters: VecDeque<T>,
    waker: Option<Waker>,
    is_closed: bool,
}

impl<T> Mailbox<T> {
    fn new() -> Arc<Self> {
        let state = MailboxState { letters: VecDeque::new(), waker: None, is_closed: false };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn put(&self, letter: T) {
        let mut state = self.state.lock();
        if !state.is_closed {
            state.letters.push_back(letter);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.state.lock();
        if let Some(letter) = state.letters.pop_front() {
            return Poll::Ready(letter);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A reply on its way to a writer.
struct Letter {
    reply: PeerReply,
    /// In which life of its peer it was given.
    life: u64,
    /// Whether its peer has really said so.
    is_true: bool,
}

/// Where the replies to one record go.
#[derive(Clone)]
pub(super) struct ReplyQueue {
    dot: Dot,
    coordinator: PeerId,
    mailbox: Arc<Mailbox<Letter>>,
    hostility: Arc<Hostility>,
    history: Arc<History>,
}

/// What a network that lies about who says what does to replies; none if the seed says so.
#[derive(Debug)]
pub(super) struct Hostility {
    pub(super) random: SeededRandom,
    /// How many replies in a thousand come twice, are accompanied by a stranger's, or turn into "drift".
    pub(super) per_mille: u64,
}

impl ReplyTo for ReplyQueue {
    fn reply(&self, mut reply: PeerReply, life: u64) {
        let put = |reply, is_true| self.mailbox.put(Letter { reply, life, is_true });
        let Hostility { random, per_mille } = &*self.hostility;
        if random.happens(*per_mille) {
            match random.below(3) {
                0 => put(reply.clone(), true),
                1 => {
                    let stranger = PeerId::new("stranger").expect("a valid name");
                    let local = if random.happens(500) { &self.coordinator } else { &stranger };
                    let (peer, at) = (local.clone(), reply.at);
                    put(PeerReply { peer, reply: Reply::Stored, at }, false);
                }
                _ if reply.reply == Reply::Stored => reply.reply = Reply::Drift,
                _ => {}
            }
        }
        self.history.claimed(&self.coordinator, &self.dot, &reply);
        put(reply, true);
    }

    fn is_closed(&self) -> bool {
        self.mailbox.state.lock().is_closed
    }
}

/// Bytes of the records for whose replies somebody listens, as the listeners count them.
#[derive(Debug, Default)]
struct WaitedFor {
    now: usize,
    at_once_max: usize,
}

/// One peer of one member, for one start of that member.
pub(super) struct Peer {
    pub(super) name: PeerId,
    pub(super) index: usize,
    link: Mutex<Link<(), ReplyQueue>>,
    waited_for: Mutex<WaitedFor>,
    pub(super) live_ready: Bell,
    pub(super) catch_up_ready: Bell,
    pub(super) dial_now: Bell,
    pub(super) look_at_connection: Bell,
    pub(super) to_say: Bell,
    pub(super) snapshot_answered: Bell,
    pub(super) news: Arc<Bell>,
    pub(super) offset: Mutex<Option<(ClockOffset, (Instant, Duration))>>,
    pub(super) questions: Questions,
}

impl Peer {
    pub(super) fn new(name: PeerId, index: usize, news: Arc<Bell>) -> Self {
        Self {
            link: Mutex::new(Link::new(name.clone(), LINK)),
            waited_for: Mutex::default(),
            questions: Questions {
                peer: name.clone(),
                state: Mutex::default(),
                ready: Bell::default(),
            },
            name,
            index,
            live_ready: Bell::default(),
            catch_up_ready: Bell::default(),
            dial_now: Bell::default(),
            look_at_connection: Bell::default(),
            to_say: Bell::default(),
            snapshot_answered: Bell::default(),
            news,
            offset: Mutex::default(),
        }
    }

    /// Looks at the link, or changes it.
    pub(super) fn link<T>(&self, with: impl FnOnce(&mut Link<(), ReplyQueue>) -> T) -> T {
        with(&mut self.link.lock())
    }

    /// Somebody listens for its replies to a record from now on.
    fn is_waited_for(&self, bytes: usize) {
        let mut waited_for = self.waited_for.lock();
        waited_for.now += bytes;
        waited_for.at_once_max = waited_for.at_once_max.max(waited_for.now);
    }

    /// Nobody listens for them any more.
    fn is_not_waited_for(&self, bytes: usize) {
        self.waited_for.lock().now -= bytes;
    }

    /// Looks at what is kept for it: each with its bound.
    pub(super) fn queues(&self) -> [(usize, usize); 4] {
        let (live_max, at_once_max) =
            (LINK.live_queue_bytes_max, self.waited_for.lock().at_once_max);
        self.link(|link| {
            let view = link.view();
            [
                (view.queued_bytes - view.queued_again_bytes, live_max),
                (view.queued_again_bytes, view.waiting_bytes),
                (view.waiting_bytes, live_max.max(2 * at_once_max)),
                (view.deferred, LINK.retries_max + IN_FLIGHT_MAX),
            ]
        })
    }

    pub(super) fn ring(&self, rings: Rings) {
        if rings.live || rings.large {
            self.live_ready.ring();
        }
        if rings.catch_up {
            self.catch_up_ready.ring();
        }
        if rings.news {
            self.news.ring();
        }
        if rings.connection {
            self.look_at_connection.ring();
        }
    }

    pub(super) fn answered(
        &self,
        item: &Incoming,
        reply: &Reply,
        synced: bool,
        now: Instant,
    ) -> bool {
        let answered = self.link(|link| link.answered(item, reply, synced, now));
        self.ring(answered.rings);
        answered.taken
    }

    pub(super) fn hang_up(&self) {
        self.link(Link::hang_up);
        self.look_at_connection.ring();
    }

    pub(super) fn disconnected(&self, now: Instant) {
        self.questions.close(now);
        self.link(Link::disconnected);
        *self.offset.lock() = None;
        self.snapshot_answered.ring();
        self.news.ring();
    }

    pub(super) fn report(&self, served: Option<Lineage>) -> LinkReport {
        let clock_offset = *self.offset.lock();
        self.link(|link| {
            let view = link.view();
            LinkReport {
                peer: self.name.clone(),
                connected_since: view.connected_since,
                lineage: view.lineage.cloned(),
                served,
                frontier: view.frontier.cloned(),
                announcement: view.announcement.cloned(),
                counts: view.counts,
                asked_at: view.asked_at,
                clock_offset,
            }
        })
    }

    fn ask(&self, question: Question, deadline: Instant, now: Instant, to: &AnswerQueue) {
        if question.must_count() && self.link(|link| link.counts()) == Some(false) {
            let answer = Answer::Unavailable(Unavailable::Recovering);
            to.0.put(PeerAnswer { peer: self.name.clone(), answer, at: now });
        } else {
            self.questions.ask(question, deadline, now, to.clone());
        }
    }

    /// Asks one question and hears the answer, if the peer gives one until the deadline.
    pub(super) async fn ask_one(
        &self,
        question: Question,
        deadline: Instant,
        clock: &dyn Clock,
    ) -> Answer {
        let queue = AnswerQueue(Mailbox::new());
        self.ask(question, deadline, clock.now(), &queue);
        let mut sleep = clock.sleep_until(deadline);
        std::future::poll_fn(|context| match queue.0.poll(context) {
            Poll::Ready(answered) => Poll::Ready(answered.answer),
            Poll::Pending => {
                let silent = Answer::Unavailable(Unavailable::Unreachable);
                sleep.as_mut().poll(context).map(|()| silent)
            }
        })
        .await
    }
}

/// Where the answers to one question go.
#[derive(Clone)]
struct AnswerQueue(Arc<Mailbox<PeerAnswer>>);

/// What a peer is being asked on the present connection.
pub(super) struct Questions {
    peer: PeerId,
    state: Mutex<QuestionState>,
    pub(super) ready: Bell,
}

#[derive(Default)]
struct QuestionState {
    is_open: bool,
    last_number: u64,
    queue: VecDeque<(u64, Question)>,
    waiting: BTreeMap<u64, (Instant, AnswerQueue)>,
}

impl Questions {
    fn ask(&self, question: Question, deadline: Instant, now: Instant, to: AnswerQueue) {
        let mut state = self.state.lock();
        state.waiting.retain(|_, (deadline, to)| *deadline > now && !to.0.state.lock().is_closed);
        if !state.is_open {
            let answer = Answer::Unavailable(Unavailable::Unreachable);
            return to.0.put(PeerAnswer { peer: self.peer.clone(), answer, at: now });
        }
        state.last_number += 1;
        let number = state.last_number;
        state.queue.push_back((number, question));
        state.waiting.insert(number, (deadline, to));
        drop(state);
        self.ready.ring();
    }

    pub(super) fn open(&self) {
        self.state.lock().is_open = true;
    }

    pub(super) fn take(&self) -> Option<(u64, Question)> {
        self.state.lock().queue.pop_front()
    }

    pub(super) fn answered(&self, number: u64, answer: Answer, at: Instant) {
        let asked = self.state.lock().waiting.remove(&number);
        if let Some((_, to)) = asked {
            to.0.put(PeerAnswer { peer: self.peer.clone(), answer, at });
        }
    }

    fn close(&self, at: Instant) {
        let mut state = self.state.lock();
        state.is_open = false;
        state.queue.clear();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for (_, to) in waiting.into_values() {
            let answer = Answer::Unavailable(Unavailable::Unreachable);
            to.0.put(PeerAnswer { peer: self.peer.clone(), answer, at });
        }
    }
}

/// The simulated network as a writer and a reader of one member see it. Cloning is cheap.
#[derive(Clone)]
pub struct SimulatedPeers {
    pub(super) local: PeerId,
    pub(super) peers: Arc<[Arc<Peer>]>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) history: Arc<History>,
    pub(super) hostility: Arc<Hostility>,
}

impl fmt::Debug for SimulatedPeers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.peers.iter().map(|peer| &peer.name)).finish()
    }
}

/// Replies to one record, as they arrive.
pub struct SimulatedReplies {
    mailbox: Arc<Mailbox<Letter>>,
    /// The peers that were asked, each with its life at that time.
    lives: Vec<(Arc<Peer>, u64)>,
    clock: Arc<dyn Clock>,
    dot: Dot,
    bytes: usize,
    round: u64,
    history: Arc<History>,
}

impl fmt::Debug for SimulatedReplies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimulatedReplies").field("dot", &self.dot).finish_non_exhaustive()
    }
}

impl Stream for SimulatedReplies {
    type Item = PeerReply;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerReply>> {
        let this = &mut *self;
        let life_of = |peer: &Peer| peer.link(|link| link.life());
        if let Some((peer, life)) = this.lives.iter_mut().find(|(p, life)| *life != life_of(p)) {
            // It has come back as another incarnation: what it said in its former life is gone with its disk.
            *life = life_of(peer);
            let reply = Reply::Busy { reason: Busy::Recovering };
            let withdrawn = PeerReply { peer: peer.name.clone(), reply, at: this.clock.now() };
            this.history.heard(&this.dot, this.round, &withdrawn);
            return Poll::Ready(Some(withdrawn));
        }
        while let Poll::Ready(Letter { reply, life, is_true }) = this.mailbox.poll(context) {
            let mut lives = this.lives.iter();
            if lives.any(|(peer, now)| peer.name == reply.peer && life < *now) {
                // It was taken back before it was heard.
                continue;
            }
            if is_true {
                this.history.heard(&this.dot, this.round, &reply);
            }
            return Poll::Ready(Some(reply));
        }
        Poll::Pending
    }
}

impl Drop for SimulatedReplies {
    fn drop(&mut self) {
        self.mailbox.state.lock().is_closed = true;
        self.lives.iter().for_each(|(peer, _)| peer.is_not_waited_for(self.bytes));
    }
}

impl Replicator for SimulatedPeers {
    type Replies = SimulatedReplies;

    fn fan_out(&self, outgoing: Outgoing) -> SimulatedReplies {
        let (mailbox, dot) = (Mailbox::new(), outgoing.record.dot.clone());
        let round = self.history.issued(&outgoing.record);
        let bytes = outgoing.record.payload.len() + 100;
        let item = Incoming { record: Some(outgoing.record), ..Incoming::default() };
        let lives = self.peers.iter().map(|peer| (Arc::clone(peer), peer.link(|link| link.life())));
        let lives = lives.collect();
        for peer in &*self.peers {
            let replies = ReplyQueue {
                dot: dot.clone(),
                coordinator: self.local.clone(),
                mailbox: Arc::clone(&mailbox),
                hostility: Arc::clone(&self.hostility),
                history: Arc::clone(&self.history),
            };
            peer.is_waited_for(bytes);
            let now = self.clock.now();
            let rings = peer.link(|link| link.offer(Some(((), bytes)), &item, &dot, now, replies));
            if let Some(rings) = rings {
                peer.ring(rings);
            }
        }
        let (clock, history) = (Arc::clone(&self.clock), Arc::clone(&self.history));
        SimulatedReplies { mailbox, lives, clock, dot, bytes, round, history }
    }
}

/// Answers to one question, as they arrive.
pub struct SimulatedAnswers(AnswerQueue);

impl fmt::Debug for SimulatedAnswers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimulatedAnswers").finish_non_exhaustive()
    }
}

impl Stream for SimulatedAnswers {
    type Item = PeerAnswer;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerAnswer>> {
        self.0.0.poll(context).map(Some)
    }
}

impl Drop for SimulatedAnswers {
    fn drop(&mut self) {
        self.0.0.state.lock().is_closed = true;
    }
}

impl Inquirer for SimulatedPeers {
    type Answers = SimulatedAnswers;

    fn ask(&self, peers: &[PeerId], question: Question, deadline: Instant) -> SimulatedAnswers {
        let queue = AnswerQueue(Mailbox::new());
        for peer in self.peers.iter().filter(|peer| peers.contains(&peer.name)) {
            peer.ask(question.clone(), deadline, self.clock.now(), &queue);
        }
        SimulatedAnswers(queue)
    }
}
