//! Takes connections, bounds how many are being shaken hands with, and hands members on to a session.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn::Incoming;
use quorum_core::{HandshakeRefusal, LogSource, PeerId, QuerySource, ReplicaStore, SnapshotSeat};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::TransportConfig;
use crate::error::TransportError;
use crate::identity::Roster;
use crate::link::peer::Peer;
use crate::seams::Seams;
use crate::server::session;
use crate::verdicts::Verdicts;

/// What all inbound connections share.
pub(crate) struct Server<S> {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) roster: Arc<Roster>,
    pub(crate) config: TransportConfig,
    pub(crate) seams: Seams,
    pub(crate) store: Arc<S>,
    pub(crate) peers: HashMap<PeerId, Arc<Peer>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The connection of each member that is being served. A newer one takes its place only after it has ended.
    pub(crate) serving: Serving,
    pub(crate) verdicts: Arc<Verdicts>,
    /// For the one peer that may send everything.
    pub(crate) snapshot: Arc<Mutex<SnapshotSeat>>,
    pub(crate) handshakes: AtomicUsize,
    /// When each reason was last warned about.
    pub(crate) warned: Mutex<HashMap<HandshakeRefusal, Instant>>,
}

/// The connections that are served, by member.
pub(crate) type Serving = Arc<Mutex<BTreeMap<PeerId, session::Served>>>;

impl<S: ReplicaStore + LogSource + QuerySource> Server<S> {
    /// Accepts until shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let incoming = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            self.admit(incoming);
        }
    }

    /// Starts a handshake unless too many are under way. While many are, an address must first prove that it is real.
    fn admit(self: &Arc<Self>, incoming: Incoming) {
        let under_way = self.handshakes.load(Ordering::Relaxed);
        if under_way >= self.config.handshakes_max {
            incoming.refuse();
            self.refused(HandshakeRefusal::Overload, "too many handshakes under way");
        } else if 2 * under_way >= self.config.handshakes_max && incoming.may_retry() {
            let _the_peer_comes_back_with_a_token = incoming.retry();
        } else {
            self.handshakes.fetch_add(1, Ordering::Relaxed);
            let server = Arc::clone(self);
            let task = async move { session::serve(server, incoming).await };
            self.seams.runtime.spawn(Box::pin(self.tasks.track_future(task)));
        }
    }

    /// Tells metrics and log about a refused handshake. Anybody can cause one, so the log warns of each reason once a
    /// second only.
    pub(crate) fn refused(&self, reason: HandshakeRefusal, detail: &str) {
        const WARN_EVERY: Duration = Duration::from_secs(1);
        self.seams.observer.handshake_refused(reason);
        let now = self.seams.clock.now();
        let last = self.warned.lock().get(&reason).copied();
        if last.is_some_and(|last| now.saturating_duration_since(last) < WARN_EVERY) {
            tracing::debug!(%reason, detail, "refused a connection");
        } else {
            self.warned.lock().insert(reason, now);
            tracing::warn!(%reason, detail, "refused a connection");
        }
    }

    /// As [`refused`](Self::refused), for whatever ended a handshake.
    pub(crate) fn handshake_failed(&self, from: &str, error: &TransportError) {
        match error {
            TransportError::Refused { reason, detail } => {
                self.refused(*reason, &format!("{from}: {detail}"))
            }
            TransportError::TimedOut(_) => {
                self.refused(HandshakeRefusal::Overload, &format!("{from}: {error}"))
            }
            TransportError::Protocol(_) => {
                self.refused(HandshakeRefusal::Protocol, &format!("{from}: {error}"))
            }
            _ => tracing::debug!(from, %error, "a handshake did not end"),
        }
    }
}
