//! One inbound connection: who is it, may it, and then its streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{Connection, Incoming, RecvStream, SendStream};
use quorum_core::{HandshakeRefusal, Lineage, LogSource, PeerId, ReplicaStore, rolled_back};
use rustls_pki_types::CertificateDer;
use tokio_util::task::TaskTracker;

use crate::clock::within;
use crate::close;
use crate::error::TransportError;
use crate::frames::FrameReader;
use crate::link::dial::{hear, micros, say};
use crate::server::accept::Server;
use crate::server::lane;
use crate::wire::message::{Control, Hello};

/// How long the work of a replaced connection may take to end.
const FENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// A member's connection, so that a newer one can end it.
pub(crate) struct Served {
    connection: Connection,
    lineage: Lineage,
    /// Everything that may still apply records of this connection.
    work: TaskTracker,
}

/// An admitted member.
struct Guest {
    name: PeerId,
    lineage: Lineage,
    connection: Connection,
    control: SendStream,
    requests: FrameReader,
    work: TaskTracker,
}

/// Serves one connection from its first packet to its end.
pub(crate) async fn serve<S: ReplicaStore + LogSource>(server: Arc<Server<S>>, incoming: Incoming) {
    let from = incoming.remote_address().to_string();
    let limit = server.config.handshake_timeout;
    let admitted = within(&*server.seams.clock, limit, admit(&server, incoming)).await;
    server.handshakes.fetch_sub(1, Ordering::Relaxed);
    let guest = match admitted.unwrap_or(Err(TransportError::TimedOut(limit))) {
        Ok(guest) => guest,
        Err(error) => return server.handshake_failed(&from, &error),
    };
    let (name, connection, work) =
        (guest.name.clone(), guest.connection.clone(), guest.work.clone());
    tracing::debug!(peer = %name, from, "serving");
    let outcome = tokio::select! {
        outcome = streams(&server, guest) => outcome,
        () = server.stop.cancelled() => Ok(()),
    };
    match &outcome {
        Err(TransportError::Protocol(detail)) => {
            server.refused(HandshakeRefusal::Protocol, &format!("{name}: {detail}"));
            connection.close(close::code_of(HandshakeRefusal::Protocol), detail.as_bytes());
        }
        _ => connection.close(close::GOODBYE, b"goodbye"),
    }
    work.close();
    work.wait().await;
    let mut serving = server.serving.lock();
    if serving
        .get(&name)
        .is_some_and(|served| served.connection.stable_id() == connection.stable_id())
    {
        serving.remove(&name);
    }
}

async fn admit<S: ReplicaStore + LogSource>(
    server: &Arc<Server<S>>,
    incoming: Incoming,
) -> Result<Guest, TransportError> {
    let connection = incoming.await.map_err(|error| close::explain(&error))?;
    let outcome = welcome(server, &connection).await;
    outcome.map_err(|error| {
        if let Some(cause) = connection.close_reason() {
            return close::explain(&cause);
        }
        if let TransportError::Refused { reason, detail } = &error {
            connection.close(close::code_of(*reason), detail.as_bytes());
        } else {
            connection
                .close(close::code_of(HandshakeRefusal::Protocol), error.to_string().as_bytes());
        }
        error
    })
}

async fn welcome<S: ReplicaStore + LogSource>(
    server: &Arc<Server<S>>,
    connection: &Connection,
) -> Result<Guest, TransportError> {
    let name = authenticated(server, connection)?;
    let (mut control, requests) =
        connection.accept_bi().await.map_err(|error| close::explain(&error))?;
    let mut requests = FrameReader::new(requests, server.config.frame_bytes_max);
    let hello: Hello = hear(&mut requests).await?;
    check(server, &name, &hello)?;
    let work = TaskTracker::new();
    replace(server, &name, &hello, connection, &work).await?;
    let welcome =
        Control::Welcome { lineage: server.store.lineage(), frontier: server.store.frontier() };
    say(&mut control, &welcome).await?;
    if let Some(peer) = server.peers.get(&name) {
        peer.dial_now.notify_one();
    }
    let connection = connection.clone();
    Ok(Guest { name, lineage: hello.lineage, connection, control, requests, work })
}

/// The member whose name the peer's certificate carries.
fn authenticated<S>(server: &Server<S>, connection: &Connection) -> Result<PeerId, TransportError> {
    let chain = connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let Some(leaf) = chain.as_ref().and_then(|chain| chain.first()) else {
        return Err(TransportError::refused(HandshakeRefusal::Stranger, "no certificate"));
    };
    let name = server.roster.member_named_in(leaf);
    let Some(name) = name.filter(|name| name != server.roster.local()) else {
        let names = crate::identity::names_in(leaf).join(", ");
        let detail = format!("certificate for [{names}] names no other member");
        return Err(TransportError::refused(HandshakeRefusal::NotAMember, detail));
    };
    Ok(name)
}

/// Whether the Hello fits the certificate, this mesh, and what is remembered of the member.
fn check<S: ReplicaStore>(
    server: &Server<S>,
    name: &PeerId,
    hello: &Hello,
) -> Result<(), TransportError> {
    let refuse = |reason, detail: String| Err(TransportError::refused(reason, detail));
    if hello.node != *name || hello.lineage.origin.node != *name {
        let detail = format!("certificate is for {name}, hello says {}", hello.node);
        return refuse(HandshakeRefusal::WrongName, detail);
    }
    if hello.cluster != server.roster.cluster() {
        return refuse(
            HandshakeRefusal::WrongCluster,
            format!("{name} belongs to cluster {}", hello.cluster),
        );
    }
    if hello.to != *server.roster.local() {
        let detail = format!("{name} looks for {}, this is {}", hello.to, server.roster.local());
        return refuse(HandshakeRefusal::WrongName, detail);
    }
    if hello.members != server.roster.digest() {
        return refuse(HandshakeRefusal::MembersDiffer, format!("{name} has another member list"));
    }
    let older = server.serving.lock().get(name).is_some_and(|served| {
        served.lineage.origin == hello.lineage.origin && served.lineage.epoch > hello.lineage.epoch
    });
    if older || rolled_back(&hello.lineage, &server.store.frontier()) {
        let detail =
            format!("{name} says epoch {}, a later one is remembered", hello.lineage.epoch);
        return refuse(HandshakeRefusal::RolledBack, detail);
    }
    Ok(())
}

/// Ends the member's former connection, and waits until nothing of it can be applied any more: what is welcomed
/// afterwards may rely on it.
async fn replace<S>(
    server: &Server<S>,
    name: &PeerId,
    hello: &Hello,
    connection: &Connection,
    work: &TaskTracker,
) -> Result<(), TransportError> {
    let served = Served {
        connection: connection.clone(),
        lineage: hello.lineage.clone(),
        work: work.clone(),
    };
    let former = server.serving.lock().insert(name.clone(), served);
    if let Some(former) = former {
        former.connection.close(close::GOODBYE, b"replaced by a newer connection");
        former.work.close();
        let ended = within(&*server.seams.clock, FENCE_TIMEOUT, former.work.wait()).await;
        ended.ok_or_else(|| {
            TransportError::refused(
                HandshakeRefusal::Overload,
                "the former connection is still at work",
            )
        })?;
    }
    Ok(())
}

/// The lanes and the control stream of a member, until one of them breaks.
async fn streams<S: ReplicaStore + LogSource>(
    server: &Arc<Server<S>>,
    guest: Guest,
) -> Result<(), TransportError> {
    let Guest { name, lineage, connection, control, requests, work } = guest;
    let lanes = async {
        let mut lanes = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                opened = connection.accept_bi() => {
                    let (send, receive) = opened.map_err(|error| close::explain(&error))?;
                    let receive: RecvStream = receive;
                    let frames = FrameReader::new(receive, server.config.frame_bytes_max);
                    let lane = lane::Lane {
                        from: name.clone(),
                        lineage: lineage.clone(),
                        frames,
                        acks: send,
                        batch_bytes_max: server.config.batch_bytes_max,
                    };
                    let store = Arc::clone(&server.store);
                    lanes.spawn(work.track_future(async move { lane.run(&*store).await }));
                }
                Some(ended) = lanes.join_next() => {
                    ended.map_err(|error| TransportError::Lost(error.to_string()))??;
                }
            }
        }
    };
    tokio::select! {
        outcome = lanes => outcome,
        outcome = answer(server, control, requests) => outcome,
    }
}

/// Answers probes.
async fn answer<S: ReplicaStore>(
    server: &Server<S>,
    mut control: SendStream,
    mut requests: FrameReader,
) -> Result<(), TransportError> {
    let clock = &server.seams.clock;
    let mut told = None;
    loop {
        let Control::Probe { sent_micros } = hear(&mut requests).await? else {
            return Err(TransportError::Protocol("expected a probe".into()));
        };
        let received_micros = micros(clock.wall());
        let frontier = server.store.frontier();
        let frontier = (told.as_ref() != Some(&frontier)).then_some(frontier);
        if frontier.is_some() {
            told.clone_from(&frontier);
        }
        let answered_micros = micros(clock.wall());
        say(
            &mut control,
            &Control::ProbeReply { sent_micros, received_micros, answered_micros, frontier },
        )
        .await?;
    }
}
