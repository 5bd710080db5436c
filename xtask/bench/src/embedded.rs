//! quorum-node as a library: three nodes in this process with everything on but HTTP, called on their own threads.

use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Error, Result, ensure};
use quorum_core::PeerId;
use quorum_node::config::{Config, Member};
use quorum_node::pki::{Authority, Credentials, Validity};
use quorum_node::record::{Key, Namespace};
use quorum_node::{Node, Service, World, WriteRequest};
use quorum_transport::NodeIdentity;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::in_process::{self, Plan};
use crate::load::{Measured, Work};
use crate::process::free_ports;
use crate::rounds::KEYS;
use crate::values::Values;

/// How long a node may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Measures three nodes with their data below `folder`.
pub(crate) fn measure(folder: &Path, value_bytes: usize, plan: Plan) -> Result<Measured> {
    let data = tempfile::tempdir_in(folder)?;
    let validity = Validity::from_days(SystemTime::now(), 1)?;
    let authority = Authority::create("bench", validity)?;
    let mut members = Vec::new();
    for (index, port) in free_ports(3)?.into_iter().enumerate() {
        members.push(Member::new(PeerId::new(format!("n{index}"))?, format!("127.0.0.1:{port}")));
    }
    let start = |index: usize| -> Result<Start> {
        let member: &Member = &members[index];
        let mut config = Config::new(member.name.clone(), members.clone());
        config.node.cluster = "bench".to_owned();
        config.node.data_dir = data.path().join(member.name.as_str());
        config.peer.listen = member.address.parse::<SocketAddr>()?;
        let Credentials { certificate_pem, key_pem, .. } =
            authority.issue(member.name.as_str(), validity)?;
        let identity = NodeIdentity::from_pem(
            certificate_pem.as_bytes(),
            key_pem.as_bytes(),
            authority.certificate_pem().as_bytes(),
        )?;
        Ok(Start { config, identity, value_bytes })
    };
    in_process::measure([start(0)?, start(1)?, start(2)?], plan)
}

struct Start {
    config: Config,
    identity: NodeIdentity,
    value_bytes: usize,
}

struct Running {
    node: Node,
    value_bytes: usize,
}

impl in_process::Start for Start {
    type Node = Running;

    async fn start(self) -> Result<Running> {
        let Self { config, identity, value_bytes } = self;
        let world = World::real(config.peer.listen)?;
        let node = Node::start(config, identity, world, None, None).await?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let reasons = node.service().not_ready();
            // The two others have not both dialled as soon as one is enough.
            let reached = node.service().peers().iter().filter(|peer| peer.counts).count();
            if reasons.is_empty() && reached == 2 {
                return Ok(Running { node, value_bytes });
            }
            ensure!(Instant::now() < deadline, "it does not become ready: {reasons:?}");
            sleep(LOOK_EVERY).await;
        }
    }
}

impl in_process::Node for Running {
    type Client = Embedded;

    fn client(&self, index: usize) -> Embedded {
        let mut random = StdRng::seed_from_u64(index as u64);
        let values = Values::new(self.value_bytes, &mut random);
        Embedded { service: self.node.service().clone(), random, values }
    }

    /// The node's own errors are those of its writes.
    async fn broken(&mut self) -> Error {
        pending().await
    }

    async fn stop(self) {
        self.node.shutdown().await;
    }
}

/// Calls a node on its own thread.
struct Embedded {
    service: Service,
    random: StdRng,
    values: Values,
}

impl Work for Embedded {
    async fn once(&mut self) -> Result<u64> {
        let key = format!("{:012}", self.random.random_range(0..KEYS));
        let request = WriteRequest {
            namespace: Namespace::new("bench")?,
            key: Key::new(key)?,
            value: Some(self.values.next(&mut self.random)),
            write_id: None,
            copies: None,
            timeout: None,
            durability: None,
            is_retry: false,
        };
        self.service.write(request).await.context("not committed")?;
        Ok(1)
    }
}
