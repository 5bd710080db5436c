//! The systems that are compared: three nodes of each on loopback, every write synced, as far as the name says no other.

mod etcd;
mod nats;
mod quorum;
mod redis;
mod skeleton;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Serialize;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::node;
use crate::process::{self, Server};

/// How long a cluster may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Records of one call where many are written at once.
const BATCH_RECORDS: usize = 100;

/// A system with the settings under which it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    Quorum,
    /// Many records in one call.
    QuorumBatch,
    /// HTTP, a synced log and QUIC, and nothing else.
    Skeleton,
    /// Every client writes through the leader, which etcd is fastest with.
    EtcdLeader,
    /// Clients are spread over all nodes.
    EtcdAll,
    NatsAlways,
    NatsDefault,
    Redis,
}

impl System {
    /// What is compared unless something else is asked for.
    pub(crate) const DEFAULT: [Self; 6] = [
        Self::Quorum,
        Self::EtcdLeader,
        Self::EtcdAll,
        Self::NatsAlways,
        Self::NatsDefault,
        Self::Redis,
    ];

    const ALL: [Self; 8] = [
        Self::Quorum,
        Self::QuorumBatch,
        Self::Skeleton,
        Self::EtcdLeader,
        Self::EtcdAll,
        Self::NatsAlways,
        Self::NatsDefault,
        Self::Redis,
    ];

    /// What its figures mean.
    pub(crate) const fn settings(self) -> &'static str {
        match self {
            Self::Quorum => "defaults: W = 2 of 3, fsync before each ack, mutual TLS between nodes",
            Self::QuorumBatch => "the same, 100 records in each call; latencies are those of calls",
            Self::Skeleton => {
                "no system but a floor: HTTP, group commit to a log written before, QUIC with mutual TLS; nothing can be read"
            }
            Self::EtcdLeader => "defaults, clients at the leader",
            Self::EtcdAll => "defaults, clients spread over all nodes",
            Self::NatsAlways => "JetStream key-value bucket, R = 3, sync_interval: always",
            Self::NatsDefault => {
                "JetStream key-value bucket, R = 3, defaults: synced every two minutes, not before an ack"
            }
            Self::Redis => {
                "one primary and two replicas, appendfsync always, SET and WAIT 1; a replica's sync is not awaited"
            }
        }
    }

    /// Records that a client writes in one call.
    pub(crate) const fn records_per_call(self) -> usize {
        if matches!(self, Self::QuorumBatch) { BATCH_RECORDS } else { 1 }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::QuorumBatch => "quorum-batch",
            Self::Skeleton => "skeleton",
            Self::EtcdLeader => "etcd-leader",
            Self::EtcdAll => "etcd-all",
            Self::NatsAlways => "nats-always",
            Self::NatsDefault => "nats-default",
            Self::Redis => "redis",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl FromStr for System {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|system| system.as_str() == name);
        found.ok_or_else(|| format!("no such system; there are {}", known()))
    }
}

/// Where the programs are; `None` if one is not installed.
#[derive(Debug)]
pub(crate) struct Programs {
    /// This one, which is a node of the skeleton if called so.
    driver: Option<PathBuf>,
    node: Option<PathBuf>,
    etcd: Option<PathBuf>,
    nats: Option<PathBuf>,
    redis: Option<PathBuf>,
}

impl Programs {
    pub(crate) fn find(node: Option<&Path>, peers: Option<&Path>) -> Self {
        let find = |name: &str| {
            let installed = peers.map(|peers| peers.join(name)).filter(|path| path.is_file());
            installed.or_else(|| on_path(name))
        };
        Self {
            driver: std::env::current_exe().ok(),
            node: node.map(Path::to_owned),
            etcd: find("etcd"),
            nats: find("nats-server"),
            redis: find("redis-server"),
        }
    }

    pub(crate) fn has(&self, system: System) -> bool {
        self.of(system).is_ok()
    }

    fn of(&self, system: System) -> Result<&Path> {
        let program = match system {
            System::Quorum | System::QuorumBatch => self.node.as_ref(),
            System::Skeleton => self.driver.as_ref(),
            System::EtcdLeader | System::EtcdAll => self.etcd.as_ref(),
            System::NatsAlways | System::NatsDefault => self.nats.as_ref(),
            System::Redis => self.redis.as_ref(),
        };
        program.map(PathBuf::as_path).with_context(|| format!("{system} is not installed"))
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Running nodes of one system, three unless it says so. Dropping it kills them and removes their data.
pub(crate) struct Cluster {
    pub(crate) system: System,
    pub(crate) version: String,
    servers: Vec<Server>,
    /// Where clients connect, in turn.
    targets: Vec<String>,
    _directory: TempDir,
}

impl Cluster {
    /// Starts three nodes with their data below `parent`, and returns once they take writes.
    pub(crate) async fn start(system: System, programs: &Programs, parent: &Path) -> Result<Self> {
        let directory = directory(parent)?;
        let (program, folder) = (programs.of(system)?, directory.path());
        let started = match system {
            System::Quorum | System::QuorumBatch => quorum::start(program, folder)?,
            System::Skeleton => skeleton::start(program, folder, 3)?,
            System::EtcdLeader | System::EtcdAll => etcd::start(program, folder)?,
            System::NatsAlways => nats::start(program, folder, true)?,
            System::NatsDefault => nats::start(program, folder, false)?,
            System::Redis => redis::start(program, folder)?,
        };
        let version = process::version(program)?;
        let mut cluster = Self::ready(system, version, started, directory).await?;
        if system == System::EtcdLeader {
            cluster.targets = vec![etcd::leader(&cluster.targets).await?];
        }
        Ok(cluster)
    }

    /// Starts so many nodes of the skeleton.
    pub(crate) async fn skeleton(nodes: usize, parent: &Path) -> Result<Self> {
        let (directory, program) = (directory(parent)?, std::env::current_exe()?);
        let started = skeleton::start(&program, directory.path(), nodes)?;
        Self::ready(System::Skeleton, process::version(&program)?, started, directory).await
    }

    async fn ready(
        system: System,
        version: String,
        (servers, targets): (Vec<Server>, Vec<String>),
        directory: TempDir,
    ) -> Result<Self> {
        let mut cluster = Self { system, version, servers, targets, _directory: directory };
        cluster.until_ready().await?;
        Ok(cluster)
    }

    /// The processes of all nodes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// A client of its own connection, at one of the nodes.
    pub(crate) async fn client(&self, index: usize) -> Result<Client> {
        let target = &self.targets[index % self.targets.len()];
        Ok(match self.system {
            System::Quorum | System::QuorumBatch | System::Skeleton => {
                Client::Quorum(node::Client::connect(target).await?)
            }
            System::EtcdLeader | System::EtcdAll => {
                Client::Etcd(etcd::Client::connect(target).await?)
            }
            System::NatsAlways | System::NatsDefault => {
                Client::Nats(Box::new(nats::Client::connect(target).await?))
            }
            System::Redis => Client::Redis(redis::Client::connect(target).await?),
        })
    }

    /// Returns once a write through every target is committed.
    async fn until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        for index in 0..self.targets.len() {
            loop {
                for server in &mut self.servers {
                    server.check()?;
                }
                let attempt = async {
                    let write = ("ready".to_owned(), Bytes::from_static(b"1"));
                    self.client(index).await?.write(&[write]).await
                };
                match tokio::time::timeout(Duration::from_secs(2), attempt).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) if Instant::now() >= deadline => {
                        return Err(error.context("it does not become ready"));
                    }
                    Err(_) if Instant::now() >= deadline => bail!("it does not become ready"),
                    _ => sleep(LOOK_EVERY).await,
                }
            }
        }
        Ok(())
    }
}

fn directory(parent: &Path) -> Result<TempDir> {
    tempfile::tempdir_in(parent)
        .with_context(|| format!("no directory can be made in {}", parent.display()))
}

/// A client of one system.
pub(crate) enum Client {
    /// The skeleton is spoken to in the same way.
    Quorum(node::Client),
    Etcd(etcd::Client),
    Nats(Box<nats::Client>),
    Redis(redis::Client),
}

impl Client {
    /// Writes, many records in one call, and returns once the system says that all are done.
    pub(crate) async fn write(&mut self, records: &[(String, Bytes)]) -> Result<()> {
        let [(key, value)] = records else {
            return match self {
                Self::Quorum(client) => client.batch(records).await,
                _ => bail!("this system is written to one record after another"),
            };
        };
        let value = value.clone();
        match self {
            Self::Quorum(client) => client.put(key, value).await,
            Self::Etcd(client) => client.put(key, value).await,
            Self::Nats(client) => client.put(key, value).await,
            Self::Redis(client) => client.put(key, value).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_named_as_they_are_shown() {
        for system in System::ALL {
            assert_eq!(system.to_string().parse(), Ok(system));
        }
        assert!("mysql".parse::<System>().is_err());
    }
}
