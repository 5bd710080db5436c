//! Brings the connection to one peer up, again and again, and keeps it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use quorum_core::{HandshakeRefusal, Lineage, LogSource, ReplicaStore, SkewProbe, rolled_back};
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::clock::within;
use crate::close;
use crate::config::TransportConfig;
use crate::error::TransportError;
use crate::frames::FrameReader;
use crate::identity::Roster;
use crate::link::catch_up::CatchUp;
use crate::link::lane;
use crate::link::live;
use crate::link::peer::Peer;
use crate::seams::Seams;
use crate::wire::codec;
use crate::wire::message::{Control, Hello, LaneKind};

/// Everything a link works with.
pub(crate) struct Dialler<S> {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) client: Arc<ArcSwap<quinn::ClientConfig>>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) config: TransportConfig,
    pub(crate) seams: Seams,
    pub(crate) store: Arc<S>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) rolled_back: Arc<tokio::sync::watch::Sender<bool>>,
    pub(crate) stop: CancellationToken,
}

/// A connection that the peer has welcomed.
struct Welcomed {
    connection: Connection,
    control: SendStream,
    answers: FrameReader,
    ours: Lineage,
}

impl<S: ReplicaStore + LogSource> Dialler<S> {
    /// Keeps the link up until shutdown.
    pub(crate) async fn run(self) {
        let mut attempt = 0;
        while let Some(outcome) = self.stop.run_until_cancelled(self.session(&mut attempt)).await {
            let Err(error) = outcome else { continue };
            // Said by the peer, or found in its frontier.
            if matches!(error, TransportError::Refused { reason: HandshakeRefusal::RolledBack, .. })
            {
                self.rolled_back.send_replace(true);
            }
            self.note(&error, attempt);
            let random = self.seams.random.next_u64();
            let pause =
                backoff::delay(attempt, self.config.redial_min, self.config.redial_max, random);
            attempt = attempt.saturating_add(1);
            tokio::select! {
                () = self.stop.cancelled() => break,
                // The peer has just reached us, so it can be reached.
                () = self.peer.dial_now.notified() => {}
                () = self.seams.clock.sleep_until(self.seams.clock.now() + pause) => {}
            }
        }
        self.peer.disconnected(None);
    }

    /// Repeats nothing: the same error is logged when it is new and, while it lasts, once in a long while.
    fn note(&self, error: &TransportError, attempt: u32) {
        const REMIND_EVERY: u32 = 120;
        let (peer, text) = (self.peer.name(), error.to_string());
        let is_new = self.peer.status().last_error.as_deref() != Some(text.as_str());
        if is_new || attempt % REMIND_EVERY == REMIND_EVERY - 1 {
            match error {
                TransportError::Refused { reason, detail } => {
                    tracing::warn!(%peer, %reason, detail, "handshake refused");
                }
                _ => tracing::info!(%peer, error = text, "no link to peer"),
            }
        }
        self.peer.disconnected(Some(text));
    }

    /// One connection, from the first packet to its end.
    async fn session(&self, attempt: &mut u32) -> Result<(), TransportError> {
        let limit = self.config.dial_timeout;
        let welcomed = within(&*self.seams.clock, limit, self.connect()).await;
        let welcomed = welcomed.ok_or(TransportError::TimedOut(limit))??;
        tracing::info!(peer = %self.peer.name(), "link up");
        let (connection, up_since) = (welcomed.connection.clone(), self.seams.clock.now());
        let outcome = self.keep(welcomed).await;
        // A connection that ends as soon as it is welcomed must not be dialled in a tight loop.
        if self.seams.clock.now().saturating_duration_since(up_since) > self.config.redial_max {
            *attempt = 0;
        }
        let cause = connection.close_reason();
        connection.close(close::GOODBYE, b"link restarts");
        // If the connection is gone, its own word about why is the most precise.
        match (outcome, cause) {
            (Err(TransportError::Lost(_)), Some(cause)) => Err(close::explain(&cause)),
            (outcome, _) => outcome,
        }
    }

    async fn connect(&self) -> Result<Welcomed, TransportError> {
        let name = self.peer.name();
        let address = resolve(&self.peer.member.address).await?;
        let client = (**self.client.load()).clone();
        let connecting = self
            .endpoint
            .connect_with(client, address, name.as_str())
            .map_err(|error| TransportError::Lost(error.to_string()))?;
        let connection = connecting.await.map_err(|error| close::explain(&error))?;
        let outcome = self.greet(&connection).await;
        outcome.map_err(|error| match connection.close_reason() {
            Some(cause) => close::explain(&cause),
            None => {
                if let TransportError::Refused { reason, detail } = &error {
                    connection.close(close::code_of(*reason), detail.as_bytes());
                }
                error
            }
        })
    }

    async fn greet(&self, connection: &Connection) -> Result<Welcomed, TransportError> {
        let opened = connection.open_bi().await.map_err(|error| close::explain(&error))?;
        let (mut control, answers): (SendStream, RecvStream) = opened;
        let mut answers = FrameReader::new(answers, self.config.frame_bytes_max);
        let ours = self.store.lineage();
        let hello = Hello {
            cluster: self.roster.cluster(),
            node: self.roster.local().clone(),
            to: self.peer.name().clone(),
            members: self.roster.digest(),
            lineage: ours.clone(),
            frontier: self.store.frontier(),
        };
        say(&mut control, &hello).await?;
        let Control::Welcome { lineage, frontier } = hear(&mut answers).await? else {
            return Err(TransportError::Protocol("expected a welcome".into()));
        };
        if lineage.origin.node != *self.peer.name() {
            let detail = format!("dialled {}, reached {}", self.peer.name(), lineage.origin.node);
            return Err(TransportError::refused(HandshakeRefusal::WrongName, detail));
        }
        if rolled_back(&ours, &frontier) {
            let detail = format!("{} remembers a later start of this node", self.peer.name());
            return Err(TransportError::refused(HandshakeRefusal::RolledBack, detail));
        }
        self.peer.connected(self.seams.clock.now(), lineage, frontier);
        Ok(Welcomed { connection: connection.clone(), control, answers, ours })
    }

    /// Runs the lanes and the probe until one of them ends, and with it the connection.
    async fn keep(&self, welcomed: Welcomed) -> Result<(), TransportError> {
        let Welcomed { connection, control, answers, ours } = welcomed;
        let (clock, frame_bytes_max) = (&*self.seams.clock, self.config.frame_bytes_max);
        let (live, live_acks) =
            lane::open(&connection, LaneKind::Live, &ours, frame_bytes_max).await?;
        let (late, late_acks) =
            lane::open(&connection, LaneKind::CatchUp, &ours, frame_bytes_max).await?;
        let catch_up = CatchUp {
            lane: late,
            peer: &self.peer,
            us: self.roster.local(),
            store: &*self.store,
            clock,
            config: &self.config,
        };
        tokio::select! {
            outcome = live::run(live, &self.peer) => outcome,
            outcome = live_acks.hear(&self.peer, clock) => outcome,
            outcome = catch_up.run() => outcome,
            outcome = late_acks.hear(&self.peer, clock) => outcome,
            outcome = self.probe(control, answers) => outcome,
            cause = connection.closed() => Err(close::explain(&cause)),
            () = self.peer.hang_up.notified() => Err(TransportError::Lost("hung up to say hello anew".into())),
        }
    }

    /// Asks the peer for its clock and its frontier, again and again.
    async fn probe(
        &self,
        mut control: SendStream,
        mut answers: FrameReader,
    ) -> Result<(), TransportError> {
        let clock = &*self.seams.clock;
        loop {
            say(&mut control, &Control::Probe { sent_micros: micros(clock.wall()) }).await?;
            let answer = within(clock, self.config.idle_timeout, hear(&mut answers)).await;
            let answer = answer.ok_or(TransportError::TimedOut(self.config.idle_timeout))??;
            let Control::ProbeReply { sent_micros, received_micros, answered_micros, frontier } =
                answer
            else {
                return Err(TransportError::Protocol("expected an answer to a probe".into()));
            };
            let returned_micros = micros(clock.wall());
            let probe =
                SkewProbe { sent_micros, received_micros, answered_micros, returned_micros };
            self.peer.measured(probe.offset(), probe.round_trip());
            if let Some(frontier) = frontier {
                self.peer.reported(&frontier);
            }
            clock.sleep_until(clock.now() + self.config.probe_interval).await;
        }
    }
}

pub(crate) fn micros(since_epoch: Duration) -> u64 {
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

/// Sends one frame.
pub(crate) async fn say<M: serde::Serialize>(
    to: &mut SendStream,
    message: &M,
) -> Result<(), TransportError> {
    let frame: Bytes = codec::encode_frame(message)
        .map_err(|error| TransportError::Protocol(error.to_string()))?;
    to.write_chunk(frame).await.map_err(|error| TransportError::Lost(error.to_string()))
}

/// Waits for one frame.
pub(crate) async fn hear<M: serde::de::DeserializeOwned>(
    from: &mut FrameReader,
) -> Result<M, TransportError> {
    let frame =
        from.next().await?.ok_or_else(|| TransportError::Lost("the peer ended a stream".into()))?;
    codec::decode(&frame).map_err(|error| TransportError::Protocol(error.to_string()))
}

/// The first address behind a name. Plain addresses need no look-up.
async fn resolve(address: &str) -> Result<SocketAddr, TransportError> {
    if let Ok(plain) = address.parse() {
        return Ok(plain);
    }
    let failed = |cause| TransportError::Resolve { address: address.to_owned(), cause };
    let mut found = tokio::net::lookup_host(address).await.map_err(failed)?;
    found
        .next()
        .ok_or_else(|| failed(std::io::Error::new(std::io::ErrorKind::NotFound, "no address")))
}
