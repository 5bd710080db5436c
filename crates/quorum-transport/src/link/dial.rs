//! Brings the connection to one peer up, again and again, and keeps it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use quorum_core::{
    Announcement, FrameSize, HandshakeFault, HandshakeRefusal, Lineage, LogSource, Occasion,
    QuerySource, ReplicaStore, SkewProbe, check_welcome, rolled_back,
};
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::clock::within;
use crate::close;
use crate::config::TransportConfig;
use crate::error::TransportError;
use crate::frames::FrameReader;
use crate::identity::Roster;
use crate::link::ask;
use crate::link::catch_up::{self, PacedLane};
use crate::link::lane::{self, Acks};
use crate::link::live;
use crate::link::pace::Pace;
use crate::link::peer::Peer;
use crate::seams::Seams;
use crate::verdicts::Verdicts;
use crate::wire::codec;
use crate::wire::message::{Control, Hello, LaneKind};

/// How many times more often a peer is probed that does not count yet: what changes that is told with the answer.
const QUICKER: u32 = 10;
/// Whatever is small and live goes first, and the past last.
const LARGE_PRIORITY: i32 = -1;
const CATCH_UP_PRIORITY: i32 = -2;

/// Everything a link works with.
pub(crate) struct Dialler<S> {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) client: Arc<ArcSwap<quinn::ClientConfig>>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) config: TransportConfig,
    pub(crate) seams: Seams,
    pub(crate) store: Arc<S>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) stop: CancellationToken,
}

/// How a connection, or an attempt at one, came to its end.
struct Ended {
    error: TransportError,
    was_up_for: Duration,
}

/// A connection that the peer has welcomed.
struct Welcomed {
    connection: Connection,
    control: SendStream,
    answers: FrameReader,
    ours: Lineage,
    /// The lineage that the peer named.
    theirs: Lineage,
}

impl<S: ReplicaStore + LogSource + QuerySource> Dialler<S> {
    /// Keeps the link up until shutdown.
    pub(crate) async fn run(self) {
        let (clock, config) = (&*self.seams.clock, &self.config);
        let mut attempt = 0;
        while let Some(ended) = self.stop.run_until_cancelled(self.session(attempt)).await {
            // A link that was up for a while begins afresh; one that always breaks at once is not hammered at.
            if ended.was_up_for > config.redial_max {
                attempt = 0;
            }
            self.note(&ended.error, attempt);
            let random = self.seams.random.next_u64();
            let pause =
                |attempt| backoff::delay(attempt, config.redial_min, config.redial_max, random);
            let redial_at = clock.now() + pause(attempt);
            attempt = attempt.saturating_add(1);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = clock.sleep_until(redial_at) => {}
                // The peer has just reached us, so it can be reached.
                () = self.peer.dial_now.notified() => {
                    attempt = 0;
                    clock.sleep_until(redial_at.min(clock.now() + pause(0))).await;
                }
            }
        }
        self.peer.disconnected(None, clock.now());
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
        self.peer.disconnected(Some(text), self.seams.clock.now());
    }

    /// One connection, from the first packet to its end.
    async fn session(&self, attempt: u32) -> Ended {
        let clock = &*self.seams.clock;
        let limit = backoff::patience(attempt, self.config.dial_timeout);
        let welcomed = within(clock, limit, self.connect(attempt)).await;
        let welcomed = match welcomed.unwrap_or(Err(TransportError::TimedOut(limit))) {
            Ok(welcomed) => welcomed,
            Err(error) => return Ended { error, was_up_for: Duration::ZERO },
        };
        let up_since = clock.now();
        tracing::info!(peer = %self.peer.name(), "link up");
        let connection = welcomed.connection.clone();
        let error = match (self.keep(welcomed).await, connection.close_reason()) {
            // If the connection is gone, its own word about why is the most precise.
            (TransportError::Lost(_), Some(cause)) => self.heard(&cause),
            (error, _) => error,
        };
        let (code, detail) = close::farewell(&error);
        connection.close(code, detail.as_bytes());
        Ended { error, was_up_for: clock.now().saturating_duration_since(up_since) }
    }

    /// What the peer says by ending the connection.
    fn heard(&self, cause: &ConnectionError) -> TransportError {
        let error = close::explain(cause);
        self.verdicts.hear(&error);
        error
    }

    async fn connect(&self, attempt: u32) -> Result<Welcomed, TransportError> {
        if self.store.has_failed() {
            return Err(TransportError::store_failed());
        }
        let name = self.peer.name();
        let address = resolve(&self.peer.member.address, attempt).await?;
        let client = (**self.client.load()).clone();
        let connecting = self
            .endpoint
            .connect_with(client, address, name.as_str())
            .map_err(|error| TransportError::Lost(error.to_string()))?;
        let connection = connecting.await.map_err(|error| close::explain(&error))?;
        let outcome = self.greet(&connection).await;
        outcome.map_err(|error| match connection.close_reason() {
            Some(cause) => self.heard(&cause),
            None => {
                let (code, detail) = close::farewell(&error);
                connection.close(code, detail.as_bytes());
                error
            }
        })
    }

    async fn greet(&self, connection: &Connection) -> Result<Welcomed, TransportError> {
        let opened = connection.open_bi().await.map_err(|error| close::explain(&error))?;
        let (mut control, answers): (SendStream, RecvStream) = opened;
        let mut answers = FrameReader::new(answers, self.config.frame_limit());
        let ours = self.store.lineage();
        let hello = Hello {
            cluster: self.roster.cluster(),
            node: self.roster.local().clone(),
            to: self.peer.name().clone(),
            members: self.roster.digest(),
            lineage: ours.clone(),
            announcement: self.store.announcement(self.peer.name()),
        };
        say(&mut control, &hello).await?;
        let Control::Welcome { lineage, frontier, announcement } = hear(&mut answers).await? else {
            return Err(TransportError::Protocol("expected a welcome".into()));
        };
        if lineage.origin.node != *self.peer.name() {
            let detail = format!("dialled {}, reached {}", self.peer.name(), lineage.origin.node);
            return Err(TransportError::refused(HandshakeRefusal::WrongName, detail));
        }
        let (held, forgotten) =
            (self.store.frontier(), self.store.announcement(self.peer.name()).forgotten);
        let once_said_more = self.peer.once_said_more(&lineage, &frontier);
        match check_welcome(&lineage, &frontier, (&ours, &held), &forgotten, once_said_more) {
            Ok(()) => {}
            Err(HandshakeFault::Theirs { reason, detail }) => {
                return Err(TransportError::refused(reason, detail));
            }
            Err(HandshakeFault::OursIsRolledBack) => return Err(self.ours_is_rolled_back()),
        }
        self.heard_announcement(&lineage, announcement).await?;
        self.peer.connected(self.seams.clock.now(), lineage.clone(), frontier);
        let connection = connection.clone();
        Ok(Welcomed { connection, control, answers, ours, theirs: lineage })
    }

    /// The peer remembers a later start of this node than its disk does.
    fn ours_is_rolled_back(&self) -> TransportError {
        self.verdicts.rolled_back.send_replace(true);
        // Not a refusal: the peer would take that for news about itself.
        let detail = format!("{} remembers a later start of this node", self.peer.name());
        TransportError::Lost(detail)
    }

    /// Lets the store draw its conclusions first: whether the peer's acks count may depend on them.
    async fn heard_announcement(
        &self,
        from: &Lineage,
        said: Announcement,
    ) -> Result<(), TransportError> {
        self.store.announced(from, &said, Occasion::Answer).await;
        if self.store.has_failed() {
            return Err(TransportError::store_failed());
        }
        self.peer.announced(said);
        Ok(())
    }

    /// Runs the lanes and the probe until one of them ends, and with it the connection.
    async fn keep(&self, welcomed: Welcomed) -> TransportError {
        match self.lanes(welcomed).await {
            Ok(()) => TransportError::Lost("a lane ended".into()),
            Err(error) => error,
        }
    }

    async fn lanes(&self, welcomed: Welcomed) -> Result<(), TransportError> {
        let Welcomed { connection, control, answers, ours, theirs } = welcomed;
        let (clock, frame_bytes_max) = (&*self.seams.clock, self.config.frame_limit());
        let (live, live_acks) =
            lane::open(&connection, LaneKind::Live, &ours, frame_bytes_max).await?;
        let (large, large_acks) =
            lane::open(&connection, LaneKind::Live, &ours, frame_bytes_max).await?;
        large.give_way(LARGE_PRIORITY);
        let (late, late_acks) =
            lane::open(&connection, LaneKind::CatchUp, &ours, frame_bytes_max).await?;
        late.give_way(CATCH_UP_PRIORITY);
        let paced = PacedLane {
            lane: late,
            peer: &self.peer,
            clock,
            config: &self.config,
            pace: Pace::new(self.config.catch_up_bytes_per_second),
            offered_before: self.peer.offered(),
        };
        let questions = ask::run(&self.peer.questions, &connection, &ours, clock, frame_bytes_max);
        // A peer that shuts down ends one lane after the other, each when it has answered it.
        let hear = |acks: Acks| acks.hear(&self.peer, clock);
        let mut acks = FuturesUnordered::from_iter([live_acks, large_acks, late_acks].map(hear));
        // Each is woken for itself: of what happens on a connection, most is about one of them.
        let mut others = FuturesUnordered::<BoxFuture<'_, Result<(), TransportError>>>::new();
        let bytes = self.config.live_queue_bytes_max;
        others.push(Box::pin(live::run(live, FrameSize::Small, bytes, &self.peer)));
        others.push(Box::pin(live::run(large, FrameSize::Large, bytes, &self.peer)));
        others.push(Box::pin(catch_up::run(paced, &*self.store)));
        others.push(Box::pin(questions));
        others.push(Box::pin(self.converse(control, answers, &theirs)));
        others.push(Box::pin(async { Err(close::explain(&connection.closed().await)) }));
        others.push(Box::pin(async {
            self.until_stale(&ours).await;
            Err(TransportError::Lost("one side has started anew".into()))
        }));
        let outcome = loop {
            tokio::select! {
                biased;
                heard = acks.next() => match heard {
                    Some(Ok(())) => {}
                    Some(Err(error)) => break Err(error),
                    None => break Err(TransportError::Lost("the peer ended its lanes".into())),
                },
                Some(outcome) = others.next() => break outcome,
            }
        };
        // Acks that came before the end of the connection count, whatever was heard of first.
        for hear in Pin::new(&mut acks).iter_pin_mut() {
            let _ended = hear.now_or_never();
        }
        outcome
    }

    /// Returns when the connection is of no more use although nothing on it has failed.
    async fn until_stale(&self, ours: &Lineage) {
        while !self.peer.is_stale() && self.store.lineage() == *ours {
            self.peer.look_at_connection.notified().await;
        }
    }

    /// Asks the peer for its clock and its frontier, again and again, and says what else there is to say.
    async fn converse(
        &self,
        mut control: SendStream,
        mut answers: FrameReader,
        theirs: &Lineage,
    ) -> Result<(), TransportError> {
        let clock = &*self.seams.clock;
        let pause = self.config.probe_pause(self.roster.peers().count());
        let mut probe_at = clock.now();
        // When the probe was sent that is not yet answered.
        let mut sent_at: Option<Instant> = None;
        loop {
            while let Some(word) = self.peer.next_word() {
                say(&mut control, &word).await?;
            }
            let wake_at = sent_at.map_or(probe_at, |sent_at| sent_at + self.config.idle_timeout);
            tokio::select! {
                biased;
                answer = hear(&mut answers) => match answer? {
                    Control::Snapshot { granted } => self.peer.snapshot_is(granted),
                    reply @ Control::ProbeReply { .. } => {
                        let Some(sent_at) = sent_at.take() else {
                            return Err(TransportError::Protocol("answer to no probe".into()));
                        };
                        self.probed(reply, sent_at, theirs).await?;
                        let pause = if self.peer.counts() { pause } else { pause / QUICKER };
                        probe_at = self.peer.beat.next(pause, clock.now());
                    }
                    _ => return Err(TransportError::Protocol("expected an answer to a probe".into())),
                },
                () = self.peer.to_say.notified() => {}
                () = clock.sleep_until(wake_at) => {
                    if sent_at.is_some() {
                        return Err(TransportError::TimedOut(self.config.idle_timeout));
                    }
                    let now = clock.now();
                    say(&mut control, &Control::Probe { sent_micros: micros(clock.wall()) }).await?;
                    sent_at = Some(now);
                }
            }
        }
    }

    /// Takes in what the peer says of its clock, of what it holds, and of itself.
    async fn probed(
        &self,
        reply: Control,
        sent_at: Instant,
        theirs: &Lineage,
    ) -> Result<(), TransportError> {
        let Control::ProbeReply {
            sent_micros,
            received_micros,
            answered_micros,
            frontier,
            announcement,
        } = reply
        else {
            return Ok(());
        };
        let (wall, now) = (self.seams.clock.wall(), self.seams.clock.now());
        let returned_micros = micros(wall);
        let probe = SkewProbe { sent_micros, received_micros, answered_micros, returned_micros };
        if probe.is_steady(now.saturating_duration_since(sent_at)) {
            self.peer.measured(probe.offset(), probe.round_trip(), (now, wall));
        }
        // It may have learned of that start since it welcomed us.
        if frontier.as_ref().is_some_and(|more| rolled_back(&self.store.lineage(), more)) {
            return Err(self.ours_is_rolled_back());
        }
        self.peer.reported(frontier.as_ref());
        // The peer may have begun another life since it welcomed us; this is the word of the former one.
        let is_over = self.peer.lineage().is_none_or(|now| now.origin != theirs.origin);
        if is_over {
            return Ok(());
        }
        if let Some(said) = announcement {
            self.heard_announcement(theirs, said).await?;
        }
        self.peer.heard_out(sent_at);
        Ok(())
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

/// An address behind a name: the next one at every attempt. Plain addresses need no look-up.
async fn resolve(address: &str, attempt: u32) -> Result<SocketAddr, TransportError> {
    if let Ok(plain) = address.parse() {
        return Ok(plain);
    }
    let failed = |cause| TransportError::Resolve { address: address.to_owned(), cause };
    let found: Vec<_> = tokio::net::lookup_host(address).await.map_err(failed)?.collect();
    let next = (attempt as usize).checked_rem(found.len()).and_then(|next| found.get(next));
    next.copied()
        .ok_or_else(|| failed(std::io::Error::new(std::io::ErrorKind::NotFound, "no address")))
}
