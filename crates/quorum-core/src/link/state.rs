//! The state of one link that outlives its connections: what waits for the peer, what it holds, what it put off.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::waiting::WaitingWrites;
use crate::announcement::Announcement;
use crate::error::{Busy, Refusal};
use crate::frontier::{Frontier, SeqSet};
use crate::id::PeerId;
use crate::ports::{Incoming, PeerReply, Reply};
use crate::record::Durability;
use crate::replication::{Deferred, owed_to};
use crate::version::{Dot, Lineage, Origin};

/// Somebody who waits for answers to one record.
pub trait ReplyTo {
    /// Takes an answer that the peer gave in this [`life`](Link::life), or drops it if nobody listens. Given at most a "busy" and
    /// a final answer of each peer.
    fn reply(&self, reply: PeerReply, life: u64);
    /// Whether nobody listens any more.
    fn is_closed(&self) -> bool;
}

/// Who should look, after something has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
#[expect(clippy::exhaustive_structs, reason = "networks read it")]
pub struct Rings {
    /// The live lane: a small record waits for it.
    pub live: bool,
    /// The live lane of large records: one waits for it.
    pub large: bool,
    /// The catch-up lane: it may find work.
    pub catch_up: bool,
    /// The exchange: there may be something to ask for, and somebody else to ask.
    pub news: bool,
    /// Whoever keeps the connection: it is of no more use.
    pub connection: bool,
}

impl Rings {
    /// The live lane of records of a size.
    fn live(size: FrameSize) -> Self {
        let is_small = size == FrameSize::Small;
        Self { live: is_small, large: !is_small, ..Self::default() }
    }

    /// Whoever should look after either.
    const fn and(self, other: Self) -> Self {
        Self {
            live: self.live || other.live,
            large: self.large || other.large,
            catch_up: self.catch_up || other.catch_up,
            news: self.news || other.news,
            connection: self.connection || other.connection,
        }
    }
}

/// What follows from an answer of a peer to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_structs, reason = "networks read it")]
pub struct Answered {
    /// Whether the peer took the item.
    pub taken: bool,
    /// Who should look.
    pub rings: Rings,
}

/// The bounds of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "networks build it")]
pub struct LinkConfig {
    /// Live records queued for the peer, in bytes. Beyond it the peer is served from the log.
    pub live_queue_bytes_max: usize,
    /// Largest frame that the peer takes, in bytes.
    pub frame_bytes_max: usize,
    /// First delay before a record that the peer has put off is sent again.
    pub retry_min: Duration,
    /// Longest such delay.
    pub retry_max: Duration,
    /// Records that the peer may have put off at once before it is served in order only.
    pub retries_max: usize,
}

/// How large a frame is: small ones never wait behind large ones, if the network has a lane for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "networks have a lane for each")]
pub enum FrameSize {
    /// Less than 64 KiB.
    Small,
    /// As much and more.
    Large,
}

impl FrameSize {
    const LARGE_BYTES: usize = 64 << 10;

    /// The size of a frame of so many bytes.
    #[must_use]
    pub const fn of(bytes: usize) -> Self {
        if bytes < Self::LARGE_BYTES { Self::Small } else { Self::Large }
    }
}

/// A live record on its way to the peer.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "networks take it apart")]
pub struct Queued<F> {
    /// The record as it goes over the wire; if it is not kept, it is to be encoded again.
    pub frame: Option<F>,
    /// The size of that.
    pub bytes: usize,
    /// The record.
    pub item: Incoming,
    /// When it was handed to the network.
    pub handed_over: Instant,
}

/// A word for the peer that is neither a record nor a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a network must say every word")]
pub enum LinkWord {
    /// This is wanted of it, and nothing else.
    Want(Frontier),
    /// May everything be sent to it?
    MaySnapshot,
    /// Everything is sent, or the attempt is given up.
    SnapshotDone,
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

/// Least that one lineage of a frontier takes in a frame, and each of its intervals.
const LINEAGE_BYTES_MIN: usize = 12;
const INTERVAL_BYTES_MIN: usize = 2;

/// What a link looks like from outside.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a view of private state")]
pub struct LinkView<'a> {
    /// Since when the link is up.
    pub connected_since: Option<Instant>,
    /// The peer's lineage, as of its last welcome.
    pub lineage: Option<&'a Lineage>,
    /// What the peer durably holds, as far as it told us.
    pub frontier: Option<&'a Frontier>,
    /// What it said of itself last.
    pub announcement: Option<&'a Announcement>,
    /// Whether its acks and answers count.
    pub counts: bool,
    /// When it was asked what it has answered last on this connection.
    pub asked_at: Option<Instant>,
    /// What we want of it.
    pub wanted: &'a Frontier,
    /// Bytes queued for it, new and again.
    pub queued_bytes: usize,
    /// Of these, the bytes of undecided writes that are sent again: they are among `waiting_bytes`.
    pub queued_again_bytes: usize,
    /// Bytes of the records of undecided writes, which are kept so that they can be sent again: at most twice as many as
    /// writers waited for at once, or as the live queue may hold.
    pub waiting_bytes: usize,
    /// Writes whose verdict may depend on it.
    pub waiting: usize,
    /// Records that it has put off.
    pub deferred: usize,
}

/// One end of the link to one peer. `F` is a frame as it goes over the wire, `R` somebody who waits for answers.
#[derive(Debug)]
pub struct Link<F, R> {
    peer: PeerId,
    config: LinkConfig,
    connected: Option<Instant>,
    /// The connection leads to a life of one side that is over.
    stale: bool,
    /// Changes when the peer comes back as another incarnation.
    life: u64,
    lineage: Option<Lineage>,
    /// What the peer durably holds, as far as it told us.
    known: Option<Frontier>,
    /// All that it has told us on this connection.
    said: Frontier,
    /// What else it says of itself.
    announcement: Option<Announcement>,
    /// Whether its acks and answers count.
    counts: bool,
    /// When it was asked what it has answered last on this connection.
    asked_at: Option<Instant>,
    /// Dots on this connection: queued, or sent and not answered for good.
    under_way: Frontier,
    deferred: Deferred,
    /// What else the items stand for that were put off, by the dot under which each is in `deferred`.
    deferred_covers: BTreeMap<Dot, Frontier>,
    /// New records, by [`FrameSize`].
    queues: [VecDeque<Queued<F>>; 2],
    /// In both.
    queued_bytes: usize,
    /// By [`FrameSize`], whether it is the turn of what goes again.
    again_next: [bool; 2],
    /// Writes whose verdict may depend on this peer.
    waiting: WaitingWrites<R>,
    /// Records were left to the log because the queue was full.
    behind: bool,
    /// What we want of the peer, and whether it has not been told yet.
    wanted: Frontier,
    wanted_untold: bool,
    /// What the peer wants of us, though it is not ours.
    wanted_there: Frontier,
    snapshot: SnapshotTalk,
}

impl<F: Clone, R: ReplyTo> Link<F, R> {
    /// A link that was never up.
    #[must_use]
    pub fn new(peer: PeerId, config: LinkConfig) -> Self {
        Self {
            peer,
            config,
            connected: None,
            stale: false,
            life: 0,
            lineage: None,
            known: None,
            said: Frontier::new(),
            announcement: None,
            counts: false,
            asked_at: None,
            under_way: Frontier::new(),
            deferred: Deferred::new(config.retry_min, config.retry_max, config.retries_max),
            deferred_covers: BTreeMap::new(),
            queues: [VecDeque::new(), VecDeque::new()],
            queued_bytes: 0,
            again_next: [false; 2],
            waiting: WaitingWrites::new(config.live_queue_bytes_max),
            behind: false,
            wanted: Frontier::new(),
            wanted_untold: false,
            wanted_there: Frontier::new(),
            snapshot: SnapshotTalk::Quiet,
        }
    }

    // What comes from the writer.

    /// A new write: queued if the peer keeps up, else left to the log. A frame that does not [`fit`](Self::fits), or none,
    /// is the caller's to report as [`too_large`](Self::too_large). A write that is under way already is not sent again,
    /// unless it is to be synced now and the peer answers that it is not; whoever waits is told as well, and `None` is returned.
    pub fn offer(
        &mut self,
        frame: Option<(F, usize)>,
        item: &Incoming,
        dot: &Dot,
        handed_over: Instant,
        replies: R,
    ) -> Option<Rings> {
        let replies = self.waiting.join(dot, item, replies)?;
        let mut rings = Rings::default();
        // It may have been sent for somebody else, and answered before it was synced.
        let was_sent = self.under_way.contains(dot);
        if let Some((frame, bytes)) = &frame
            && self.connected.is_some()
            && !was_sent
        {
            rings = self.enqueue(frame, *bytes, item, handed_over, dot);
        }
        let bytes = frame.map(|(_, bytes)| bytes);
        if self.waiting.is_full(bytes) {
            self.prune();
        }
        self.waiting.enter(dot, item, bytes, handed_over, replies);
        if was_sent {
            rings = self.send_again(dot);
        }
        Some(rings)
    }

    /// Whether the peer takes a frame of this size.
    #[must_use]
    pub const fn fits(&self, frame_bytes: usize) -> bool {
        frame_bytes <= self.config.frame_bytes_max
    }

    /// The item is larger than a frame may be: it stays a gap there, and what is behind it goes on.
    pub fn too_large(&mut self, item: &Incoming, now: Instant) -> Rings {
        self.answered(item, &Reply::Refused { reason: Refusal::TooLarge }, true, now).rings
    }

    /// Queues a new record, if there is room.
    fn enqueue(
        &mut self,
        frame: &F,
        bytes: usize,
        item: &Incoming,
        handed_over: Instant,
        dot: &Dot,
    ) -> Rings {
        if self.queued_bytes + bytes > self.config.live_queue_bytes_max || self.deferred.is_full() {
            self.behind = true;
            return Rings { catch_up: true, ..Rings::default() };
        }
        self.under_way.insert(dot);
        self.queued_bytes += bytes;
        let (frame, item) = (Some(frame.clone()), item.clone());
        let size = FrameSize::of(bytes);
        self.queues[size as usize].push_back(Queued { frame, bytes, item, handed_over });
        Rings::live(size)
    }

    /// Sends again what writers here wait for and is neither on its way nor put off.
    fn send_waiting(&mut self) -> Rings {
        if self.connected.is_none() || self.deferred.is_full() {
            return Rings::default();
        }
        let is_idle = |dot: &&Dot| !self.under_way.contains(dot) && !self.deferred.contains(dot);
        let idle: Vec<Dot> = self.waiting.to_be_asked().filter(is_idle).cloned().collect();
        let rings = idle.iter().map(|dot| self.send_again(dot));
        rings.fold(Rings::default(), Rings::and)
    }

    /// Sends one write again that a writer here waits for.
    fn send_again(&mut self, dot: &Dot) -> Rings {
        let Some(size) = self.waiting.send_again(dot) else { return Rings::default() };
        self.under_way.insert(dot);
        Rings::live(size)
    }

    /// Up to about `bytes_max` of queued frames of a size: new ones in order, and as many again.
    pub fn take_live(&mut self, size: FrameSize, bytes_max: usize) -> Vec<Queued<F>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max
            && let Some(next) = self.next_live(size)
        {
            bytes += next.bytes;
            taken.push(next);
        }
        taken
    }

    /// The next frame of a size. New ones and those that go again take turns: neither wait for the end of the others.
    fn next_live(&mut self, size: FrameSize) -> Option<Queued<F>> {
        let again_next = &mut self.again_next[size as usize];
        *again_next = !*again_next;
        if !*again_next && let Some(again) = self.waiting.take_again(size) {
            return Some(again);
        }
        let Some(new) = self.queues[size as usize].pop_front() else {
            return self.waiting.take_again(size);
        };
        self.queued_bytes -= new.bytes;
        Some(new)
    }

    // What comes from the connection.

    /// The peer has welcomed us. Undecided writes are asked again, whatever its frontier says: only a reply on this
    /// connection counts towards a verdict.
    pub fn connected(&mut self, now: Instant, lineage: Lineage, frontier: Frontier) -> Rings {
        self.prune();
        self.said = frontier.clone();
        self.connected = Some(now);
        self.stale = false;
        if self.lineage.as_ref().map(|former| &former.origin) != Some(&lineage.origin) {
            self.life += 1;
        }
        self.lineage = Some(lineage);
        self.snapshot = SnapshotTalk::Quiet;
        (self.wanted, self.wanted_untold) = (Frontier::new(), false);
        self.known = Some(frontier);
        self.send_waiting().and(Rings { catch_up: true, ..Rings::default() })
    }

    /// Which life of the peer this is: a number that changes when it comes back as another incarnation. What it has
    /// acknowledged in a former one is taken back.
    #[must_use]
    pub const fn life(&self) -> u64 {
        self.life
    }

    /// Whether this life of the peer has told us earlier that it durably holds something which it does not claim now. A
    /// frontier is a promise, so its disk has gone back in time, within one start even: what it acknowledged is gone.
    ///
    /// To be asked of a welcome only: the peer has ended the former connection by then, so no ack is still on its way.
    #[must_use]
    pub fn once_said_more(&self, lineage: &Lineage, frontier: &Frontier) -> bool {
        let same_life = self.lineage.as_ref().is_some_and(|last| last.origin == lineage.origin);
        same_life && self.known.as_ref().is_some_and(|known| !frontier.covers(known))
    }

    /// The peer has dialled us, so it can be reached. If it has started anew since it welcomed us, the connection that we
    /// have leads to a process that is gone: tells whether that is so.
    pub fn dialled_us(&mut self, lineage: &Lineage) -> bool {
        let is_stale = self.connected.is_some() && self.lineage.as_ref() != Some(lineage);
        self.stale |= is_stale;
        if self.lineage.as_ref().is_some_and(|former| former.origin != lineage.origin) {
            // Its Hello takes back what its former life acknowledged, before it is heard as the new one.
            self.life += 1;
            (self.lineage, self.known) = (Some(lineage.clone()), None);
        }
        is_stale
    }

    /// The connection, if there is one, should be made anew, and what the peer said on it counts no more.
    pub fn hang_up(&mut self) {
        self.stale = true;
        self.known = None;
    }

    /// Whether the connection that was welcomed last is of no more use.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.stale
    }

    /// The connection is gone, and all that was under way on it. Tells whether it was up.
    pub fn disconnected(&mut self) -> bool {
        let was_up = self.connected.take().is_some();
        self.asked_at = None;
        self.queues.iter_mut().for_each(VecDeque::clear);
        self.queued_bytes = 0;
        self.waiting.disconnected();
        self.under_way = Frontier::new();
        self.snapshot = SnapshotTalk::Quiet;
        was_up
    }

    /// The peer answered an item.
    ///
    /// While everything is sent to the peer, nothing is put off by itself: there may be as many items as there are keys.
    /// What it keeps without promising it is taken as far as the snapshot goes, whose claim promises it; the rest is owed
    /// again when the snapshot is over.
    pub fn answered(
        &mut self,
        item: &Incoming,
        reply: &Reply,
        synced: bool,
        now: Instant,
    ) -> Answered {
        let taken = matches!(reply, Reply::Stored | Reply::Superseded { .. } | Reply::Drift);
        let is_snapshot = self.snapshot == SnapshotTalk::Granted;
        let is_kept = is_snapshot && *reply == Reply::Busy { reason: Busy::Kept };
        let mut rings = Rings { catch_up: !(taken || is_kept), ..Rings::default() };
        if self.connected.is_some() && self.known.is_none() {
            // The connection was given up, perhaps because it leads to a life that is over: what comes on it counts no
            // more. Writes that still wait are asked again on the next one.
            return Answered { taken, rings };
        }
        if let Some(record) = &item.record {
            let mut told = PeerReply { peer: self.peer.clone(), reply: reply.clone(), at: now };
            if taken && !self.counts {
                // Of a member that has lost what it acknowledged before, no copy counts until it has everything again.
                told.reply = Reply::Busy { reason: Busy::Recovering };
                self.waiting.does_not_count(&record.dot);
            }
            // What was sent to be synced is answered when it is, whatever it came with.
            let is_relaxed = record.durability == Durability::Relaxed;
            let not_synced = taken && self.counts && is_relaxed && !synced;
            if self.waiting.tell(&record.dot, &told, self.life, not_synced) {
                rings = rings.and(self.send_again(&record.dot));
            }
        }
        if !taken || synced {
            self.no_longer_under_way(item);
            match reply {
                Reply::Busy { .. } | Reply::Refused { .. } if is_snapshot => {}
                Reply::Busy { reason } if self.comes_in_order(item, *reason) => {}
                Reply::Busy { .. } => self.put_off(item, now, Deferred::put_off),
                Reply::Refused { .. } => self.put_off(item, now, Deferred::put_off_long),
                _ => self.taken(item),
            }
        }
        // What is not synced is durable enough for the writer; the peer's frontier will tell when it is for the log.
        if taken {
            rings = rings.and(self.send_overwritten(item));
        }
        Answered { taken: taken || is_kept, rings }
    }

    /// The peer says what it durably holds beyond what it said before, if anything.
    ///
    /// All that a peer says on one connection is no longer than one frame could say it: if it were, the link
    /// [hangs up](Self::hang_up), and the next welcome tells what is so.
    pub fn reported(&mut self, more: Option<&Frontier>) -> Rings {
        let nothing = Rings::default();
        // A connection that was given up says nothing more.
        if self.known.is_none() {
            return nothing;
        }
        // What nobody waits for any more is held by the peer if it ever said so.
        self.prune();
        let Some(known) = &mut self.known else { return nothing };
        if let Some(more) = more {
            self.said.merge(more);
            if bytes_at_least(&self.said) > self.config.frame_bytes_max {
                self.hang_up();
                return Rings { connection: true, ..nothing };
            }
        }
        known.merge(&self.said);
        self.waiting.came_in_order(known);
        // A write that waits for this peer's word is sent all the same: the peer may have it by way of another member, or
        // by a later record of its key, and only its reply to the write itself counts.
        let unanswered: Vec<&Dot> =
            self.waiting.to_be_asked().filter(|dot| self.under_way.contains(dot)).collect();
        // Copies that were not synced when they were answered are by now, if the frontier says so.
        if !self.under_way.is_empty() {
            self.under_way = self.under_way.minus(known);
            for dot in unanswered {
                self.under_way.insert(dot);
            }
        }
        // What it answers, and when, is up to the peer as well: gaps in it must not pile up.
        let answered = bytes_at_least(known).max(bytes_at_least(&self.under_way));
        if answered > 2 * self.config.frame_bytes_max {
            self.hang_up();
            return Rings { connection: true, ..nothing };
        }
        self.send_waiting().and(Rings { news: more.is_some(), ..nothing })
    }

    /// What the peer says of itself. Once its answers count, it is asked again for writes that it answered before.
    pub fn announced(&mut self, said: Announcement) -> Rings {
        self.counts = said.recovery.counts();
        self.announcement = Some(said);
        if !self.counts {
            return Rings::default();
        }
        let uncounted = self.waiting.counts_now();
        let rings = uncounted.iter().map(|dot| self.send_again(dot));
        rings.fold(Rings::default(), Rings::and)
    }

    /// The peer, asked at this time, has said everything that it had to say.
    pub fn heard_out(&mut self, asked_at: Instant) {
        if self.connected.is_some() {
            self.asked_at = Some(asked_at);
        }
    }

    // What the catch-up lane needs.

    /// What the peer lacks, should get from the log, and is not already on its way or put off. A peer that has put off as
    /// much as may be gets what is due, and what follows upon what it holds.
    ///
    /// What writers here wait for goes out on the live lanes instead.
    pub fn owed(&mut self, us: &Origin, held: &Frontier, now: Instant) -> (Frontier, Rings) {
        let Some(known) = &self.known else { return (Frontier::new(), Rings::default()) };
        let was_full = self.deferred.is_full();
        let mut due = Frontier::new();
        for dot in self.deferred.take_due(now) {
            due.insert(&dot);
            if let Some(covers) = self.deferred_covers.remove(&dot) {
                due.merge(&covers);
            }
            if known.contains(&dot) {
                // The peer has it by other means.
                self.deferred.settle(&dot);
            }
        }
        self.behind = false;
        self.prune();
        let rings = if was_full { Rings::default() } else { self.send_waiting() };
        let Some(known) = &self.known else { return (Frontier::new(), rings) };
        let mut owed = owed_to(us, held, known, &self.wanted_there).minus(&self.under_way);
        if !self.deferred.is_empty() {
            let mut put_off = self.deferred.dots();
            self.deferred_covers.values().for_each(|covers| put_off.merge(covers));
            owed = owed.minus(&put_off);
        }
        if was_full {
            let mut in_order = next_in_order(&owed, known);
            in_order.merge(&owed.common(&due));
            owed = in_order;
        }
        (owed, rings)
    }

    /// Whether the peer holds a dot, or it is on its way there.
    #[must_use]
    pub fn has(&self, dot: &Dot) -> bool {
        self.under_way.contains(dot) || self.known.as_ref().is_some_and(|known| known.contains(dot))
    }

    /// An item from the log is about to be sent.
    pub fn under_way(&mut self, item: &Incoming) {
        if let Some(record) = &item.record {
            self.under_way.insert(&record.dot);
        }
        self.under_way.merge(&item.covered());
    }

    /// Whether the peer's acks and answers count; `None` while the link is down.
    #[must_use]
    pub const fn counts(&self) -> Option<bool> {
        if self.connected.is_some() { Some(self.counts) } else { None }
    }

    // What the exchange needs.

    /// What the peer holds, if it can be asked for it.
    #[must_use]
    pub fn within_reach(&self) -> Option<&Frontier> {
        self.connected.and(self.known.as_ref())
    }

    /// Wants this of the peer, and nothing else any more. Tells whether the peer must be told.
    pub fn want(&mut self, dots: Frontier) -> bool {
        let is_news = self.wanted != dots;
        if is_news {
            self.wanted = dots;
            self.wanted_untold = true;
        }
        is_news
    }

    /// The peer wants this of us: the catch-up lane should look.
    pub fn is_wanted_there(&mut self, dots: Frontier) {
        self.wanted_there = dots;
    }

    /// What is to be said to the peer now.
    pub fn next_word(&mut self) -> Option<LinkWord> {
        match self.snapshot {
            SnapshotTalk::ToAsk => {
                self.snapshot = SnapshotTalk::Asked;
                return Some(LinkWord::MaySnapshot);
            }
            SnapshotTalk::Done => {
                self.snapshot = SnapshotTalk::Quiet;
                return Some(LinkWord::SnapshotDone);
            }
            _ => {}
        }
        std::mem::take(&mut self.wanted_untold).then(|| LinkWord::Want(self.wanted.clone()))
    }

    /// Begins to ask whether everything may be sent.
    pub fn ask_for_snapshot(&mut self) {
        self.snapshot = SnapshotTalk::ToAsk;
    }

    /// The peer's answer to that, once it is there; `false` also if the connection has ended.
    #[must_use]
    pub fn snapshot_answer(&self) -> Option<bool> {
        match self.snapshot {
            SnapshotTalk::ToAsk | SnapshotTalk::Asked => None,
            answered => Some(answered == SnapshotTalk::Granted),
        }
    }

    /// The peer has answered that.
    pub fn snapshot_is(&mut self, granted: bool) {
        if self.snapshot == SnapshotTalk::Asked {
            self.snapshot = if granted { SnapshotTalk::Granted } else { SnapshotTalk::Refused };
        }
    }

    /// Everything is sent, or the attempt is given up.
    pub fn snapshot_done(&mut self) {
        self.snapshot = SnapshotTalk::Done;
    }

    /// When to look for work again although nobody rings: at `idle` at the latest.
    #[must_use]
    pub fn look_again(&self, now: Instant, idle: Instant) -> Instant {
        const BEHIND: Duration = Duration::from_millis(20);
        let soon = now + BEHIND;
        let latest = if self.behind { soon } else { idle.max(soon) };
        self.deferred.next_due().map_or(latest, |due| due.clamp(soon, latest))
    }

    /// Whether everything queued has been answered.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let is_empty = self.queues.iter().all(VecDeque::is_empty) && self.under_way.is_empty();
        self.connected.is_none() || is_empty
    }

    /// How the link is.
    #[must_use]
    pub fn view(&self) -> LinkView<'_> {
        LinkView {
            connected_since: self.connected,
            lineage: self.lineage.as_ref(),
            frontier: self.known.as_ref(),
            announcement: self.announcement.as_ref(),
            counts: self.counts,
            asked_at: self.asked_at,
            wanted: &self.wanted,
            queued_bytes: self.queued_bytes + self.waiting.again_bytes(),
            queued_again_bytes: self.waiting.again_bytes(),
            waiting_bytes: self.waiting.bytes(),
            waiting: self.waiting.len(),
            deferred: self.deferred.len(),
        }
    }

    /// The peer holds the current record of a key, which came in place of writes that it has overwritten here. A writer that
    /// waits for one of them needs the peer's word on the write itself: that it knows the write by its id, too.
    fn send_overwritten(&mut self, item: &Incoming) -> Rings {
        if item.covers.is_empty() || self.waiting.is_empty() {
            return Rings::default();
        }
        let covers = item.covered();
        self.waiting.came_in_order(&covers);
        let is_overwritten = |dot: &&Dot| covers.contains(dot);
        let overwritten: Vec<Dot> =
            self.waiting.to_be_asked().filter(is_overwritten).cloned().collect();
        let rings = overwritten.iter().map(|dot| self.send_again(dot));
        rings.fold(Rings::default(), Rings::and)
    }

    /// Forgets writes whose writers have gone. What of them was to be sent again is left to the log.
    fn prune(&mut self) {
        for dot in self.waiting.prune() {
            self.under_way.remove(&dot);
        }
    }

    /// Whether a peer that has no room for another gap will get in order what it did not take of an item, and need not be
    /// asked for it again before: putting that off one by one would be without end, and hold up what comes first.
    ///
    /// What the item stands for is under way until its frontier tells of it.
    fn comes_in_order(&mut self, item: &Incoming, reason: Busy) -> bool {
        let has_no_room = matches!(reason, Busy::Gaps | Busy::Kept);
        match &item.record {
            Some(record) if has_no_room && !item.durable => {
                self.waiting.left_to_log(&record.dot);
                true
            }
            Some(_) if reason == Busy::Kept && !item.covers.is_empty() => {
                self.under_way.merge(&item.covered());
                true
            }
            _ => false,
        }
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
            // One record may stand for several sets of dots, item by item.
            self.deferred_covers.entry(dot.clone()).or_default().merge(&covers);
        }
        put_off(&mut self.deferred, dot, now);
    }
}

/// Of what is owed, what follows upon what the peer holds.
fn next_in_order(owed: &Frontier, known: &Frontier) -> Frontier {
    let mut next = Frontier::new();
    for (lineage, owed) in owed.iter() {
        let known = known.of(lineage);
        let follows =
            |first: u64| first <= 1 || known.is_some_and(|known| known.contains(first - 1));
        let runs = owed.intervals().filter(|(first, _)| follows(*first));
        runs.for_each(|(first, last)| next.insert_range(lineage, first, last));
    }
    next
}

/// Least that a frontier takes in a frame.
fn bytes_at_least(frontier: &Frontier) -> usize {
    let of = |set: &SeqSet| LINEAGE_BYTES_MIN + INTERVAL_BYTES_MIN * set.interval_count();
    frontier.iter().map(|(_, set)| of(set)).sum()
}

fn first_dot(dots: &Frontier) -> Option<Dot> {
    let (lineage, set) = dots.iter().find(|(_, set)| !set.is_empty())?;
    let (first, _) = set.intervals().next()?;
    Some(Dot { lineage: lineage.clone(), seq: first })
}
