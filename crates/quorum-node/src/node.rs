//! Builds a node out of its parts, keeps it in order, and takes it apart again. The only file that names them all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorum_core::{Clock, ClockGuard, Observer, PeerId, QuorumWriter, wall_millis};
use quorum_metrics::{Metrics, Otlp};
use quorum_transport::{Endpoint, NodeIdentity, Roster, TransportConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::config::Config;
use crate::http;
use crate::identity;
use crate::poll::Members;
use crate::receive::{AdmissionLimits, Receiver};
use crate::repair;
use crate::service::Service;
use crate::store::{OpenError, Store, StoreConfig, StoreIdentity, StoreSeams};
use crate::traced::Traced;
use crate::world::World;
use crate::write::Writes;

/// How often the clock is compared: a wrong one must be noticed before it stamps many writes.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// How often a node that does not count yet looks whether it does.
const RECOVER_EVERY: Duration = Duration::from_millis(100);
/// How often the gauges are set.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often gaps that no member holds are looked for.
const CLOSE_EVERY: Duration = Duration::from_secs(1);
/// How often the log is shortened: each step costs a sync.
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// How often a node looks whether a life of it that was set aside can be looked through.
const RESCUE_EVERY: Duration = Duration::from_secs(1);
/// How often write ids beyond their horizon are looked for: each time, all of them are read.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The quorum rule contradicts the members.
    #[error(transparent)]
    Policy(#[from] quorum_core::QuorumError),
    /// The data directory cannot be used.
    #[error("cannot use node.data_dir")]
    Store(#[from] OpenError),
    /// The peer endpoint cannot be started.
    #[error(transparent)]
    Transport(#[from] quorum_transport::TransportError),
    /// Metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] quorum_metrics::TelemetryError),
    /// The HTTP interface cannot be started.
    #[error("cannot serve HTTP: {0}")]
    Http(#[source] std::io::Error),
}

/// A running node. [`shutdown`](Self::shutdown) it: dropping it loses no acknowledged write, but cuts its clients off.
pub struct Node {
    service: Service,
    http: Option<http::Server>,
    stop: CancellationToken,
    tasks: TaskTracker,
    grace: Duration,
    clock: Arc<dyn Clock>,
    world: World,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Node").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a node: opens its store, joins the mesh, serves HTTP on `http` if there is a listener. Call it within a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`], which names the key, file or address to look at. Nothing is left running then.
    pub async fn start(
        config: Config,
        identity: NodeIdentity,
        world: World,
        otlp: Option<&Otlp>,
        http: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        let policies = Arc::new(crate::config::policies(&config)?);
        let policy = policies.default_policy().write().clone();
        let local = config.node.name.clone();
        let roster = roster_of(&config)?;
        let peers: Vec<PeerId> = roster.peers().map(|member| member.name.clone()).collect();
        let metrics = Metrics::new(&local, &peers, otlp)?;
        let observer: Arc<dyn Observer> = metrics.observer();
        let clock = world.clock();

        let mut clock_guard = ClockGuard::new(config.clock.skew_max);
        // Before anything is stamped or anybody is told that the node runs: a jump from now on is one.
        clock_guard.record_reading(clock.now(), wall_millis(&*clock));
        let clock_guard = Arc::new(Mutex::new(clock_guard));
        let guard = Arc::clone(&clock_guard);
        let store = open_store(&config, &world, guard, Arc::clone(&observer)).await?;
        let limits = AdmissionLimits {
            value_bytes_max: config.http.body_bytes_max.as_usize(),
            clock_skew_max: config.clock.skew_max,
        };
        let members = peers.iter().cloned().chain([local.clone()]);
        let receiver =
            Receiver::new(store.clone(), limits, members).with_settings(policies.digest());
        let endpoint = Endpoint::start(
            roster,
            &identity,
            transport_config(&config),
            world.seams(Arc::clone(&observer)),
            Arc::new(Traced::new(receiver.clone())),
        );
        let endpoint = match endpoint {
            Ok(endpoint) => Arc::new(endpoint),
            Err(error) => {
                store.close().await;
                return Err(error.into());
            }
        };
        let members = Members {
            local: local.clone(),
            peers: peers.clone(),
            network: endpoint.replicator(),
            clock: Arc::clone(&clock),
        };
        let writer = QuorumWriter::new(
            policy,
            local,
            peers,
            store.clone(),
            endpoint.replicator(),
            Arc::clone(&clock),
            Arc::clone(&observer),
        )?;
        let admission = Admission::new(
            config.quorum.in_flight_writes_max,
            config.quorum.in_flight_bytes_max.as_usize(),
            Arc::clone(&observer),
        );
        let writes = Writes {
            under_way: receiver.under_way().clone(),
            writer,
            admission,
            clock_guard,
            clock: Arc::clone(&clock),
            random: world.random(),
            observer,
            policies,
            read_timeout: config.quorum.read_timeout,
            members,
            receiver,
            hurry: CancellationToken::new(),
        };
        let grace = config.node.shutdown_grace;
        let http_section = config.http.clone();
        let service = Service::new(config, store, endpoint, writes, metrics, Arc::clone(&clock));
        service.certificate_in_use(identity.not_after());

        // Whoever is alone needs nobody's word.
        recover(service.clone(), Arc::clone(&clock)).await;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let chores = || (service.clone(), Arc::clone(&clock));
        world.spawn(tasks.track_future(every(WATCH_EVERY, &stop, chores(), watch)));
        world.spawn(tasks.track_future(every(RECOVER_EVERY, &stop, chores(), recover)));
        world.spawn(tasks.track_future(every(SHOW_EVERY, &stop, chores(), show)));
        world.spawn(tasks.track_future(every(CLOSE_EVERY, &stop, chores(), close_gaps)));
        world.spawn(tasks.track_future(every(TRIM_EVERY, &stop, chores(), trim)));
        world.spawn(tasks.track_future(every(FORGET_EVERY, &stop, chores(), forget)));
        let close_every = repair::tombstones::close_every(service.config().repair.tombstone_grace);
        world.spawn(tasks.track_future(every(close_every, &stop, chores(), purge)));
        world.spawn(tasks.track_future(every(RESCUE_EVERY, &stop, chores(), rescue)));
        let scrubbing = repair::scrub::run(service.clone(), Arc::clone(&clock));
        let until_stop = stop.clone().run_until_cancelled_owned(scrubbing);
        world.spawn(tasks.track_future(async move {
            let _stopped: Option<()> = until_stop.await;
        }));
        world.spawn(tasks.track_future(watch_rollback(service.clone(), stop.clone())));
        let mut node = Self { service, http: None, stop, tasks, grace, clock, world };
        if let Some(listener) = http {
            match http::Server::start(listener, node.service.clone(), &http_section) {
                Ok(server) => node.http = Some(server),
                Err(error) => {
                    node.shutdown().await;
                    return Err(StartError::Http(error));
                }
            }
        }
        Ok(node)
    }

    /// What the node can be asked.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn http_addr(&self) -> Option<std::net::SocketAddr> {
        self.http.as_ref().map(http::Server::local_addr)
    }

    /// Returns when this node's data must not be used any more, because an operator has declared it gone or because its
    /// disk went back to before deletions that are purged everywhere else. The node is to be shut down then, and its data
    /// [set aside](Self::set_aside).
    pub async fn until_outdated(&self) {
        let (mut forgotten, mut outdated) =
            (self.service.endpoint().forgotten(), self.service.outdated());
        // Neither sender goes before the node does.
        tokio::select! {
            biased;
            _ = forgotten.wait_for(|is_so| *is_so) => {}
            _ = outdated.wait_for(|is_so| *is_so) => {}
        }
    }

    /// Shuts the node down and moves its data to a directory beside it, of which the path is returned. The next start
    /// begins with nothing, takes everything over from the other members, and then writes what only the old data holds to
    /// a file. Nothing is deleted.
    ///
    /// # Errors
    ///
    /// [`StartError::Store`] if it cannot be moved, or that could not be made durable: it is in one of the two places then, and
    /// the next start finds out. It cannot be moved while another process has it open, or a read of this node has not ended.
    pub async fn set_aside(self) -> Result<std::path::PathBuf, StartError> {
        let data_dir = self.service.config().node.data_dir.clone();
        let incarnation = self.service.store().origin().incarnation.to_string();
        self.shutdown().await;
        let moving = tokio::task::spawn_blocking(move || {
            repair::forgotten::set_aside(&data_dir, &incarnation)
        });
        let moved =
            moving.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        Ok(moved?)
    }

    /// Looks after renewed certificates: their files are read again when they change, and at once when `reload` rings.
    pub fn keep_certificates_current(&self, reload: Arc<tokio::sync::Notify>) {
        let (service, clock, stop) =
            (self.service.clone(), Arc::clone(&self.clock), self.stop.clone());
        self.world
            .spawn(self.tasks.track_future(identity::keep_current(service, clock, reload, stop)));
    }

    /// Takes the node down in order, within its grace period: no longer ready, HTTP drained, writes given their verdict,
    /// peers answered, the store closed.
    ///
    /// A write that would wait longer than that is given its verdict early, while its client can still be told.
    pub async fn shutdown(self) {
        let clock = &*self.clock;
        let end = clock.now() + self.grace;
        // What is kept back from the grace period for each later step.
        let kept_back = (self.grace / 4).min(Duration::from_secs(1));
        let writes = self.service.writes();
        writes.admission.close();
        self.service.stopping().cancel();
        let drained = async {
            let end = end - kept_back / 2;
            if let Some(http) = self.http {
                http.shutdown(left(clock, end)).await;
            }
            self.service.until_no_write_is_under_way(left(clock, end)).await;
        };
        let hurried = async {
            clock.sleep_until(end - kept_back).await;
            writes.hurry.cancel();
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = drained => {}
            () = hurried => {}
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.service.endpoint().shutdown(left(clock, end - kept_back / 4)).await;
        self.service.store().close().await;
        let (metrics, bound) = (self.service.clone(), left(clock, end));
        // The exporters block while they flush.
        let flushed = tokio::task::spawn_blocking(move || metrics.metrics().shutdown(bound)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last metrics were not delivered");
        }
    }
}

/// What is left until the deadline; a little even if there is nothing, so that everything gets its turn.
fn left(clock: &dyn Clock, deadline: Instant) -> Duration {
    deadline.saturating_duration_since(clock.now()).max(Duration::from_millis(100))
}

/// Does a chore again and again. Each kind has a task of its own: a long repair must not keep the clock from being
/// watched.
fn every<F>(
    pause: Duration,
    stop: &CancellationToken,
    (service, clock): (Service, Arc<dyn Clock>),
    chore: impl Fn(Service, Arc<dyn Clock>) -> F + Send + Sync + 'static,
) -> impl Future<Output = ()> + Send + 'static
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    async move {
        let chores = async {
            loop {
                chore(service.clone(), Arc::clone(&clock)).await;
                clock.sleep_until(clock.now() + pause).await;
            }
        };
        // Every chore takes steps that may be left halfway.
        let _stopped: Option<()> = stop.run_until_cancelled(chores).await;
    }
}

/// Compares clocks.
async fn watch(service: Service, clock: Arc<dyn Clock>) {
    service.watch_clock(clock.now(), wall_millis(&*clock));
}

/// Sees whether this node's data is new, or what was lost is all here again.
async fn recover(service: Service, _clock: Arc<dyn Clock>) {
    let peers = || (service.endpoint().peers(), service.forgotten_peers());
    service.recovery().look(service.store(), peers, service.policies()).await;
}

/// Shows how things are.
async fn show(service: Service, _clock: Arc<dyn Clock>) {
    service.show_gauges().await;
}

/// Closes gaps that no member holds.
async fn close_gaps(service: Service, _clock: Arc<dyn Clock>) {
    let peers = service.counted_peers();
    let (store, ours) = (service.store(), service.store().frontier());
    let mut void = repair::void::closable(&store.lineage(), &ours, &peers);
    if repair::forgotten::is_waiting(&service.config().node.data_dir) {
        // What an earlier life wrote and nobody else has is looked for in its store first.
        let life = store.lineage().origin;
        void.retain(|(lineage, _)| lineage.origin == life);
    }
    if !void.is_empty() {
        tracing::info!(lineages = void.len(), "closing gaps that no member holds");
        if let Err(error) = store.cover(void).await {
            tracing::warn!(%error, "gaps could not be closed");
        }
    }
}

/// Shortens the log.
async fn trim(service: Service, _clock: Arc<dyn Clock>) {
    let peers = service.counted_peers();
    let (store, ours) = (service.store(), service.store().frontier());
    let entries_max = service.config().repair.log_entries_max;
    let floor = repair::trim::floor(&ours, &store.trimmed(), &peers, entries_max);
    if let Err(error) = store.trim(&floor).await {
        tracing::warn!(%error, "the log could not be trimmed");
    }
}

/// Forgets write ids beyond their horizon.
async fn forget(service: Service, _clock: Arc<dyn Clock>) {
    match service.store().forget_old_writes().await {
        Ok(0) => {}
        Ok(forgotten) => tracing::debug!(forgotten, "old write ids forgotten"),
        Err(error) => tracing::warn!(%error, "old write ids could not be forgotten"),
    }
}

/// Purges tombstones that hide nothing any more.
async fn purge(service: Service, _clock: Arc<dyn Clock>) {
    service.endpoint().part_from(&service.store().forgotten());
    repair::tombstones::round(&service).await;
}

/// Looks through lives of this node that were set aside.
async fn rescue(service: Service, _clock: Arc<dyn Clock>) {
    repair::forgotten::rescue(&service).await;
}

/// Takes another incarnation when a peer remembers a later start of this node than its disk does.
async fn watch_rollback(service: Service, stop: CancellationToken) {
    let mut rolled_back = service.endpoint().rolled_back();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            seen = rolled_back.wait_for(|rolled_back| *rolled_back) => if seen.is_err() { return },
        }
        tracing::error!(
            "this node's disk was rolled back: a peer remembers a later start; taking another incarnation"
        );
        if let Err(error) = service.store().reincarnate().await {
            tracing::error!(%error, "no other incarnation could be taken");
            return;
        }
        service.endpoint().reconnect();
    }
}

fn roster_of(config: &Config) -> Result<Roster, StartError> {
    let member = |member: &crate::config::Member| quorum_transport::Member {
        name: member.name.clone(),
        address: member.address.clone(),
    };
    let members = config.members.iter().map(member).collect();
    let roster = Roster::new(config.node.cluster_id(), config.node.name.clone(), members);
    Ok(roster.map_err(quorum_transport::TransportError::from)?)
}

fn transport_config(config: &Config) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.live_queue_bytes_max = config.peer.live_queue_bytes.as_usize();
    transport.catch_up_bytes_per_second = config.peer.catch_up_bytes_per_second.bytes();
    transport.exchange_interval = config.repair.interval;
    transport.redial_max = config.peer.redial_max;
    transport.idle_timeout = config.peer.idle_timeout;
    transport.keep_alive = config.peer.idle_timeout / 2;
    transport
}

async fn open_store(
    config: &Config,
    world: &World,
    guard: Arc<Mutex<ClockGuard>>,
    observer: Arc<dyn Observer>,
) -> Result<Store, StartError> {
    let limits = StoreConfig {
        cache_bytes: config.store.cache_bytes.bytes(),
        memtable_bytes: config.store.memtable_bytes.bytes(),
        free_bytes_min: config.store.free_bytes_min.bytes(),
        value_bytes_max: config.http.body_bytes_max.as_usize(),
        clock_skew_max: config.clock.skew_max,
        write_id_horizon: config.quorum.write_id_horizon,
        changes_max: config.watch.history_max,
        ..StoreConfig::default()
    };
    let identity =
        StoreIdentity { cluster: config.node.cluster_id(), node: config.node.name.clone() };
    let seams = StoreSeams { clock: world.clock(), guard, observer, random: world.random() };
    #[cfg(any(test, feature = "testing"))]
    if let Some(disk) = world.disk() {
        return Ok(disk.open(&identity, limits, seams, &|task| world.spawn(task))?);
    }
    let directory = config.node.data_dir.clone();
    // Opening reads the log.
    let opening =
        tokio::task::spawn_blocking(move || Store::open(&directory, &identity, limits, seams));
    Ok(opening.await.expect("opening a store does not panic")?)
}
