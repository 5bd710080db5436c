//! A whole mesh in one process: real QUIC on loopback, real stores, certificates made on the spot. For `demo` and tests.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use quorum_core::{Clock, PeerId};
use quorum_transport::{NodeIdentity, TokioClock};
use tokio::net::TcpListener;

use crate::config::{Config, Member};
use crate::pki::{Authority, Credentials, Validity};
use crate::{Node, World};

/// The members of a mesh, each running or stopped.
#[derive(Debug)]
pub struct LocalMesh {
    members: Vec<LocalMember>,
    authority: Authority,
}

/// One member: what it takes to start it, and the node while it runs.
struct LocalMember {
    config: Config,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    node: Option<Node>,
}

impl fmt::Debug for LocalMember {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LocalMember").field("node", &self.node).finish_non_exhaustive()
    }
}

impl LocalMesh {
    /// Starts members `n1`, `n2`, … with their data below `directory`, on free loopback ports, and returns once they have met:
    /// each counts for each other. `adjust` may change each configuration before its node starts.
    ///
    /// # Errors
    ///
    /// What kept a node from starting, or the members from meeting for thirty seconds.
    pub async fn start(
        count: usize,
        directory: &Path,
        adjust: impl Fn(&mut Config),
    ) -> anyhow::Result<Self> {
        Self::start_with_clocks(count, directory, adjust, |_| Arc::new(TokioClock::new())).await
    }

    /// As [`start`](Self::start), each member with the clock that `clock_of` gives for its place from 0.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with_clocks(
        count: usize,
        directory: &Path,
        adjust: impl Fn(&mut Config),
        clock_of: impl Fn(usize) -> Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let validity = Validity::from_days(SystemTime::now(), 1)?;
        let authority = Authority::create("local", validity)?;
        // Every address must be known before the first node starts, so all sockets are bound first.
        let worlds: Vec<World> =
            (0..count).map(|_| World::real(loopback(0))).collect::<Result<_, _>>()?;
        let mut roster = Vec::new();
        for (index, world) in worlds.iter().enumerate() {
            let name = PeerId::new(format!("n{}", index + 1))?;
            roster.push(Member::new(name, world.peer_addr()?.to_string()));
        }
        let mut mesh = Self { members: Vec::new(), authority };
        for (member, world) in roster.iter().zip(worlds) {
            let mut config = Config::new(member.name.clone(), roster.clone());
            config.node.cluster = "local".into();
            config.node.data_dir = directory.join(member.name.as_str());
            config.node.shutdown_grace = Duration::from_secs(5);
            config.peer.listen = world.peer_addr()?;
            config.http.listen = loopback(0);
            adjust(&mut config);
            let credentials = mesh.authority.issue(member.name.as_str(), validity)?;
            let (index, node) = (mesh.members.len(), None);
            let clock = clock_of(index);
            mesh.members.push(LocalMember { config, credentials, clock, node });
            mesh.launch(index, world).await?;
        }
        mesh.met().await?;
        Ok(mesh)
    }

    /// Waits until every running member counts for every other.
    async fn met(&self) -> anyhow::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for node in self.running() {
            while let Some(peer) = node.service().peers().into_iter().find(|peer| !peer.counts) {
                let late = tokio::time::Instant::now() >= deadline;
                ensure!(
                    !late,
                    "{} has not met {}",
                    node.service().status(false).await?.node,
                    peer.node
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    /// Starts a stopped member again, where it was.
    ///
    /// # Errors
    ///
    /// What kept it from starting.
    pub async fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        let world = bind_again(self.members[index].config.peer.listen).await?;
        self.launch(index, world).await
    }

    async fn launch(&mut self, index: usize, world: World) -> anyhow::Result<()> {
        let member = &mut self.members[index];
        let http = TcpListener::bind(member.config.http.listen).await.context("http.listen")?;
        // Kept for restarts: clients know the address.
        member.config.http.listen = http.local_addr()?;
        let Credentials { certificate_pem, key_pem, .. } = &member.credentials;
        let authority = self.authority.certificate_pem();
        let identity = NodeIdentity::from_pem(
            certificate_pem.as_bytes(),
            key_pem.as_bytes(),
            authority.as_bytes(),
        )?;
        let world = world.with_clock(Arc::clone(&member.clock));
        member.node =
            Some(Node::start(member.config.clone(), identity, world, None, Some(http)).await?);
        Ok(())
    }

    /// Stops a member in order. Nothing happens if it is not running.
    pub async fn stop(&mut self, index: usize) {
        if let Some(node) = self.members[index].node.take() {
            node.shutdown().await;
        }
    }

    /// Stops every member.
    pub async fn stop_all(&mut self) {
        for index in 0..self.members.len() {
            self.stop(index).await;
        }
    }

    /// A running member, by its place from 0.
    #[must_use]
    pub fn node(&self, index: usize) -> Option<&Node> {
        self.members.get(index)?.node.as_ref()
    }

    /// All members that run, in order.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.members.iter().filter_map(|member| member.node.as_ref())
    }

    /// The data directory of a member.
    #[must_use]
    pub fn data_dir(&self, index: usize) -> Option<&PathBuf> {
        Some(&self.members.get(index)?.config.node.data_dir)
    }

    /// Where a member serves HTTP.
    #[must_use]
    pub fn http_addr(&self, index: usize) -> Option<SocketAddr> {
        Some(self.members.get(index)?.config.http.listen)
    }
}

/// Binds an address that a node of this process used a moment ago: QUIC keeps its socket until the last connection to a
/// dead peer is given up.
async fn bind_again(listen: SocketAddr) -> anyhow::Result<World> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match World::real(listen) {
            Ok(world) => return Ok(world),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
