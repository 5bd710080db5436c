//! The network between simulated members: connections of ordered lanes over paths that delay, lose and are cut.
//!
//! A lane behaves as a QUIC stream does. What is lost is sent again, so loss is delay, until the connection is given up;
//! lanes overtake each other, and so do connections; what was in flight when a connection ends is gone, and arrives a
//! second time when its sender sends it again on the next one.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::rng::SeededRandom;
use super::tasks::Once;
use crate::announcement::Announcement;
use crate::frontier::Frontier;
use crate::link::{AckOfLane, LinkWord};
use crate::observe::HandshakeRefusal;
use crate::ports::{Clock, Incoming, Sleep};
use crate::query::{Answer, Question};
use crate::testing::ManualClock;
use crate::version::Lineage;

/// First wait before something lost is sent again; it doubles.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(60);
/// Nothing is sent again for longer.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(12);

/// What travels on a lane.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Hello {
        lineage: Lineage,
        announcement: Announcement,
    },
    Welcome {
        lineage: Lineage,
        frontier: Frontier,
        announcement: Announcement,
    },
    Probe {
        sent_micros: u64,
    },
    ProbeReply {
        sent_micros: u64,
        received_micros: u64,
        answered_micros: u64,
        frontier: Option<Frontier>,
        announcement: Option<Announcement>,
    },
    Word(LinkWord),
    Snapshot {
        granted: bool,
    },
    Item(Incoming),
    Ack {
        ack: AckOfLane,
        synced: bool,
    },
    Ask {
        number: u64,
        question: Question,
    },
    Answered {
        number: u64,
        answer: Answer,
    },
    Goodbye {
        refusal: Option<HandshakeRefusal>,
    },
}

/// The lanes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneKind {
    Control = 0,
    Live = 1,
    CatchUp = 2,
    Query = 3,
}

/// One direction of one lane.
pub(super) struct Pipe<T> {
    state: Mutex<PipeState<T>>,
}

struct PipeState<T> {
    queue: VecDeque<(Instant, T)>,
    last: Option<Instant>,
    waker: Option<Waker>,
}

impl<T> Default for Pipe<T> {
    fn default() -> Self {
        let state = PipeState { queue: VecDeque::new(), last: None, waker: None };
        Self { state: Mutex::new(state) }
    }
}

impl<T: Send> Pipe<T> {
    /// Something arrives at that time, behind everything before it.
    pub(super) fn push(&self, arrives: Instant, what: T) {
        let mut state = self.state.lock();
        let arrives = state.last.map_or(arrives, |last| arrives.max(last));
        state.last = Some(arrives);
        state.queue.push_back((arrives, what));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Something arrives at that time, before whatever arrives later: for what comes on ways of its own.
    fn push_unordered(&self, arrives: Instant, what: T) {
        let mut state = self.state.lock();
        let place = state.queue.partition_point(|(at, _)| *at <= arrives);
        state.queue.insert(place, (arrives, what));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What has arrived by now, without waiting.
    pub(super) fn ready(&self, now: Instant) -> Option<T> {
        let mut state = self.state.lock();
        let has_arrived = state.queue.front().is_some_and(|(arrives, _)| *arrives <= now);
        if has_arrived { state.queue.pop_front().map(|(_, what)| what) } else { None }
    }

    /// The next thing to arrive; nothing once one of `ends` has happened.
    ///
    /// Dropped halfway, nothing is lost.
    pub(super) fn next<'a>(
        &'a self,
        clock: &'a dyn Clock,
        ends: &'a [&'a Once],
    ) -> impl Future<Output = Option<T>> + Send + 'a {
        let mut sleep: Option<(Instant, Sleep)> = None;
        let mut ended: Vec<_> = ends.iter().map(|end| Box::pin(end.happened())).collect();
        poll_fn(move |context| {
            if ended.iter_mut().any(|end| end.as_mut().poll(context).is_ready()) {
                return Poll::Ready(None);
            }
            loop {
                let mut state = self.state.lock();
                let front = state.queue.front().map(|(arrives, _)| *arrives);
                if front.is_some_and(|arrives| arrives <= clock.now()) {
                    return Poll::Ready(state.queue.pop_front().map(|(_, what)| what));
                }
                state.waker = Some(context.waker().clone());
                let Some(arrives) = front else { return Poll::Pending };
                drop(state);
                if sleep.as_ref().is_none_or(|(at, _)| *at != arrives) {
                    sleep = Some((arrives, clock.sleep_until(arrives)));
                }
                let Some((_, waiting)) = &mut sleep else { return Poll::Pending };
                if waiting.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                sleep = None;
            }
        })
    }
}

/// A connection between two members, as both of its ends share it.
pub(super) struct Conn {
    pub(super) number: u64,
    pub(super) dialler: usize,
    pub(super) server: usize,
    up: [Pipe<Message>; 4],
    down: [Pipe<Message>; 4],
    /// The end of the dialler knows that it is over; that of the server does.
    pub(super) over: [Once; 2],
    net: Arc<Net>,
}

impl fmt::Debug for Conn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "#{} {}->{}", self.number, self.dialler, self.server)
    }
}

impl Conn {
    /// The dialler says something.
    pub(super) fn say(&self, lane: LaneKind, message: Message) {
        let arrives = self.net.arrival_at_last(self.dialler, self.server);
        self.up[lane as usize].push(arrives, message);
    }

    /// The server says something.
    pub(super) fn answer(&self, lane: LaneKind, message: Message) {
        let arrives = self.net.arrival_at_last(self.server, self.dialler);
        self.down[lane as usize].push(arrives, message);
    }

    /// What the server hears.
    pub(super) const fn up(&self, lane: LaneKind) -> &Pipe<Message> {
        &self.up[lane as usize]
    }

    /// What the dialler hears.
    pub(super) const fn down(&self, lane: LaneKind) -> &Pipe<Message> {
        &self.down[lane as usize]
    }

    /// Both ends learn at once that the connection is over.
    pub(super) fn reset(&self) {
        self.over.iter().for_each(Once::happen);
    }
}

/// Where connections arrive at a member.
pub(super) type Door = Arc<Pipe<Arc<Conn>>>;

/// The paths between all members.
pub(super) struct Net {
    clock: ManualClock,
    random: SeededRandom,
    state: Mutex<NetState>,
}

struct NetState {
    /// Until when the way from one member to another is cut.
    cut_until: Vec<Vec<Option<Instant>>>,
    /// Shortest and longest time on the way.
    latency: Vec<Vec<(Duration, Duration)>>,
    loss_per_mille: u64,
    doors: Vec<Option<Door>>,
    connections: Vec<Weak<Conn>>,
    last_number: u64,
}

impl Net {
    pub(super) fn new(
        clock: ManualClock,
        random: SeededRandom,
        members: usize,
        latency: (Duration, Duration),
    ) -> Self {
        let state = NetState {
            cut_until: vec![vec![None; members]; members],
            latency: vec![vec![latency; members]; members],
            loss_per_mille: 0,
            doors: vec![None; members],
            connections: Vec::new(),
            last_number: 0,
        };
        Self { clock, random, state: Mutex::new(state) }
    }

    /// As [`arrival`](Self::arrival), but late rather than never: by then the connection has been given up, unless all was
    /// healed meanwhile.
    fn arrival_at_last(&self, from: usize, to: usize) -> Instant {
        self.arrival(from, to).unwrap_or_else(|| self.clock.now() + GIVEN_UP_AFTER)
    }

    /// When something that is sent now arrives, if it ever does.
    fn arrival(&self, from: usize, to: usize) -> Option<Instant> {
        let now = self.clock.now();
        let state = self.state.lock();
        let cut_until = state.cut_until[from][to];
        let (mut at, mut wait) = (now, RETRANSMIT_AFTER);
        loop {
            let is_cut = cut_until.is_some_and(|until| at < until);
            if !is_cut && !self.random.happens(state.loss_per_mille) {
                let (shortest, longest) = state.latency[from][to];
                return Some(at + self.random.between(shortest, longest));
            }
            at += wait;
            wait = wait.saturating_mul(2).min(Duration::from_secs(2));
            if at.saturating_duration_since(now) > GIVEN_UP_AFTER {
                return None;
            }
        }
    }

    /// Opens a door: connections that are made from now on arrive there.
    pub(super) fn open_door(&self, member: usize) -> Door {
        let door = Door::default();
        self.state.lock().doors[member] = Some(Arc::clone(&door));
        door
    }

    pub(super) fn close_door(&self, member: usize) {
        self.state.lock().doors[member] = None;
    }

    /// Begins a connection. It reaches nobody if the way is cut or nobody is there.
    pub(super) fn connect(self: &Arc<Self>, dialler: usize, server: usize) -> Arc<Conn> {
        let arrives = self.arrival(dialler, server);
        let mut state = self.state.lock();
        state.last_number += 1;
        let connection = Arc::new(Conn {
            number: state.last_number,
            dialler,
            server,
            up: Default::default(),
            down: Default::default(),
            over: Default::default(),
            net: Arc::clone(self),
        });
        state.connections.retain(|connection| connection.strong_count() > 0);
        state.connections.push(Arc::downgrade(&connection));
        if let Some((door, arrives)) = state.doors[server].as_ref().zip(arrives) {
            door.push_unordered(arrives, Arc::clone(&connection));
        }
        connection
    }

    /// Every connection that somebody still holds, in the order in which they were made.
    pub(super) fn connections(&self) -> Vec<Arc<Conn>> {
        self.state.lock().connections.iter().filter_map(Weak::upgrade).collect()
    }

    /// Cuts the way from one member to another, in this direction only.
    pub(super) fn cut(&self, from: usize, to: usize, until: Instant) {
        let mut state = self.state.lock();
        let place = &mut state.cut_until[from][to];
        *place = (*place).max(Some(until));
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.state.lock().cut_until[from][to].is_some_and(|until| self.clock.now() < until)
    }

    pub(super) fn set_latency(&self, from: usize, to: usize, latency: (Duration, Duration)) {
        self.state.lock().latency[from][to] = latency;
    }

    pub(super) fn set_loss(&self, per_mille: u64) {
        self.state.lock().loss_per_mille = per_mille;
    }

    /// Everything is well again.
    pub(super) fn heal(&self, latency: (Duration, Duration)) {
        let mut state = self.state.lock();
        state.cut_until.iter_mut().flatten().for_each(|until| *until = None);
        state.latency.iter_mut().flatten().for_each(|place| *place = latency);
        state.loss_per_mille = 0;
    }
}
