//! The dialling end of a simulated connection: shakes hands, sends what is owed, hears what is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::member::Member;
use super::network::{Conn, LaneKind, Message};
use super::peer::Peer;
use super::program::Program;
use super::tasks::{Bell, first, until};
use crate::announcement::{Announcement, Occasion};
use crate::clock::skew::SkewProbe;
use crate::frontier::Frontier;
use crate::link::{
    CatchUp, CatchUpLane, FrameSize, HandshakeFault, Ledger, LedgerError, Link, LinkWord, Sent,
    check_welcome,
};
use crate::observe::HandshakeRefusal;
use crate::ports::{Clock, Incoming, ReplicaStore};
use crate::query::{Answer, Question};
use crate::replication::rolled_back;
use crate::version::{Dot, Lineage, Origin};

const DIAL_TIMEOUT: Duration = Duration::from_millis(500);
const REDIAL_MIN: Duration = Duration::from_millis(20);
const REDIAL_MAX: Duration = Duration::from_millis(500);
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Small, so that runs reach it.
const CHUNK_BYTES: usize = 512;
const ITEMS_UNANSWERED: usize = 64;
const IDLE: Duration = Duration::from_millis(500);
/// It grows to 64 times that, which must be over soon after all is healed.
const SNAPSHOT_PAUSE_MIN: Duration = Duration::from_millis(250);
const WRITE_BYTES: usize = 128 << 10;

/// The connection is over.
struct Over;

/// Keeps the link to one peer up for as long as the member lives.
pub(super) async fn keep_link<P: Program>(member: Arc<Member<P>>, peer: Arc<Peer>) {
    let clock = &member.clock;
    let mut attempt: u32 = 0;
    loop {
        let began = clock.now();
        let was_up = session(&member, &peer).await;
        peer.disconnected(clock.now());
        if was_up && clock.now().saturating_duration_since(began) > REDIAL_MAX {
            attempt = 0;
        }
        let full = REDIAL_MIN.saturating_mul(1 << attempt.min(20)).min(REDIAL_MAX);
        let pause = member.random.between(full / 2, full);
        attempt = attempt.saturating_add(1);
        let heard = until(clock, clock.now() + pause, peer.dial_now.heard()).await;
        if heard.is_some() {
            attempt = 0;
            clock.sleep_until(clock.now() + REDIAL_MIN / 2).await;
        }
    }
}

/// One connection, from the first packet to its end. Tells whether it was up.
async fn session<P: Program>(member: &Arc<Member<P>>, peer: &Peer) -> bool {
    let clock = &member.clock;
    let conn = member.net.connect(member.index, peer.index);
    let deadline = clock.now() + 4 * DIAL_TIMEOUT;
    let greeted = until(clock, deadline, greet(member, peer, &conn)).await;
    let Some(Ok((ours, theirs))) = greeted else {
        conn.over[0].happen();
        return false;
    };
    member.trace.event("link up", (member.index as u64, peer.index as u64), || {
        format!("{} -> {} ({conn:?})", member.name, peer.name)
    });
    peer.questions.open();
    let (live, late) = (Lane::default(), Lane::default());
    let paced = CatchUpOf { lane: late.clone(), peer, conn: &conn, member: &**member };
    let (acks, late_acks) = (
        hear_acks(member, peer, (&conn, &theirs), LaneKind::Live, &live),
        hear_acks(member, peer, (&conn, &theirs), LaneKind::CatchUp, &late),
    );
    let _over: Over = first(vec![
        Box::pin(acks),
        Box::pin(late_acks),
        Box::pin(send_live(member, peer, &conn, live.clone())),
        Box::pin(catch_up(member, peer, paced)),
        Box::pin(ask(member, peer, &conn)),
        Box::pin(converse(member, peer, &conn, &theirs)),
        Box::pin(until_stale(member, peer, &ours)),
        Box::pin(async {
            conn.over[0].happened().await;
            Over
        }),
    ])
    .await;
    conn.say(LaneKind::Control, Message::Goodbye { refusal: None });
    conn.over[0].happen();
    true
}

async fn greet<P: Program>(
    member: &Arc<Member<P>>,
    peer: &Peer,
    conn: &Conn,
) -> Result<(Lineage, Lineage), Over> {
    let store = member.program.served();
    if store.has_failed() {
        return Err(Over);
    }
    let ours = store.lineage();
    let announcement = store.announcement(&peer.name);
    conn.say(LaneKind::Control, Message::Hello { lineage: ours.clone(), announcement });
    let heard = conn.down(LaneKind::Control).next(&member.clock, &[&conn.over[0]]).await;
    let (lineage, frontier, announcement) = match heard {
        Some(Message::Welcome { lineage, frontier, announcement }) => {
            (lineage, frontier, announcement)
        }
        Some(Message::Goodbye { refusal }) => {
            member.hear_refusal(refusal);
            return Err(Over);
        }
        _ => return Err(Over),
    };
    let (held, forgotten) = (store.frontier(), store.announcement(&peer.name).forgotten);
    let once_said_more = peer.link(|link| link.once_said_more(&lineage, &frontier));
    match check_welcome(&lineage, &frontier, (&ours, &held), &forgotten, once_said_more) {
        Ok(()) => {}
        Err(HandshakeFault::Theirs { reason, .. }) => {
            conn.say(LaneKind::Control, Message::Goodbye { refusal: Some(reason) });
            return Err(Over);
        }
        Err(HandshakeFault::OursIsRolledBack) => {
            member.hear_refusal(Some(HandshakeRefusal::RolledBack));
            return Err(Over);
        }
    }
    heard_announcement(member, peer, &lineage, announcement).await?;
    let now = member.clock.now();
    let rings = peer.link(|link| link.connected(now, lineage.clone(), frontier));
    peer.ring(rings);
    peer.news.ring();
    Ok((ours, lineage))
}

/// Lets the store draw its conclusions first: whether the peer's acks count may depend on them.
async fn heard_announcement<P: Program>(
    member: &Member<P>,
    peer: &Peer,
    from: &Lineage,
    said: Announcement,
) -> Result<(), Over> {
    let store = member.program.served();
    store.announced(from, &said, Occasion::Answer).await;
    if store.has_failed() {
        return Err(Over);
    }
    peer.ring(peer.link(|link| link.announced(said)));
    Ok(())
}

async fn until_stale<P: Program>(member: &Member<P>, peer: &Peer, ours: &Lineage) -> Over {
    while !peer.link(|link| link.is_stale()) && member.program.served().lineage() == *ours {
        peer.look_at_connection.heard().await;
    }
    Over
}

/// A lane on which records go out.
#[derive(Clone, Default)]
struct Lane {
    ledger: Arc<Mutex<Ledger>>,
    answered: Arc<Bell>,
    untaken: Arc<AtomicU64>,
}

impl Lane {
    fn send(&self, conn: &Conn, kind: LaneKind, item: Incoming, handed_over: Instant) {
        self.ledger.lock().push(Sent { item: item.clone(), handed_over, note: () });
        conn.say(kind, Message::Item(item));
    }

    async fn until_unanswered_at_most(&self, items: usize) {
        while self.ledger.lock().unanswered() > items {
            self.answered.heard().await;
        }
    }
}

async fn hear_acks<P: Program>(
    member: &Member<P>,
    peer: &Peer,
    (conn, theirs): (&Conn, &Lineage),
    kind: LaneKind,
    lane: &Lane,
) -> Over {
    let ends = [&conn.over[0]];
    while let Some(Message::Ack { ack, synced }) = conn.down(kind).next(&member.clock, &ends).await
    {
        let now = member.clock.now();
        let settled: Result<_, LedgerError> = lane.ledger.lock().settle(ack);
        let Ok(settled) = settled else {
            member.history.violation("acks", "an ack does not fit what was sent".into());
            return Over;
        };
        member.history.speaks(&member.name, &theirs.origin);
        for (sent, reply) in settled {
            if !peer.answered(&sent.item, &reply, synced, now) {
                lane.untaken.fetch_add(1, Ordering::Relaxed);
            }
        }
        lane.answered.ring();
    }
    Over
}

async fn send_live<P: Program>(member: &Member<P>, peer: &Peer, conn: &Conn, lane: Lane) -> Over {
    loop {
        let mut taken = peer.link(|link| link.take_live(FrameSize::Small, WRITE_BYTES));
        taken.extend(peer.link(|link| link.take_live(FrameSize::Large, WRITE_BYTES)));
        if taken.is_empty() {
            peer.live_ready.heard().await;
        }
        for queued in taken {
            member.trace.event("send", (conn.number, 1), || {
                format!("{:?}", queued.item.record.as_ref().map(|r| r.dot.to_string()))
            });
            lane.send(conn, LaneKind::Live, queued.item, queued.handed_over);
        }
    }
}

async fn catch_up<P: Program>(member: &Member<P>, peer: &Peer, lane: CatchUpOf<'_, P>) -> Over {
    let (store, clock) = (member.program.served(), &member.clock);
    let mut catch_up =
        CatchUp::new(lane, &peer.name, store, clock, CHUNK_BYTES, SNAPSHOT_PAUSE_MIN);
    let mut held = store.frontier();
    loop {
        let Ok(sent_any) = catch_up.round(&held).await;
        if !sent_any {
            held = store.frontier();
            let now = clock.now();
            let look_again = peer.link(|link| link.look_again(now, now + IDLE));
            let _early = until(clock, look_again, peer.catch_up_ready.heard()).await;
        }
    }
}

/// The catch-up lane, as the real procedure drives it.
struct CatchUpOf<'a, P: Program> {
    lane: Lane,
    peer: &'a Peer,
    conn: &'a Conn,
    member: &'a Member<P>,
}

impl<P: Program> CatchUpLane for CatchUpOf<'_, P> {
    type Error = std::convert::Infallible;

    fn owed(&mut self, us: &Origin, held: &Frontier, now: Instant) -> Frontier {
        let (owed, rings) = self.peer.link(|link| link.owed(us, held, now));
        self.peer.ring(rings);
        owed
    }

    fn has(&self, dot: &Dot) -> bool {
        self.peer.link(|link| link.has(dot))
    }

    fn holds_anything(&self) -> bool {
        self.peer.link(|link| link.within_reach().is_some_and(|held| !held.is_empty()))
    }

    async fn send(&mut self, items: Vec<Incoming>) -> Result<(), Self::Error> {
        let now = self.member.clock.now();
        for item in items {
            self.member.history.carried(&self.member.name, &item);
            self.peer.link(|link| link.under_way(&item));
            self.member.trace.event("catch up", (self.conn.number, 2), || {
                format!(
                    "{} -> {}: {:?} {:?}",
                    self.member.name,
                    self.peer.name,
                    item.record.as_ref().map(|r| r.dot.to_string()),
                    item.covers
                )
            });
            self.lane.send(self.conn, LaneKind::CatchUp, item, now);
        }
        self.lane.until_unanswered_at_most(ITEMS_UNANSWERED).await;
        Ok(())
    }

    async fn all_answered(&mut self) {
        self.lane.until_unanswered_at_most(0).await;
    }

    fn untaken(&self) -> u64 {
        self.lane.untaken.load(Ordering::Relaxed)
    }

    async fn ask(&self, question: Question) -> Answer {
        let deadline = self.member.clock.now() + IDLE_TIMEOUT;
        self.peer.ask_one(question, deadline, &self.member.clock).await
    }

    async fn may_snapshot(&self) -> bool {
        self.peer.link(Link::ask_for_snapshot);
        self.peer.to_say.ring();
        loop {
            match self.peer.link(|link| link.snapshot_answer()) {
                Some(granted) => return granted,
                None => self.peer.snapshot_answered.heard().await,
            }
        }
    }

    fn snapshot_done(&self) {
        self.peer.link(Link::snapshot_done);
        self.peer.to_say.ring();
    }

    fn comparing(&self, _lineage: &Lineage) {
        self.member.history.count("snapshot");
        self.member.trace.event("snapshot", (self.conn.number, 0), || &self.peer.name);
    }
}

async fn ask<P: Program>(member: &Member<P>, peer: &Peer, conn: &Conn) -> Over {
    let asking = async {
        loop {
            while let Some((number, question)) = peer.questions.take() {
                conn.say(LaneKind::Query, Message::Ask { number, question });
            }
            peer.questions.ready.heard().await;
        }
    };
    let hearing = async {
        let ends = [&conn.over[0]];
        while let Some(Message::Answered { number, answer }) =
            conn.down(LaneKind::Query).next(&member.clock, &ends).await
        {
            peer.questions.answered(number, answer, member.clock.now());
        }
        Over
    };
    first(vec![Box::pin(hearing), Box::pin(asking)]).await
}

/// Asks the peer for its clock and its frontier, again and again, and says what else there is to say.
async fn converse<P: Program>(
    member: &Member<P>,
    peer: &Peer,
    conn: &Conn,
    theirs: &Lineage,
) -> Over {
    let clock = &member.clock;
    let mut probe_at = clock.now();
    let mut sent_at: Option<Instant> = None;
    let ends = [&conn.over[0]];
    loop {
        while let Some(word) = peer.link(Link::next_word) {
            if let LinkWord::Want(dots) = &word {
                member.trace.event("want", (conn.number, dots.len()), || &peer.name);
            }
            conn.say(LaneKind::Control, Message::Word(word));
        }
        let wake_at = sent_at.map_or(probe_at, |sent_at| sent_at + IDLE_TIMEOUT);
        enum Next {
            Heard(Box<Option<Message>>),
            ToSay,
            Time,
        }
        let next = first(vec![
            Box::pin(async {
                Next::Heard(Box::new(conn.down(LaneKind::Control).next(clock, &ends).await))
            }),
            Box::pin(async {
                peer.to_say.heard().await;
                Next::ToSay
            }),
            Box::pin(async {
                clock.sleep_until(wake_at).await;
                Next::Time
            }),
        ])
        .await;
        let heard = match next {
            Next::ToSay => continue,
            Next::Time if sent_at.is_some() => return Over,
            Next::Time => {
                let sent_micros = micros(clock.wall());
                conn.say(LaneKind::Control, Message::Probe { sent_micros });
                sent_at = Some(clock.now());
                continue;
            }
            Next::Heard(heard) => *heard,
        };
        match heard {
            Some(Message::Snapshot { granted }) => {
                peer.link(|link| link.snapshot_is(granted));
                peer.snapshot_answered.ring();
            }
            Some(Message::Goodbye { refusal }) => {
                member.hear_refusal(refusal);
                return Over;
            }
            Some(reply @ Message::ProbeReply { .. }) => {
                let Some(sent_at) = sent_at.take() else { return Over };
                if let Err(over) = probed(member, peer, reply, sent_at, theirs).await {
                    return over;
                }
                let counts = peer.link(|link| link.counts()) != Some(false);
                probe_at = clock.now() + if counts { PROBE_INTERVAL } else { PROBE_INTERVAL / 10 };
            }
            _ => return Over,
        }
    }
}

async fn probed<P: Program>(
    member: &Member<P>,
    peer: &Peer,
    reply: Message,
    sent_at: Instant,
    theirs: &Lineage,
) -> Result<(), Over> {
    let Message::ProbeReply {
        sent_micros,
        received_micros,
        answered_micros,
        frontier,
        announcement,
    } = reply
    else {
        return Ok(());
    };
    let (wall, now) = (member.clock.wall(), member.clock.now());
    let returned_micros = micros(wall);
    let probe = SkewProbe { sent_micros, received_micros, answered_micros, returned_micros };
    if probe.is_steady(now.saturating_duration_since(sent_at)) {
        *peer.offset.lock() = Some((probe.offset(), (now, wall)));
    }
    let ours = member.program.served().lineage();
    if frontier.as_ref().is_some_and(|more| rolled_back(&ours, more)) {
        member.hear_refusal(Some(HandshakeRefusal::RolledBack));
        return Err(Over);
    }
    peer.ring(peer.link(|link| link.reported(frontier.as_ref())));
    // The peer may have begun another life since it welcomed us; this is the word of the former one.
    let is_over =
        peer.link(|link| link.view().lineage.is_none_or(|now| now.origin != theirs.origin));
    if is_over {
        return Ok(());
    }
    if let Some(said) = announcement {
        heard_announcement(member, peer, theirs, said).await?;
    }
    peer.link(|link| link.heard_out(sent_at));
    Ok(())
}

pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
