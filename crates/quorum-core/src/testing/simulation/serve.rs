//! The accepting end of a simulated connection: lets members in, applies what they send, answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dial::{IDLE_TIMEOUT, micros};
use super::member::{Member, Served};
use super::network::{Conn, Door, LaneKind, Message};
use super::program::Program;
use super::tasks::{Once, Tasks, until};
use crate::announcement::{Announcement, Occasion};
use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::link::{AckOfLane, HandshakeFault, LinkWord, check_hello};
use crate::ports::{Clock, Incoming, ReplicaStore, Reply};
use crate::query::QuerySource;
use crate::replication::LaneHash;
use crate::version::Lineage;

/// Items handed to the store at once, at most.
const BATCH_ITEMS_MAX: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Takes connections for as long as the member lives.
pub(super) async fn accept<P: Program>(member: Arc<Member<P>>, door: Door, tasks: Tasks) {
    let never = Once::default();
    while let Some(conn) = door.next(&member.clock, &[&never]).await {
        let (member, tasks) = (Arc::clone(&member), tasks.clone());
        tasks.clone().spawn(member.owner(), async move { serve(&member, conn, &tasks).await });
    }
}

async fn serve<P: Program>(member: &Arc<Member<P>>, conn: Arc<Conn>, tasks: &Tasks) {
    let clock = &member.clock;
    let deadline = clock.now() + HANDSHAKE_TIMEOUT;
    let ends = [&conn.over[1]];
    let hello = until(clock, deadline, conn.up(LaneKind::Control).next(clock, &ends)).await;
    let Some(Some(Message::Hello { lineage, announcement })) = hello else {
        return conn.over[1].happen();
    };
    let (name, store) = (lineage.origin.node.clone(), member.program.served());
    let (held, forgotten) = (store.frontier(), store.announcement(&name).forgotten);
    let served = member.serving.lock().get(&name).map(|served| served.lineage.clone());
    if let Err(fault) = check_hello(&lineage, &held, &forgotten, served.as_ref()) {
        let HandshakeFault::Theirs { reason, .. } = fault else { return };
        conn.answer(LaneKind::Control, Message::Goodbye { refusal: Some(reason) });
        return conn.over[1].happen();
    }
    if store.has_failed() {
        return conn.over[1].happen();
    }
    let seated = take_seat(member, &name, &lineage).await;
    store.announced(&lineage, &announcement, Occasion::Hello).await;
    let welcome = Message::Welcome {
        lineage: store.lineage(),
        frontier: store.frontier(),
        announcement: store.announcement(&name),
    };
    if store.has_failed() {
        conn.over[1].happen();
        member.serving.lock().remove(&name);
        return seated.gone.happen();
    }
    conn.answer(LaneKind::Control, welcome);
    if let Some(peer) = member.peer(&name) {
        if peer.link(|link| link.dialled_us(&lineage)) {
            peer.look_at_connection.ring();
        }
        peer.dial_now.ring();
    }
    let lanes: Vec<Arc<Once>> = [LaneKind::Live, LaneKind::CatchUp]
        .into_iter()
        .map(|kind| {
            let ended = Arc::new(Once::default());
            let (member, conn, over) = (Arc::clone(member), Arc::clone(&conn), Arc::clone(&ended));
            let (name, stop) = (name.clone(), Arc::clone(&seated.stop));
            tasks.spawn(member.owner(), async move {
                apply_all(&member, &conn, kind, &name, &stop).await;
                over.happen();
            });
            ended
        })
        .collect();
    let (asked, conn_of_questions) = (Arc::clone(member), Arc::clone(&conn));
    let (asker, stop) = (name.clone(), Arc::clone(&seated.stop));
    tasks.spawn(member.owner(), async move {
        answer_all(&asked, &conn_of_questions, &asker, &stop).await;
    });
    converse(member, &conn, &name, &seated.stop).await;
    conn.answer(LaneKind::Control, Message::Goodbye { refusal: None });
    conn.over[1].happen();
    seated.stop.happen();
    for lane in lanes {
        lane.happened().await;
    }
    member.serving.lock().remove(&name);
    member.snapshot.lock().leave(&name);
    if let Some(peer) = member.peer(&name) {
        peer.link(|link| link.is_wanted_there(Frontier::new()));
        peer.catch_up_ready.ring();
    }
    seated.gone.happen();
}

/// Ends the member's former connection and waits until nothing of it can be applied any more.
async fn take_seat<P: Program>(member: &Member<P>, name: &PeerId, lineage: &Lineage) -> Served {
    loop {
        let former = member.serving.lock().get(name).cloned();
        let Some(former) = former else {
            let served = Served {
                lineage: lineage.clone(),
                stop: Arc::new(Once::default()),
                gone: Arc::new(Once::default()),
            };
            member.serving.lock().insert(name.clone(), served.clone());
            return served;
        };
        former.stop.happen();
        former.gone.happened().await;
    }
}

/// One lane: batches into the store, cumulative acks back. What was begun is finished whatever happens.
async fn apply_all<P: Program>(
    member: &Member<P>,
    conn: &Conn,
    kind: LaneKind,
    from: &PeerId,
    stop: &Once,
) {
    let (mut upto, mut hash) = (0, LaneHash::new());
    let ends = [stop, &conn.over[1]];
    while let Some(Message::Item(one)) = conn.up(kind).next(&member.clock, &ends).await {
        let mut batch: Vec<Incoming> = vec![one];
        while batch.len() < BATCH_ITEMS_MAX
            && let Some(Message::Item(next)) = conn.up(kind).ready(member.clock.now())
        {
            batch.push(next);
        }
        let durable = kind == LaneKind::CatchUp;
        batch.iter_mut().for_each(|item| item.durable = durable);
        batch.iter().for_each(|item| hash.update(item.record.as_deref()));
        let (count, base) = (batch.len() as u64, upto);
        member.history.count("batch");
        member
            .trace
            .event("apply", (conn.number, count), || format!("at {} from {from}", member.name));
        let standing: Vec<(usize, Incoming)> = batch
            .iter()
            .enumerate()
            .filter(|(_, item)| !item.covers.is_empty() && !item.void)
            .map(|(place, item)| (place, item.clone()))
            .collect();
        let applied = member.program.served().apply(from, batch).await;
        for (place, item) in standing {
            let is_taken =
                matches!(applied.replies[place], Reply::Stored | Reply::Superseded { .. });
            if is_taken && applied.synced {
                member.history.took(&member.name, &item, |key| member.current(key));
            }
        }
        if kind == LaneKind::CatchUp {
            member.snapshot.lock().gets_on(from, member.clock.now());
        }
        upto += count;
        let exceptions = applied.replies.into_iter().zip(base + 1..);
        let exceptions = exceptions.filter(|(reply, _)| *reply != Reply::Stored);
        let exceptions = exceptions.map(|(reply, number)| (number, reply)).collect();
        let ack = AckOfLane { upto, hash: hash.value(), exceptions };
        conn.answer(kind, Message::Ack { ack, synced: applied.synced });
    }
}

async fn answer_all<P: Program>(member: &Member<P>, conn: &Conn, from: &PeerId, stop: &Once) {
    let ends = [stop, &conn.over[1]];
    while let Some(Message::Ask { number, question }) =
        conn.up(LaneKind::Query).next(&member.clock, &ends).await
    {
        if question.compares() {
            member.snapshot.lock().gets_on(from, member.clock.now());
        }
        let answer = member.program.served().answer(from, question).await;
        conn.answer(LaneKind::Query, Message::Answered { number, answer });
    }
}

/// The control lane, until the connection is over or nothing comes any more.
async fn converse<P: Program>(member: &Member<P>, conn: &Conn, name: &PeerId, stop: &Once) {
    let (mut told, mut announced): (Frontier, Option<Announcement>) = (Frontier::new(), None);
    let (clock, store) = (&member.clock, member.program.served());
    let ends = [stop, &conn.over[1]];
    loop {
        let silent_at: Instant = clock.now() + IDLE_TIMEOUT;
        let word = until(clock, silent_at, conn.up(LaneKind::Control).next(clock, &ends)).await;
        match word {
            Some(Some(Message::Probe { sent_micros })) => {
                let received_micros = micros(clock.wall());
                let reply = Message::ProbeReply {
                    sent_micros,
                    received_micros,
                    answered_micros: micros(clock.wall()),
                    frontier: told.advance_to(store.frontier()),
                    announcement: news(&mut announced, store.announcement(name)),
                };
                if store.has_failed() {
                    return;
                }
                conn.answer(LaneKind::Control, reply);
            }
            Some(Some(Message::Word(LinkWord::Want(dots)))) => {
                if let Some(peer) = member.peer(name) {
                    peer.link(|link| link.is_wanted_there(dots));
                    peer.catch_up_ready.ring();
                }
            }
            Some(Some(Message::Word(LinkWord::MaySnapshot))) => {
                let granted = member.snapshot.lock().take(name, clock.now());
                conn.answer(LaneKind::Control, Message::Snapshot { granted });
            }
            Some(Some(Message::Word(LinkWord::SnapshotDone))) => {
                member.snapshot.lock().leave(name);
            }
            Some(Some(Message::Goodbye { refusal })) => return member.hear_refusal(refusal),
            _ => return,
        }
    }
}

/// What is to be told: only what differs from what was told last.
fn news<T: Clone + PartialEq>(told: &mut Option<T>, now: T) -> Option<T> {
    if told.as_ref() == Some(&now) {
        return None;
    }
    *told = Some(now.clone());
    Some(now)
}
