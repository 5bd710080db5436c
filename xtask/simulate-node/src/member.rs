//! One member of the simulated mesh: what outlives its restarts, how it starts, and the door through which clients reach
//! it while it runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::TokioRuntime;
use quorum_core::{PeerId, Random, Silent};
use quorum_node::store::SlowDisk;
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::{Config, Node, Service, StartError, World, config};
use quorum_transport::testing::SeededRandom;
use quorum_transport::{NodeIdentity, Seams};
use rustls::crypto::CryptoProvider;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::{SimulatedClock, Skew};
use crate::socket::{Network, PORT, SimulatedSocket};

/// A directory that is not there: nothing of a simulated node is on the machine's disk.
const NOWHERE: &str = "/nonexistent/quorum";

/// Requests that may wait at a door.
const WAITING_MAX: usize = 1024;

/// How often a node is started whose disk fails, and how long after each time.
const START_ATTEMPTS: u32 = 3;
const START_PAUSE: Duration = Duration::from_millis(500);

/// Something for a node to do.
type Job = Box<dyn FnOnce(Service) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// One member.
pub(crate) struct Member {
    pub(crate) name: PeerId,
    config: Config,
    identity: Box<dyn Fn() -> anyhow::Result<NodeIdentity> + Send + Sync>,
    seed: u64,
    starts: AtomicU64,
    provider: Arc<CryptoProvider>,
    network: Network,
    pub(crate) skew: Skew,
    disk: Mutex<MemoryDisk>,
    /// The longest that a commit takes, in milliseconds.
    commit_millis_max: Arc<AtomicU64>,
    door: Mutex<Option<mpsc::Sender<Job>>>,
    stop: Notify,
    /// Rings when a start of the node is over, for those who wait for answers.
    over: Notify,
}

/// The address of a member, by its place from 0.
pub(crate) fn address(place: usize) -> IpAddr {
    // Another network than the one in which the simulation numbers clients.
    let last = u8::try_from(place + 1).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

/// The name of a member, by its place from 0.
pub(crate) fn name(place: usize) -> String {
    format!("n{}", place + 1)
}

/// What all members of a run have in common.
pub(crate) struct Mesh {
    pub(crate) count: usize,
    pub(crate) seed: u64,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) network: Network,
    pub(crate) commit_millis_max: u64,
}

impl Member {
    /// A member with an empty disk.
    pub(crate) fn new(
        mesh: &Mesh,
        place: usize,
        identity: impl Fn() -> anyhow::Result<NodeIdentity> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let members = (0..mesh.count).map(|place| {
            let address = SocketAddr::new(address(place), PORT).to_string();
            Ok(config::Member::new(PeerId::new(name(place))?, address))
        });
        let members = members.collect::<anyhow::Result<Vec<_>>>()?;
        let name = members[place].name.clone();
        Ok(Self {
            config: configured(name.clone(), members),
            name,
            identity: Box::new(identity),
            seed: mesh.seed.wrapping_add(place as u64 * 1_000_003),
            starts: AtomicU64::new(0),
            provider: Arc::clone(&mesh.provider),
            network: mesh.network.clone(),
            skew: Skew::default(),
            disk: Mutex::default(),
            commit_millis_max: Arc::new(AtomicU64::new(mesh.commit_millis_max)),
            door: Mutex::default(),
            stop: Notify::new(),
            over: Notify::new(),
        })
    }

    /// Runs the node until it is asked to stop, or until its host crashes. Call it on the member's simulated host.
    pub(crate) async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        let node = self.started().await?;
        let (door, mut jobs) = mpsc::channel::<Job>(WAITING_MAX);
        *self.door.lock() = Some(door);
        loop {
            tokio::select! {
                biased;
                () = self.stop.notified() => break,
                () = node.until_outdated() => anyhow::bail!("{} was told that its data is outdated", self.name),
                Some(job) = jobs.recv() => drop(tokio::spawn(job(node.service().clone()))),
            }
        }
        *self.door.lock() = None;
        node.shutdown().await;
        Ok(())
    }

    /// Starts the node, and again if its disk fails just then: a supervisor would.
    async fn started(self: &Arc<Self>) -> anyhow::Result<Node> {
        let address = SocketAddr::new(address_of(&self.config)?, PORT);
        let socket = SimulatedSocket::bind(address, self.network.clone()).await?;
        for _ in 0..START_ATTEMPTS {
            match self.start(Arc::clone(&socket)).await {
                Err(error) if error.downcast_ref().is_some_and(is_of_the_disk) => {
                    tokio::time::sleep(START_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
        anyhow::bail!("{} does not start", self.name)
    }

    async fn start(&self, socket: Arc<SimulatedSocket>) -> anyhow::Result<Node> {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let seed = self.seed.wrapping_add(start * 7_919);
        let random = |of: u64| Arc::new(SeededRandom::new(seed ^ (of << 56))) as Arc<dyn Random>;
        let (pace, commits) = (Arc::clone(&self.commit_millis_max), random(3));
        let takes = move || {
            let longest = pace.load(Ordering::Relaxed).max(1);
            Duration::from_micros(commits.next_u64() % (longest * 1000))
        };
        let seams = Seams {
            socket,
            runtime: Arc::new(TokioRuntime),
            clock: Arc::new(SimulatedClock::boot(&self.skew)),
            random: random(1),
            quic_random: Some(random(2)),
            provider: Arc::clone(&self.provider),
            observer: Arc::new(Silent),
        };
        let disk = SlowDisk::new(self.disk.lock().clone(), takes);
        let world = World::new(seams).with_disk(disk);
        let (config, identity) = (self.config.clone(), (self.identity)()?);
        Ok(Node::start(config, identity, world, None, None).await?)
    }

    /// Has the node do something and waits for the outcome; `None` if the node is down, or goes down before it is done.
    pub(crate) async fn ask<T, F>(
        &self,
        work: impl FnOnce(Service) -> F + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |service| {
            Box::pin(async move {
                let _nobody_waits = answer.send(work(service).await);
            })
        });
        let door = self.door.lock().clone()?;
        let over = self.over.notified();
        door.try_send(job).ok()?;
        drop(door);
        tokio::select! {
            biased;
            answer = answered => answer.ok(),
            () = over => None,
        }
    }

    /// This start of the node is about to end, whatever it is at. Tells those who wait in the order in which they came:
    /// the order in which a runtime drops its tasks depends on what ran before in this process.
    pub(crate) fn forsake(&self) {
        *self.door.lock() = None;
        self.over.notify_waiters();
    }

    /// Asks the node to stop in order.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// The power of the node's machine fails: what its disk has not synced is gone.
    pub(crate) fn lose_power(&self) {
        self.disk.lock().crash();
    }

    /// The node's disk is replaced by an empty one.
    pub(crate) fn lose_disk(&self) {
        *self.disk.lock() = MemoryDisk::new();
    }

    /// The node's disk says that it has synced and has not, from now on.
    #[cfg(test)]
    pub(crate) fn lie_about_syncs(&self) {
        self.disk.lock().set_lying(true);
    }

    /// The node's next sync fails.
    pub(crate) fn fail_sync(&self) {
        self.disk.lock().fail_next_sync();
    }

    /// The longest that commits take from now on.
    pub(crate) fn set_commit_millis(&self, longest: u64) {
        self.commit_millis_max.store(longest, Ordering::Relaxed);
    }
}

const fn is_of_the_disk(error: &StartError) -> bool {
    matches!(error, StartError::Store(_))
}

fn address_of(config: &Config) -> anyhow::Result<IpAddr> {
    let own = config.members.iter().find(|member| member.name == config.node.name);
    let address = own.map(|member| member.address.parse::<SocketAddr>()).transpose()?;
    address.map(|address| address.ip()).ok_or_else(|| anyhow::anyhow!("not a member"))
}

fn configured(name: PeerId, members: Vec<config::Member>) -> Config {
    let mut config = Config::new(name, members);
    config.node.cluster = "simulated".to_owned();
    config.node.data_dir = PathBuf::from(NOWHERE);
    config.node.shutdown_grace = Duration::from_secs(2);
    let mut strict = config::NamespaceSection::default();
    strict.name = Some(crate::clients::STRICT.to_owned());
    strict.consistency = Some(config::Consistency::Linearizable);
    config.namespaces.push(strict);
    config
}
