//! One inbound connection: who is it, may it, and then its streams.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quinn::{Connection, Incoming, RecvStream, SendStream};
use quorum_core::{
    Announcement, ExchangePlan, Frontier, HandshakeRefusal, Lineage, LogSource, Occasion, PeerId,
    QuerySource, ReplicaStore,
};
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
use crate::server::admission::Known;
use crate::server::lane;
use crate::wire::message::{Control, Hello};

/// Messages that a member may send on its control stream in a second.
const WORDS_PER_SECOND_MAX: u32 = 1_000;

/// A member's connection, so that a newer one can end it.
pub(crate) struct Served {
    connection: Connection,
    lineage: Lineage,
    /// Cancelled once nothing of this connection can be applied any more.
    gone: CancellationToken,
}

impl Served {
    /// The lineage that its Hello named.
    pub(crate) const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

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
        self.server.snapshot.lock().leave(&self.name);
        if let Some(peer) = self.server.peers.get(&self.name) {
            peer.is_wanted_there(Frontier::new());
        }
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
pub(crate) async fn serve<S: ReplicaStore + LogSource + QuerySource>(
    server: Arc<Server<S>>,
    incoming: Incoming,
) {
    let from = incoming.remote_address().to_string();
    let admitted = admit(&server, incoming).await;
    server.handshakes.fetch_sub(1, Ordering::Relaxed);
    match admitted {
        Ok(guest) => attend(&server, &from, guest).await,
        Err(error) => server.handshake_failed(&from, &error),
    }
}

async fn admit<S: ReplicaStore + LogSource + QuerySource>(
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

async fn welcome<S: ReplicaStore + LogSource + QuerySource>(
    server: &Arc<Server<S>>,
    connection: &Connection,
) -> Result<Guest<S>, TransportError> {
    let name = authenticated(server, connection)?;
    let (mut control, requests) =
        connection.accept_bi().await.map_err(|error| close::explain(&error))?;
    let mut requests = FrameReader::new(requests, server.config.frame_limit());
    let hello: Hello = hear(&mut requests).await?;
    check(server, &name, &hello)?;
    // Nothing that is said to it could be remembered either.
    is_all(&*server.store)?;
    let seat = take_seat(server, &name, &hello.lineage, connection).await;
    server.store.announced(&hello.lineage, &hello.announcement, Occasion::Hello).await;
    let welcome = Control::Welcome {
        lineage: server.store.lineage(),
        frontier: server.store.frontier(),
        announcement: server.store.announcement(&name),
    };
    is_all(&*server.store)?;
    say(&mut control, &welcome).await?;
    if let Some(peer) = server.peers.get(&name) {
        peer.dialled_us(&hello.lineage);
    }
    let connection = connection.clone();
    Ok(Guest { seat, lineage: hello.lineage, connection, control, requests })
}

/// Whether what was just read of the store's frontier is all that it holds.
fn is_all<S: ReplicaStore>(store: &S) -> Result<(), TransportError> {
    if store.has_failed() { Err(TransportError::store_failed()) } else { Ok(()) }
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
    let served = server.serving.lock().get(name).map(|served| served.lineage.clone());
    let known = Known {
        roster: &server.roster,
        forgotten: &server.store.announcement(name).forgotten,
        served: served.as_ref(),
        frontier: &server.store.frontier(),
    };
    known.admits(name, hello)
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
async fn attend<S: ReplicaStore + LogSource + QuerySource>(
    server: &Arc<Server<S>>,
    from: &str,
    guest: Guest<S>,
) {
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
            biased;
            () = lanes.end() => {}
            _lost = &mut answering => lanes.end().await,
        },
        Some(error) => {
            if connection.close_reason().is_none() {
                server.handshake_failed(&format!("{name} at {from}"), &error);
            } else {
                server.verdicts.hear(&error);
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

impl<S: ReplicaStore + LogSource + QuerySource> Lanes<'_, S> {
    /// Takes lanes in until one of them ends: the connection ends with it.
    async fn accept(&self, connection: &Connection) -> TransportError {
        let (report, mut ends) = mpsc::channel(1);
        loop {
            tokio::select! {
                biased;
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
            frame_bytes_max: self.server.config.frame_limit(),
            clock: Arc::clone(&self.server.seams.clock),
            snapshot: Arc::clone(&self.server.snapshot),
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

/// Answers what is said on the control stream until something breaks.
async fn answer<S: ReplicaStore>(
    server: &Server<S>,
    name: &PeerId,
    control: SendStream,
    requests: FrameReader,
) -> TransportError {
    let mut conversation = Conversation {
        server,
        name,
        control,
        requests,
        told: Frontier::new(),
        announced: None,
        second_began: server.seams.clock.now(),
        words: 0,
    };
    match conversation.run().await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// The control stream of one inbound connection.
struct Conversation<'a, S> {
    server: &'a Server<S>,
    name: &'a PeerId,
    control: SendStream,
    requests: FrameReader,
    /// What was told of the frontier so far, and the announcement that was told last.
    told: Frontier,
    announced: Option<Announcement>,
    second_began: Instant,
    words: u32,
}

impl<S: ReplicaStore> Conversation<'_, S> {
    async fn run(&mut self) -> Result<Infallible, TransportError> {
        loop {
            let word = hear(&mut self.requests).await?;
            let received_micros = micros(self.server.seams.clock.wall());
            self.check_rate()?;
            match word {
                Control::Probe { sent_micros } => self.probed(sent_micros, received_micros).await?,
                Control::Want { dots } => self.wanted(dots)?,
                Control::MaySnapshot => {
                    let now = self.server.seams.clock.now();
                    let granted = self.server.snapshot.lock().take(self.name, now);
                    say(&mut self.control, &Control::Snapshot { granted }).await?;
                }
                Control::SnapshotDone => self.server.snapshot.lock().leave(self.name),
                _ => return Err(TransportError::Protocol("expected a probe or a want".into())),
            }
        }
    }

    fn check_rate(&mut self) -> Result<(), TransportError> {
        const SECOND: Duration = Duration::from_secs(1);
        let now = self.server.seams.clock.now();
        if now.saturating_duration_since(self.second_began) > SECOND {
            (self.second_began, self.words) = (now, 0);
        }
        self.words += 1;
        if self.words > WORDS_PER_SECOND_MAX {
            let limit = WORDS_PER_SECOND_MAX;
            return Err(TransportError::Protocol(format!("more than {limit} probes in a second")));
        }
        Ok(())
    }

    fn wanted(&self, dots: Frontier) -> Result<(), TransportError> {
        let intervals: usize = dots.iter().map(|(_, set)| set.interval_count()).sum();
        if intervals > ExchangePlan::WANTED_INTERVALS_MAX {
            return Err(TransportError::Protocol(format!("a want of {intervals} intervals")));
        }
        if let Some(peer) = self.server.peers.get(self.name) {
            peer.is_wanted_there(dots);
        }
        Ok(())
    }

    async fn probed(
        &mut self,
        sent_micros: u64,
        received_micros: u64,
    ) -> Result<(), TransportError> {
        let store = &self.server.store;
        let frontier = self.told.advance_to(store.frontier());
        is_all(&**store)?;
        let announcement = news(&mut self.announced, store.announcement(self.name));
        let answered_micros = micros(self.server.seams.clock.wall());
        let reply = Control::ProbeReply {
            sent_micros,
            received_micros,
            answered_micros,
            frontier,
            announcement,
        };
        say(&mut self.control, &reply).await
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
