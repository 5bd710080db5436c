//! Owns the socket, the links and the accept loop of one node; starts them and winds them down.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quorum_core::{Lineage, LogSource, Origin, PeerId, QuerySource, ReplicaStore, SnapshotSeat};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Beat, within};
use crate::close;
use crate::config::TransportConfig;
use crate::error::TransportError;
use crate::exchange::Exchange;
use crate::fanout::QuicPeers;
use crate::identity::{NodeIdentity, Roster};
use crate::link::dial::Dialler;
use crate::link::peer::Peer;
use crate::quic_random;
use crate::seams::Seams;
use crate::server::accept::{Server, Serving};
use crate::status::PeerStatus;
use crate::tls;
use crate::verdicts::Verdicts;

/// One node's end of the mesh: it dials every other member and serves those that dial it.
///
/// Must be [shut down](Self::shutdown); dropping it cuts all connections at once.
pub struct Endpoint {
    quic: quinn::Endpoint,
    peers: Arc<[Arc<Peer>]>,
    serving: Serving,
    client: Arc<ArcSwap<quinn::ClientConfig>>,
    config: TransportConfig,
    roster: Arc<Roster>,
    seams: Seams,
    verdicts: Arc<Verdicts>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Endpoint").field("local", self.roster.local()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Starts serving and dialling. `store` takes what peers send and gives what they lack. Call it within a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`TransportError::IdentityName`] if the certificate does not carry the local name,
    /// [`TransportError::Identity`] if TLS cannot use it, [`TransportError::Socket`] if the socket cannot be used.
    pub fn start<S: ReplicaStore + LogSource + QuerySource>(
        roster: Roster,
        identity: &NodeIdentity,
        config: TransportConfig,
        seams: Seams,
        store: Arc<S>,
    ) -> Result<Self, TransportError> {
        check_name(&roster, identity)?;
        let server = tls::server(identity, &seams, &config)?;
        let client = tls::client(identity, &seams, &config)?;
        let quic = quinn::Endpoint::new_with_abstract_socket(
            seams.quic_random.as_ref().map(quic_random::endpoint).unwrap_or_default(),
            Some(server),
            Arc::clone(&seams.socket),
            Arc::clone(&seams.runtime),
        )
        .map_err(TransportError::Socket)?;

        let roster = Arc::new(roster);
        let client = Arc::new(ArcSwap::from_pointee(client));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (verdicts, news) = (Arc::new(Verdicts::default()), Arc::new(Notify::new()));
        let (serving, snapshot) =
            (Serving::default(), Arc::new(Mutex::new(SnapshotSeat::default())));
        let observer = &seams.observer;
        let beat = Beat::new(seams.clock.now());
        let peer = |member: &crate::Member| {
            let (observer, news) = (Arc::clone(observer), Arc::clone(&news));
            Arc::new(Peer::new(member.clone(), &config, beat, observer, news))
        };
        let peers: Arc<[Arc<Peer>]> = roster.peers().map(peer).collect();

        for peer in &*peers {
            let dialler = Dialler {
                endpoint: quic.clone(),
                client: Arc::clone(&client),
                roster: Arc::clone(&roster),
                config: config.clone(),
                seams: seams.clone(),
                store: Arc::clone(&store),
                peer: Arc::clone(peer),
                verdicts: Arc::clone(&verdicts),
                stop: stop.clone(),
            };
            seams.runtime.spawn(Box::pin(tasks.track_future(dialler.run())));
        }
        let by_name: HashMap<_, _> =
            peers.iter().map(|peer| (peer.name().clone(), Arc::clone(peer))).collect();
        let exchange = Exchange {
            store: Arc::clone(&store),
            peers: Arc::clone(&peers),
            serving: Arc::clone(&serving),
            snapshot: Arc::clone(&snapshot),
            news,
            interval: config.exchange_interval,
            seams: seams.clone(),
            stop: stop.clone(),
        };
        seams.runtime.spawn(Box::pin(tasks.track_future(exchange.run())));
        let server = Arc::new(Server {
            endpoint: quic.clone(),
            roster: Arc::clone(&roster),
            config: config.clone(),
            seams: seams.clone(),
            store,
            peers: by_name,
            stop: stop.clone(),
            tasks: tasks.clone(),
            serving: Arc::clone(&serving),
            verdicts: Arc::clone(&verdicts),
            snapshot: Arc::clone(&snapshot),
            handshakes: AtomicUsize::new(0),
            warned: Mutex::default(),
        });
        seams.runtime.spawn(Box::pin(tasks.track_future(server.run())));
        Ok(Self { quic, peers, serving, client, config, roster, seams, verdicts, stop, tasks })
    }

    /// The address that peers reach this node under.
    ///
    /// # Errors
    ///
    /// [`TransportError::Socket`] if the socket does not know.
    pub fn local_addr(&self) -> Result<SocketAddr, TransportError> {
        self.quic.local_addr().map_err(TransportError::Socket)
    }

    /// What a writer sends through.
    #[must_use]
    pub fn replicator(&self) -> QuicPeers {
        QuicPeers::new(Arc::clone(&self.peers), Arc::clone(&self.seams.clock))
    }

    /// Every peer as it is known now, by name.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let served = |peer: &PeerId| {
            let serving = self.serving.lock();
            serving.get(peer).map(|served| served.lineage().clone())
        };
        let status = |peer: &Arc<Peer>| PeerStatus { served: served(peer.name()), ..peer.status() };
        self.peers.iter().map(status).collect()
    }

    /// Ends every connection with these lives of peers: they were declared gone. Until [`PeerStatus::served`] says that
    /// it has ended, something of such a life may still be applied here.
    pub fn part_from(&self, lives: &BTreeSet<Origin>) {
        let is_gone = |lineage: &Lineage| lives.contains(&lineage.origin);
        for peer in &*self.peers {
            if peer.connected_lineage().as_ref().is_some_and(is_gone) {
                peer.hang_up();
            }
        }
        for served in self.serving.lock().values().filter(|served| is_gone(served.lineage())) {
            served.hang_up("this life was declared gone");
        }
    }

    /// Turns `true` when a peer remembers a later start of this node than it knows itself: its disk was rolled back, and
    /// it must take another incarnation before it numbers any write.
    #[must_use]
    pub fn rolled_back(&self) -> watch::Receiver<bool> {
        self.verdicts.rolled_back.subscribe()
    }

    /// Turns `true` when a peer refuses this node because an operator has declared this life of it gone: what it holds
    /// must not be merged any more, and it must begin anew.
    #[must_use]
    pub fn forgotten(&self) -> watch::Receiver<bool> {
        self.verdicts.forgotten.subscribe()
    }

    /// Hangs up on every peer, both ways: for a store that has just taken another incarnation. This node says Hello anew,
    /// and peers that dialled it are welcomed anew.
    pub fn reconnect(&self) {
        self.verdicts.rolled_back.send_replace(false);
        for peer in &*self.peers {
            peer.hang_up();
        }
        self.serving.lock().values().for_each(|served| served.hang_up("welcome anew"));
    }

    /// Uses another identity for handshakes from now on. Connections that are up stay up.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); the old identity stays in use then.
    pub fn reload(&self, identity: &NodeIdentity) -> Result<(), TransportError> {
        check_name(&self.roster, identity)?;
        let server = tls::server(identity, &self.seams, &self.config)?;
        let client = tls::client(identity, &self.seams, &self.config)?;
        self.quic.set_server_config(Some(server));
        self.client.store(Arc::new(client));
        Ok(())
    }

    /// Waits up to `grace` for connected peers to answer what they were sent, and up to `grace` once more for the store to
    /// finish what they have sent, which is answered; then says goodbye.
    ///
    /// What is not answered by then is in the log, and is sent again after the next start.
    pub async fn shutdown(&self, grace: Duration) {
        const LOOK_EVERY: Duration = Duration::from_millis(5);
        const GOODBYES: Duration = Duration::from_millis(100);
        let clock = &self.seams.clock;
        let drained = async {
            while !self.peers.iter().all(|peer| peer.is_drained()) {
                clock.sleep_until(clock.now() + LOOK_EVERY).await;
            }
        };
        if within(&**clock, grace, drained).await.is_none() {
            tracing::info!(
                "peers have not answered everything; they will be sent the rest after the next start"
            );
        }
        self.stop.cancel();
        self.tasks.close();
        if within(&**clock, grace, self.tasks.wait()).await.is_none() {
            tracing::warn!(
                "the store is still at work on what peers have sent; not waiting any longer"
            );
        }
        self.quic.close(close::GOODBYE, b"shutdown");
        // Long enough for the goodbyes to leave; connections to dead peers would linger for seconds.
        let _given_up = within(&**clock, grace.min(GOODBYES), self.quic.wait_idle()).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.cancel();
        self.quic.close(close::GOODBYE, b"shutdown");
    }
}

fn check_name(roster: &Roster, identity: &NodeIdentity) -> Result<(), TransportError> {
    let names = identity.names();
    if names.iter().any(|name| name == roster.local().as_str()) {
        return Ok(());
    }
    Err(TransportError::IdentityName { expected: roster.local().clone(), found: names.join(", ") })
}
