//! The state of one link that outlives its connections: what waits for the peer, what it holds, what it put off.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::{
    Announcement, Answer, Busy, ClockOffset, Deferred, Dot, Frontier, Incarnation, Incoming,
    Lineage, Observer, Origin, PeerAnswer, PeerId, PeerReply, Question, Refusal, Reply, StandIn,
    Unavailable, Version, counts, owed_to,
};
use tokio::sync::{Notify, mpsc};

use crate::config::TransportConfig;
use crate::identity::Member;
use crate::link::ask::{AnswerSender, Questions};
use crate::link::ledger::Sent;
use crate::status::PeerStatus;
use crate::wire::LENGTH_BYTES;
use crate::wire::message::Control;

/// Answers of peers to one write, on their way to its writer.
pub(crate) type ReplySender = mpsc::Sender<PeerReply>;

/// One peer of this node.
pub(crate) struct Peer {
    pub(crate) member: Member,
    observer: Arc<dyn Observer>,
    live_queue_bytes_max: usize,
    frame_bytes_max: usize,
    state: Mutex<State>,
    /// A record waits in the live queue.
    pub(crate) live_ready: Notify,
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
    /// Which life of the peer this is, counted here: acks of a former one are taken back.
    life: AtomicU64,
}

struct State {
    connected: Option<Instant>,
    /// The connection leads to a life of one side that is over.
    stale: bool,
    lineage: Option<Lineage>,
    /// What the peer durably holds, as far as it told us.
    known: Option<Frontier>,
    /// What else it says of itself.
    announcement: Option<Announcement>,
    /// Whether its acks and answers count.
    counts: bool,
    /// Dots on this connection: queued, or sent and not answered for good.
    under_way: Frontier,
    deferred: Deferred,
    /// What else the items stand for that were put off, by the dot under which each is in `deferred`.
    deferred_covers: BTreeMap<Dot, Frontier>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// Writes whose verdict may depend on this peer.
    waiting: HashMap<Dot, Waiting>,
    /// Bytes kept with them, so that they can be asked again.
    waiting_bytes: usize,
    prune_at: usize,
    /// Records were left to the log because the queue was full.
    behind: bool,
    /// What we want of the peer, and whether it has not been told yet.
    wanted: Frontier,
    wanted_untold: bool,
    /// What the peer wants of us, though it is not ours.
    wanted_there: Frontier,
    snapshot: SnapshotTalk,
    repaired_records: u64,
    repaired_bytes: u64,
    /// With what the clocks said when it was measured.
    offset: Option<(ClockOffset, (Instant, Duration))>,
    round_trip: Option<Duration>,
    last_error: Option<String>,
}

/// How far we are with asking the peer whether everything may be sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SnapshotTalk {
    Quiet,
    ToAsk,
    Asked,
    Granted,
    Refused,
    Done,
}

/// A live record on its way to the stream.
struct Queued {
    frame: Bytes,
    sent: Sent,
}

/// A write whose verdict may depend on this peer.
struct Waiting {
    /// What to send again after a reconnect. Without it the record comes from the log.
    again: Option<(Bytes, Incoming)>,
    handed_over: Instant,
    replies: ReplySender,
    /// Further writers that wait for the same record: retries of a write that is still under way.
    more_replies: Vec<ReplySender>,
    /// "Busy" is passed on once: the queue of replies is bounded by that.
    told_busy: bool,
}

impl Waiting {
    /// Whether some writer still listens.
    fn is_wanted(&self) -> bool {
        !self.replies.is_closed() || self.more_replies.iter().any(|replies| !replies.is_closed())
    }

    fn bytes(&self) -> usize {
        self.again.as_ref().map_or(0, |(frame, _)| frame.len())
    }
}

/// How many waiting writes may pile up before those whose writer has gone are looked for.
const PRUNE_AT_MIN: usize = 256;

impl Peer {
    pub(crate) fn new(
        member: Member,
        config: &TransportConfig,
        observer: Arc<dyn Observer>,
        news: Arc<Notify>,
    ) -> Self {
        let questions = Questions::new(member.name.clone(), config.questions_max);
        let deferred = Deferred::new(config.retry_min, config.retry_max, config.retries_max);
        let state = State {
            connected: None,
            stale: false,
            lineage: None,
            known: None,
            announcement: None,
            counts: false,
            under_way: Frontier::new(),
            deferred,
            deferred_covers: BTreeMap::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            waiting: HashMap::new(),
            waiting_bytes: 0,
            prune_at: PRUNE_AT_MIN,
            behind: false,
            wanted: Frontier::new(),
            wanted_untold: false,
            wanted_there: Frontier::new(),
            snapshot: SnapshotTalk::Quiet,
            repaired_records: 0,
            repaired_bytes: 0,
            offset: None,
            round_trip: None,
            last_error: None,
        };
        Self {
            member,
            observer,
            live_queue_bytes_max: config.live_queue_bytes_max,
            frame_bytes_max: config.frame_limit(),
            state: Mutex::new(state),
            live_ready: Notify::new(),
            catch_up_ready: Notify::new(),
            dial_now: Notify::new(),
            look_at_connection: Notify::new(),
            to_say: Notify::new(),
            news,
            snapshot_answered: Notify::new(),
            questions,
            life: AtomicU64::new(0),
        }
    }

    pub(crate) fn name(&self) -> &PeerId {
        &self.member.name
    }

    // What comes from the writer.

    /// A new write: queued if the peer keeps up, else left to the log. Without a frame it is too large to be sent at all.
    /// A write that is under way already is not sent again; whoever waits is told as well.
    pub(crate) fn offer(
        &self,
        frame: Option<&Bytes>,
        item: &Incoming,
        dot: &Dot,
        handed_over: Instant,
        replies: ReplySender,
    ) {
        let frame = frame.filter(|frame| self.fits(frame));
        let mut state = self.state.lock();
        if let Some(waiting) = state.waiting.get_mut(dot) {
            waiting.more_replies.retain(|replies| !replies.is_closed());
            waiting.more_replies.push(replies);
            return;
        }
        if let Some(frame) = frame
            && state.connected.is_some()
        {
            self.enqueue(&mut state, frame, item, handed_over, dot);
        }
        let again = frame.map(|frame| (frame.clone(), item.clone()));
        let more_replies = Vec::new();
        let waiting = Waiting { again, handed_over, replies, more_replies, told_busy: false };
        state.keep_waiting(dot, waiting, self.live_queue_bytes_max);
        drop(state);
        if frame.is_none() {
            self.too_large(item, handed_over);
        }
    }

    /// Whether the peer takes a frame of this size.
    pub(crate) fn fits(&self, frame: &Bytes) -> bool {
        frame.len() <= LENGTH_BYTES + self.frame_bytes_max
    }

    /// The item is larger than a frame may be: it stays a gap there, and what is behind it goes on.
    pub(crate) fn too_large(&self, item: &Incoming, now: Instant) {
        let sent = Sent { item: item.clone(), handed_over: now, span: None };
        self.answered(&sent, &Reply::Refused { reason: Refusal::TooLarge }, true, now);
    }

    fn enqueue(
        &self,
        state: &mut State,
        frame: &Bytes,
        item: &Incoming,
        handed_over: Instant,
        dot: &Dot,
    ) {
        let bytes = frame.len();
        if state.queued_bytes + bytes > self.live_queue_bytes_max || state.deferred.is_full() {
            state.behind = true;
            self.catch_up_ready.notify_one();
            return;
        }
        let span = item.trace.map(|_| tracing::debug_span!("quorum.send", peer = %self.name()));
        let sent = Sent { item: item.clone(), handed_over, span };
        state.under_way.insert(dot);
        state.queued_bytes += bytes;
        state.queue.push_back(Queued { frame: frame.clone(), sent });
        self.live_ready.notify_one();
    }

    /// Up to about `bytes_max` of queued frames, in order, with what is to be entered in the ledger.
    pub(crate) fn take_live(&self, bytes_max: usize) -> (Vec<Bytes>, Vec<Sent>) {
        let mut state = self.state.lock();
        let (mut frames, mut sent, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < bytes_max
            && let Some(next) = state.queue.pop_front()
        {
            bytes += next.frame.len();
            frames.push(next.frame);
            sent.push(next.sent);
        }
        state.queued_bytes -= bytes;
        (frames, sent)
    }

    // What comes from the connection.

    /// The peer has welcomed us. Undecided writes are asked again, whatever its frontier says: only a reply on this
    /// connection counts towards a verdict.
    pub(crate) fn connected(&self, now: Instant, lineage: Lineage, mut frontier: Frontier) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.prune();
        let mut undecided: Vec<Dot> = state.waiting.keys().cloned().collect();
        undecided.sort_unstable();
        for dot in &undecided {
            frontier.remove(dot);
        }
        state.connected = Some(now);
        state.stale = false;
        let former = state.lineage.replace(lineage);
        if former.map(|former| former.origin)
            != state.lineage.as_ref().map(|now| now.origin.clone())
        {
            self.life.fetch_add(1, Ordering::Relaxed);
        }
        state.snapshot = SnapshotTalk::Quiet;
        (state.wanted, state.wanted_untold) = (Frontier::new(), false);
        state.known = Some(frontier);
        state.last_error = None;
        for dot in undecided {
            let Some(waiting) = state.waiting.get(&dot) else { continue };
            let handed_over = waiting.handed_over;
            if let Some((frame, item)) = waiting.again.clone() {
                self.enqueue(state, &frame, &item, handed_over, &dot);
            }
        }
        self.observer.link(self.name(), true);
        self.catch_up_ready.notify_one();
        self.news.notify_one();
    }

    /// Which life of the peer this is: a number that changes when it comes back as another incarnation.
    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    /// Whether this life of the peer has told us earlier that it durably holds something which it does not claim now. A
    /// frontier is a promise, so its disk has gone back in time, within one start even: what it acknowledged is gone.
    ///
    /// To be asked of a welcome only: the peer has ended the former connection by then, so no ack is still on its way.
    pub(crate) fn once_said_more(&self, lineage: &Lineage, frontier: &Frontier) -> bool {
        let state = self.state.lock();
        let same_life = state.lineage.as_ref().is_some_and(|last| last.origin == lineage.origin);
        same_life && state.known.as_ref().is_some_and(|known| !frontier.covers(known))
    }

    /// The peer has dialled us, so it can be reached. If it has started anew since it welcomed us, the connection that we
    /// have leads to a process that is gone.
    pub(crate) fn dialled_us(&self, lineage: &Lineage) {
        let mut state = self.state.lock();
        if state.connected.is_some() && state.lineage.as_ref() != Some(lineage) {
            state.stale = true;
            self.look_at_connection.notify_one();
        }
        if state.lineage.as_ref().is_some_and(|former| former.origin != lineage.origin) {
            // Its Hello takes back what its former life acknowledged, before it is heard as the new one.
            self.life.fetch_add(1, Ordering::Relaxed);
            (state.lineage, state.known) = (Some(lineage.clone()), None);
        }
        self.dial_now.notify_one();
    }

    /// The connection, if there is one, should be made anew, and what the peer said on it counts no more.
    pub(crate) fn hang_up(&self) {
        let mut state = self.state.lock();
        state.stale = true;
        state.known = None;
        drop(state);
        self.look_at_connection.notify_one();
    }

    /// Whether the connection that was welcomed last is of no more use.
    pub(crate) fn is_stale(&self) -> bool {
        self.state.lock().stale
    }

    /// The connection is gone, and all that was under way on it.
    pub(crate) fn disconnected(&self, error: Option<String>, now: Instant) {
        self.questions.close(now);
        let mut state = self.state.lock();
        let was_up = state.connected.take().is_some();
        state.queue.clear();
        state.queued_bytes = 0;
        state.under_way = Frontier::new();
        state.snapshot = SnapshotTalk::Quiet;
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
    pub(crate) fn answered(&self, sent: &Sent, reply: &Reply, synced: bool, now: Instant) -> bool {
        self.observe(sent, reply, now);
        let taken = matches!(reply, Reply::Stored | Reply::Superseded { .. } | Reply::Drift);
        let mut state = self.state.lock();
        if state.connected.is_some() && state.known.is_none() {
            // The connection was given up, perhaps because it leads to a life that is over: what comes on it counts no
            // more. Writes that still wait are asked again on the next one.
            return taken;
        }
        if let Some(record) = &sent.item.record {
            // Of a member that has lost what it acknowledged before, no copy counts until it has everything again.
            let counted = Reply::Busy { reason: Busy::Recovering };
            let told = if taken && !state.counts { &counted } else { reply };
            state.tell(&record.dot, self.name(), told, now);
        }
        if taken {
            state.tell_overwritten(&sent.item, self.name(), now);
        }
        if taken && !synced {
            // Durable enough for the writer; the peer's frontier will tell when it is for the log.
            return true;
        }
        state.no_longer_under_way(&sent.item);
        match reply {
            Reply::Busy { .. } => state.put_off(&sent.item, now, Deferred::put_off),
            Reply::Refused { .. } => state.put_off(&sent.item, now, Deferred::put_off_long),
            _ => state.taken(&sent.item),
        }
        drop(state);
        if !taken {
            self.catch_up_ready.notify_one();
        }
        taken
    }

    fn observe(&self, sent: &Sent, reply: &Reply, now: Instant) {
        let (observer, peer) = (&self.observer, self.name());
        match reply {
            Reply::Stored => {
                observer.peer_ack(peer, now.saturating_duration_since(sent.handed_over))
            }
            Reply::Superseded { .. } => observer.peer_superseded(peer),
            Reply::Drift => {
                tracing::error!(%peer, dot = ?sent.item.record.as_ref().map(|r| r.dot.to_string()), "peer holds the same version with other content");
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
        let mut state = self.state.lock();
        let state = &mut *state;
        // A connection that was given up says nothing more.
        if state.known.is_none() {
            return;
        }
        // What nobody waits for any more is held by the peer if it says so.
        state.prune();
        let Some(known) = &mut state.known else { return };
        if let Some(frontier) = frontier {
            known.merge(frontier);
            // A write that waits for this peer's word, and was not sent to it, is sent all the same: it may have come by way
            // of another member, and only a reply counts.
            for dot in state.waiting.keys().filter(|dot| !state.under_way.contains(dot)) {
                known.remove(dot);
            }
            self.news.notify_one();
        }
        // Copies that were not synced when they were answered are by now, if the frontier says so.
        if !state.under_way.is_empty() {
            state.under_way = state.under_way.minus(known);
        }
    }

    /// What the peer says of itself, and the incarnation in which it was last known complete here.
    pub(crate) fn announced(
        &self,
        lineage: &Lineage,
        said: Announcement,
        remembered: Option<Incarnation>,
    ) {
        let mut state = self.state.lock();
        state.counts = counts(remembered, lineage.origin.incarnation, said.recovery);
        state.announcement = Some(said);
    }

    /// The lineage in which the peer numbers its writes, as of its last welcome.
    pub(crate) fn lineage(&self) -> Option<Lineage> {
        self.state.lock().lineage.clone()
    }

    /// The lineage that the connection which is up leads to.
    pub(crate) fn connected_lineage(&self) -> Option<Lineage> {
        let state = self.state.lock();
        state.connected.and_then(|_| state.lineage.clone())
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

    /// What the peer lacks, should get from us, and is not already on its way or put off. A peer that has put off as much
    /// as may be is only asked again for what is due.
    pub(crate) fn owed(&self, us: &Origin, held: &Frontier, now: Instant) -> Frontier {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(known) = &state.known else { return Frontier::new() };
        let was_full = state.deferred.is_full();
        let mut due = Frontier::new();
        for dot in state.deferred.take_due(now) {
            due.insert(&dot);
            if let Some(covers) = state.deferred_covers.remove(&dot) {
                due.merge(&covers);
            }
            if known.contains(&dot) {
                // The peer has it by other means.
                state.deferred.settle(&dot);
            }
        }
        state.behind = false;
        let mut wanted = state.wanted_there.clone();
        // Another member's record that a writer here brings: nobody else waits for the peer's word on it.
        let brought = state.waiting.iter().filter(|(_, waiting)| waiting.is_wanted());
        for (dot, _) in brought.filter(|(dot, _)| dot.lineage.origin != *us) {
            wanted.insert(dot);
        }
        let mut owed = owed_to(us, held, known, &wanted).minus(&state.under_way);
        if !state.deferred.is_empty() {
            owed = owed.minus(&state.deferred.dots());
            for covers in state.deferred_covers.values() {
                owed = owed.minus(covers);
            }
        }
        if was_full { owed.minus(&owed.minus(&due)) } else { owed }
    }

    /// Whether the peer holds a dot, or it is on its way there.
    pub(crate) fn has(&self, dot: &Dot) -> bool {
        let state = self.state.lock();
        state.under_way.contains(dot)
            || state.known.as_ref().is_some_and(|known| known.contains(dot))
    }

    /// An item from the log is about to be sent.
    pub(crate) fn under_way(&self, item: &Incoming) {
        let mut state = self.state.lock();
        if let Some(record) = &item.record {
            state.under_way.insert(&record.dot);
        }
        state.under_way.merge(&item.covered());
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
        let must_count = matches!(question, Question::Newest { .. } | Question::Write { .. });
        let state = self.state.lock();
        let is_recovering = must_count && state.connected.is_some() && !state.counts;
        drop(state);
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
        let state = self.state.lock();
        state.connected.and_then(|_| state.known.clone())
    }

    /// Wants this of the peer, and nothing else any more.
    pub(crate) fn want(&self, dots: Frontier) {
        let mut state = self.state.lock();
        if state.wanted != dots {
            state.wanted = dots;
            state.wanted_untold = true;
            self.to_say.notify_one();
        }
    }

    /// The peer wants this of us.
    pub(crate) fn is_wanted_there(&self, dots: Frontier) {
        self.state.lock().wanted_there = dots;
        self.catch_up_ready.notify_one();
    }

    /// What is to be said on the control stream now.
    pub(crate) fn next_word(&self) -> Option<Control> {
        let mut state = self.state.lock();
        match state.snapshot {
            SnapshotTalk::ToAsk => {
                state.snapshot = SnapshotTalk::Asked;
                return Some(Control::MaySnapshot);
            }
            SnapshotTalk::Done => {
                state.snapshot = SnapshotTalk::Quiet;
                return Some(Control::SnapshotDone);
            }
            _ => {}
        }
        std::mem::take(&mut state.wanted_untold)
            .then(|| Control::Want { dots: state.wanted.clone() })
    }

    /// Asks whether everything may be sent, and waits for the answer. `false` also if the connection ends.
    pub(crate) async fn may_snapshot(&self) -> bool {
        self.state.lock().snapshot = SnapshotTalk::ToAsk;
        self.to_say.notify_one();
        loop {
            let talk = self.state.lock().snapshot;
            match talk {
                SnapshotTalk::ToAsk | SnapshotTalk::Asked => {
                    self.snapshot_answered.notified().await
                }
                answered => return answered == SnapshotTalk::Granted,
            }
        }
    }

    /// The peer's answer to that.
    pub(crate) fn snapshot_is(&self, granted: bool) {
        let mut state = self.state.lock();
        if state.snapshot == SnapshotTalk::Asked {
            state.snapshot = if granted { SnapshotTalk::Granted } else { SnapshotTalk::Refused };
        }
        self.snapshot_answered.notify_one();
    }

    /// Everything is sent, or the attempt is given up.
    pub(crate) fn snapshot_done(&self) {
        self.state.lock().snapshot = SnapshotTalk::Done;
        self.to_say.notify_one();
    }

    /// When to look for work again although nobody rings.
    pub(crate) fn look_again(&self, now: Instant) -> Instant {
        const BEHIND: Duration = Duration::from_millis(20);
        const IDLE: Duration = Duration::from_millis(500);
        let state = self.state.lock();
        let pause = if state.behind { BEHIND } else { IDLE };
        state.deferred.next_due().map_or(now + pause, |due| due.clamp(now + BEHIND, now + pause))
    }

    /// Whether everything queued has been answered.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        state.connected.is_none() || (state.queue.is_empty() && state.under_way.is_empty())
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let state = self.state.lock();
        PeerStatus {
            peer: self.name().clone(),
            address: self.member.address.clone(),
            connected_since: state.connected,
            lineage: state.lineage.clone(),
            served: None,
            round_trip: state.round_trip,
            clock_offset: state.offset.map(|(offset, _)| offset),
            clock_measured_at: state.offset.map(|(_, at)| at),
            frontier: state.known.clone(),
            announcement: state.announcement.clone(),
            counts: state.counts,
            wanted: state.wanted.len(),
            repaired_records: state.repaired_records,
            repaired_bytes: state.repaired_bytes,
            queued_bytes: state.queued_bytes,
            deferred: state.deferred.len(),
            last_error: state.last_error.clone(),
        }
    }
}

impl State {
    /// Passes a reply on to the writer that waits for it.
    fn tell(&mut self, dot: &Dot, peer: &PeerId, reply: &Reply, at: Instant) {
        let Some(waiting) = self.waiting.get_mut(dot) else { return };
        let is_busy = matches!(reply, Reply::Busy { .. });
        if !(is_busy && waiting.told_busy) {
            for replies in std::iter::once(&waiting.replies).chain(&waiting.more_replies) {
                // The queue holds a busy and a final reply of every peer, so it is never full; a writer that has gone
                // needs no reply.
                let reply = PeerReply { peer: peer.clone(), reply: reply.clone(), at };
                let _gone = replies.try_send(reply);
            }
        }
        waiting.told_busy |= is_busy;
        if !is_busy && let Some(told) = self.waiting.remove(dot) {
            self.waiting_bytes -= told.bytes();
        }
    }

    /// The peer holds the current record of a key, which came in place of writes that it has overwritten here: their writers
    /// hear that a newer version is there, or they would wait for a word that never comes.
    fn tell_overwritten(&mut self, item: &Incoming, peer: &PeerId, at: Instant) {
        if item.covers.is_empty() || self.waiting.is_empty() {
            return;
        }
        let version = match (&item.record, &item.stand_in) {
            (Some(record), _) => record.version(),
            (None, Some(StandIn { dot, hlc, .. })) => {
                Version { hlc: *hlc, origin: dot.lineage.origin.clone() }
            }
            (None, None) => return,
        };
        let covers = item.covered();
        let mut overwritten: Vec<Dot> =
            self.waiting.keys().filter(|dot| covers.contains(dot)).cloned().collect();
        overwritten.sort_unstable();
        let reply = if self.counts {
            Reply::Superseded { version, is_same_write: false }
        } else {
            Reply::Busy { reason: Busy::Recovering }
        };
        for dot in overwritten {
            self.tell(&dot, peer, &reply, at);
        }
    }

    /// Enters a write whose writer waits, and keeps at most `bytes_max` with all of them.
    fn keep_waiting(&mut self, dot: &Dot, mut waiting: Waiting, bytes_max: usize) {
        if self.waiting.len() >= self.prune_at || self.waiting_bytes + waiting.bytes() > bytes_max {
            self.prune();
        }
        if self.waiting_bytes + waiting.bytes() > bytes_max {
            waiting.again = None;
        }
        self.waiting_bytes += waiting.bytes();
        self.waiting.insert(dot.clone(), waiting);
    }

    /// Forgets writes whose writers have gone.
    fn prune(&mut self) {
        self.waiting.retain(|_, waiting| waiting.is_wanted());
        self.waiting_bytes = self.waiting.values().map(Waiting::bytes).sum();
        self.prune_at = (2 * self.waiting.len()).max(PRUNE_AT_MIN);
    }

    fn no_longer_under_way(&mut self, item: &Incoming) {
        if let Some(record) = &item.record {
            self.under_way.remove(&record.dot);
        }
        if !item.covers.is_empty() {
            self.under_way = self.under_way.minus(&item.covered());
        }
    }

    /// The peer holds whatever the item stands for.
    fn taken(&mut self, item: &Incoming) {
        // It may have been put off under either: with its record, or without.
        if let Some(record) = &item.record {
            self.no_longer_put_off(&record.dot);
            if let Some(known) = &mut self.known {
                known.insert(&record.dot);
            }
        }
        if item.covers.is_empty() {
            return;
        }
        let covers = item.covered();
        if let Some(dot) = first_dot(&covers) {
            self.no_longer_put_off(&dot);
        }
        if let Some(known) = &mut self.known {
            known.merge(&covers);
        }
    }

    fn no_longer_put_off(&mut self, dot: &Dot) {
        self.deferred.settle(dot);
        self.deferred_covers.remove(dot);
    }

    /// The peer does not take an item now; `put_off` says for how long.
    fn put_off(
        &mut self,
        item: &Incoming,
        now: Instant,
        put_off: impl Fn(&mut Deferred, Dot, Instant),
    ) {
        let covers = item.covered();
        let own = item.record.as_ref().map(|record| record.dot.clone());
        let Some(dot) = own.or_else(|| first_dot(&covers)) else { return };
        if !covers.is_empty() {
            self.deferred_covers.insert(dot.clone(), covers);
        }
        put_off(&mut self.deferred, dot, now);
    }
}

fn first_dot(dots: &Frontier) -> Option<Dot> {
    let (lineage, set) = dots.iter().find(|(_, set)| !set.is_empty())?;
    let (first, _) = set.intervals().next()?;
    Some(Dot { lineage: lineage.clone(), seq: first })
}

#[cfg(test)]
mod tests;
