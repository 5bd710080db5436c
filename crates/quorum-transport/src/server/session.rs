//! One inbound connection: who is it, may it, and then its streams.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{Connection, Incoming, RecvStream, SendStream};
use quorum_core::{HandshakeRefusal, Lineage, LogSource, PeerId, ReplicaStore, rolled_back};
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::within;
use crate::close;
use crate::error::TransportError;
use crate::frames::FrameReader;
use crate::link::dial::{hear, micros, say};
use crate::server::accept::Server;
use crate::server::lane;
use crate::wire::message::{Control, Hello};

/// Probes that a member may send in a second.
const PROBES_PER_SECOND_MAX: u32 = 1_000;

/// A member's connection, so that a newer one can end it.
pub(crate) struct Served {
    connection: Connection,
    lineage: Lineage,
    /// Cancelled once nothing of this connection can be applied any more.
    gone: CancellationToken,
}

impl Served {
    /// Says goodbye; the dialling side comes back by itself.
    pub(crate) fn hang_up(&self, why: &str) {
        self.connection.close(close::GOODBYE, why.as_bytes());
    }
}

/// The place of a connection among those that are served. Dropping it lets the member's next connection in.
struct Seat<S> {
    server: Arc<Server<S>>,
    name: PeerId,
    gone: CancellationToken,
}

impl<S> Drop for Seat<S> {
    fn drop(&mut self) {
        // Out of the list first: whoever waits for the end looks there again.
        self.server.serving.lock().remove(&self.name);
        self.gone.cancel();
    }
}

/// An admitted member.
struct Guest<S> {
    seat: Seat<S>,
    lineage: Lineage,
    connection: Connection,
    control: SendStream,
    requests: FrameReader,
}

/// Serves one connection from its first packet to its end.
pub(crate) async fn serve<S: ReplicaStore + LogSource>(server: Arc<Server<S>>, incoming: Incoming) {
    let from = incoming.remote_address().to_string();
    let admitted = admit(&server, incoming).await;
    server.handshakes.fetch_sub(1, Ordering::Relaxed);
    match admitted {
        Ok(guest) => attend(&server, &from, guest).await,
        Err(error) => server.handshake_failed(&from, &error),
    }
}

async fn admit<S: ReplicaStore + LogSource>(
    server: &Arc<Server<S>>,
    incoming: Incoming,
) -> Result<Guest<S>, TransportError> {
    let (clock, limit) = (&*server.seams.clock, server.config.handshake_timeout);
    let deadline = clock.now() + limit;
    let late = || TransportError::TimedOut(limit);
    let shaken = within(clock, limit, async { incoming.await }).await.ok_or_else(late)?;
    let connection = shaken.map_err(|error| close::explain_inbound(&error))?;
    let rest = deadline.saturating_duration_since(clock.now());
    let welcomed = within(clock, rest, welcome(server, &connection)).await;
    welcomed.unwrap_or_else(|| Err(late())).map_err(|error| {
        if let Some(cause) = connection.close_reason() {
            return close::explain(&cause);
        }
        let (code, detail) = close::farewell(&error);
        connection.close(code, detail.as_bytes());
        error
    })
}

async fn welcome<S: ReplicaStore + LogSource>(
    server: &Arc<Server<S>>,
    connection: &Connection,
) -> Result<Guest<S>, TransportError> {
    let name = authenticated(server, connection)?;
    let (mut control, requests) =
        connection.accept_bi().await.map_err(|error| close::explain(&error))?;
    let mut requests = FrameReader::new(requests, server.config.frame_limit());
    let hello: Hello = hear(&mut requests).await?;
    check(server, &name, &hello)?;
    let seat = take_seat(server, &name, &hello.lineage, connection).await;
    server.store.announced(&hello.lineage, &hello.announcement).await;
    let welcome = Control::Welcome {
        lineage: server.store.lineage(),
        frontier: server.store.frontier(),
        announcement: server.store.announcement(&name),
    };
    say(&mut control, &welcome).await?;
    if let Some(peer) = server.peers.get(&name) {
        peer.dialled_us(&hello.lineage);
    }
    let connection = connection.clone();
    Ok(Guest { seat, lineage: hello.lineage, connection, control, requests })
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

/// Ends the member's former connection and waits until nothing of it can be applied any more: what is welcomed
/// afterwards may rely on it. Dropped halfway, the former one still has its place, and the next one waits for it again.
async fn take_seat<S>(
    server: &Arc<Server<S>>,
    name: &PeerId,
    lineage: &Lineage,
    connection: &Connection,
) -> Seat<S> {
    loop {
        let former = {
            let mut serving = server.serving.lock();
            match serving.get(name) {
                Some(former) => {
                    former.hang_up("replaced by a newer connection");
                    former.gone.clone()
                }
                None => {
                    let gone = CancellationToken::new();
                    let served = Served {
                        connection: connection.clone(),
                        lineage: lineage.clone(),
                        gone: gone.clone(),
                    };
                    serving.insert(name.clone(), served);
                    return Seat { server: Arc::clone(server), name: name.clone(), gone };
                }
            }
        };
        former.cancelled().await;
    }
}

/// Serves an admitted member until its connection ends, and then until nothing of it is at work any more.
async fn attend<S: ReplicaStore + LogSource>(server: &Arc<Server<S>>, from: &str, guest: Guest<S>) {
    let Guest { seat, lineage, connection, control, requests } = guest;
    let name = &seat.name;
    tracing::debug!(peer = %name, from, "serving");
    let lanes =
        Lanes { server, name, lineage, tasks: TaskTracker::new(), stop: server.stop.child_token() };
    let mut answering = pin!(answer(server, name, control, requests));
    let ended = tokio::select! {
        biased;
        () = server.stop.cancelled() => None,
        error = lanes.accept(&connection) => Some(error),
        error = &mut answering => Some(error),
    };
    match ended {
        // What is at work is answered before the goodbye; the connection must stay whole until then.
        None => tokio::select! {
            () = lanes.end() => {}
            _lost = &mut answering => lanes.end().await,
        },
        Some(error) => {
            if connection.close_reason().is_none() {
                server.handshake_failed(&format!("{name} at {from}"), &error);
            } else if error.is_refusal(HandshakeRefusal::RolledBack) {
                server.rolled_back.send_replace(true);
            }
            let (code, detail) = close::farewell(&error);
            connection.close(code, detail.as_bytes());
            lanes.end().await;
        }
    }
    connection.close(close::GOODBYE, b"goodbye");
}

/// The lanes of one connection.
struct Lanes<'a, S> {
    server: &'a Arc<Server<S>>,
    name: &'a PeerId,
    lineage: Lineage,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Reports the end of a lane, even if the store panicked.
struct LaneEnd {
    report: mpsc::Sender<TransportError>,
    error: Option<TransportError>,
}

impl Drop for LaneEnd {
    fn drop(&mut self) {
        let unexpected = || TransportError::Lost("a lane broke off".into());
        // The first end is enough.
        let _others = self.report.try_send(self.error.take().unwrap_or_else(unexpected));
    }
}

impl<S: ReplicaStore + LogSource> Lanes<'_, S> {
    /// Takes lanes in until one of them ends: the connection ends with it.
    async fn accept(&self, connection: &Connection) -> TransportError {
        let (report, mut ends) = mpsc::channel(1);
        loop {
            tokio::select! {
                Some(error) = ends.recv() => return error,
                opened = connection.accept_bi() => match opened {
                    Ok((acks, frames)) => self.spawn(acks, frames, report.clone()),
                    Err(error) => return close::explain(&error),
                },
            }
        }
    }

    fn spawn(&self, acks: SendStream, frames: RecvStream, report: mpsc::Sender<TransportError>) {
        let lane = lane::Lane {
            from: self.name.clone(),
            lineage: self.lineage.clone(),
            frames: FrameReader::new(frames, self.server.config.frame_limit()),
            acks,
            batch_bytes_max: self.server.config.batch_bytes_max,
            stop: self.stop.clone(),
        };
        let store = Arc::clone(&self.server.store);
        let task = async move {
            let mut end = LaneEnd { report, error: None };
            let outcome = lane.run(&*store).await;
            let ended = || TransportError::Lost("the peer ended a lane".into());
            end.error = Some(outcome.err().unwrap_or_else(ended));
        };
        self.server.seams.runtime.spawn(Box::pin(self.tasks.track_future(task)));
    }

    /// Lets every lane come to the end of what it is applying. None is cut off: a batch may be with the store's own
    /// threads already, and would be applied although nobody knows of it.
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Answers probes until something breaks.
async fn answer<S: ReplicaStore>(
    server: &Server<S>,
    name: &PeerId,
    control: SendStream,
    requests: FrameReader,
) -> TransportError {
    match answer_probes(server, name, control, requests).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn answer_probes<S: ReplicaStore>(
    server: &Server<S>,
    name: &PeerId,
    mut control: SendStream,
    mut requests: FrameReader,
) -> Result<Infallible, TransportError> {
    const SECOND: Duration = Duration::from_secs(1);
    let clock = &server.seams.clock;
    let (mut told, mut announced) = (None, None);
    let (mut second_began, mut probes) = (clock.now(), 0);
    loop {
        let Control::Probe { sent_micros } = hear(&mut requests).await? else {
            return Err(TransportError::Protocol("expected a probe".into()));
        };
        let received_micros = micros(clock.wall());
        if clock.now().saturating_duration_since(second_began) > SECOND {
            (second_began, probes) = (clock.now(), 0);
        }
        probes += 1;
        if probes > PROBES_PER_SECOND_MAX {
            let limit = PROBES_PER_SECOND_MAX;
            return Err(TransportError::Protocol(format!("more than {limit} probes in a second")));
        }
        let frontier = server.store.frontier();
        let frontier = (told.as_ref() != Some(&frontier)).then_some(frontier);
        if frontier.is_some() {
            told.clone_from(&frontier);
        }
        let announcement = server.store.announcement(name);
        let announcement = (announced.as_ref() != Some(&announcement)).then_some(announcement);
        if announcement.is_some() {
            announced.clone_from(&announcement);
        }
        let answered_micros = micros(clock.wall());
        let reply = Control::ProbeReply {
            sent_micros,
            received_micros,
            answered_micros,
            frontier,
            announcement,
        };
        say(&mut control, &reply).await?;
    }
}
