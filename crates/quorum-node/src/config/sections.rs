//! The configuration as a plain value: every section, and what a node is told about itself. (pure)
//!
//! A [`Config`] may still contradict itself; [`check`](super::check::check) says whether it does.
//! The keys are public interface: they change as rarely as the HTTP paths.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use quorum_core::{CLOCK_SKEW_WARN_DEFAULT, ClusterId, Durability, PeerId};
use serde::{Deserialize, Serialize};

use super::byte_size::ByteSize;
use super::convergence::{RepairSection, WatchSection};
use super::observation::{LogSection, OtlpSection};
use super::quorum::{NamespaceSection, QuorumSection};

/// UDP port on which nodes hear each other unless told otherwise.
pub const PEER_PORT_DEFAULT: u16 = 7400;
/// TCP port of the HTTP interface unless told otherwise.
pub const HTTP_PORT_DEFAULT: u16 = 7480;

/// Everything a node can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Who this node is.
    pub node: NodeSection,
    /// Every member of the mesh, this node included: `[[member]]` in the file.
    #[serde(rename = "member", default)]
    pub members: Vec<Member>,
    /// When a write counts as committed.
    #[serde(default)]
    pub quorum: QuorumSection,
    /// What differs for some namespaces: `[[namespaces]]` in the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceSection>,
    /// How this node talks to the others.
    #[serde(default)]
    pub peer: PeerSection,
    /// How clients talk to this node.
    #[serde(default)]
    pub http: HttpSection,
    /// The certificates with which members prove who they are.
    #[serde(default)]
    pub tls: TlsSection,
    /// The data on disk.
    #[serde(default)]
    pub store: StoreSection,
    /// How nodes find and mend what they do not share.
    #[serde(default)]
    pub repair: RepairSection,
    /// Who may follow the changes.
    #[serde(default)]
    pub watch: WatchSection,
    /// How far clocks may differ.
    #[serde(default)]
    pub clock: ClockSection,
    /// What is logged.
    #[serde(default)]
    pub log: LogSection,
    /// Metrics and traces pushed to a collector.
    #[serde(default)]
    pub otlp: OtlpSection,
}

impl Config {
    /// The defaults for the member called `name` among `members`.
    #[must_use]
    pub fn new(name: PeerId, members: Vec<Member>) -> Self {
        Self {
            node: NodeSection::new(name),
            members,
            quorum: QuorumSection::default(),
            namespaces: Vec::new(),
            peer: PeerSection::default(),
            http: HttpSection::default(),
            tls: TlsSection::default(),
            store: StoreSection::default(),
            repair: RepairSection::default(),
            watch: WatchSection::default(),
            clock: ClockSection::default(),
            log: LogSection::default(),
            otlp: OtlpSection::default(),
        }
    }
}

/// `[node]`: who this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NodeSection {
    /// This node's name: one of the members, and the name in its certificate.
    pub name: PeerId,
    /// The mesh it belongs to: a name, or the 32 hexadecimal digits of its id.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// Where the records are kept. One process at a time may use it.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// How long a stopping node may take to finish what it began.
    #[serde(with = "humantime_serde", default = "default_shutdown_grace")]
    pub shutdown_grace: Duration,
    /// Threads that serve clients and peers, beside those of the store. One costs the least per write, because nothing is
    /// handed from thread to thread; more serve more requests where there are cores to spare.
    #[serde(default = "default_threads")]
    pub threads: NonZeroUsize,
}

impl NodeSection {
    /// The defaults for the node called `name`.
    #[must_use]
    pub fn new(name: PeerId) -> Self {
        Self {
            name,
            cluster: default_cluster(),
            data_dir: default_data_dir(),
            shutdown_grace: default_shutdown_grace(),
            threads: default_threads(),
        }
    }

    /// The id that keeps this mesh apart from others: the one written in `cluster`, else one
    /// derived from the name, so that all nodes that were given the same name agree.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster.parse().unwrap_or_else(|_| {
            let hash =
                blake3::derive_key("quorum cluster id from cluster name", self.cluster.as_bytes());
            let mut id = [0; 16];
            id.copy_from_slice(&hash[..16]);
            ClusterId::from_bytes(id)
        })
    }
}

fn default_cluster() -> String {
    "quorum".into()
}

fn default_data_dir() -> PathBuf {
    "/var/lib/quorum".into()
}

const fn default_threads() -> NonZeroUsize {
    NonZeroUsize::MIN
}

const fn default_shutdown_grace() -> Duration {
    Duration::from_secs(10)
}

/// `[[member]]`: one node of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Member {
    /// Its name, unique in the mesh.
    pub name: PeerId,
    /// Where the others reach it: `host:port`, the host a name or an IP address, `[…]` around
    /// version 6.
    pub address: String,
}

impl Member {
    /// A member by name and `host:port`.
    #[must_use]
    pub fn new(name: PeerId, address: impl Into<String>) -> Self {
        Self { name, address: address.into() }
    }
}

/// `[peer]`: how this node talks to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PeerSection {
    /// The UDP address on which peers reach this node.
    pub listen: SocketAddr,
    /// Bytes waiting in memory for one slow peer; what does not fit is sent later, from the log.
    pub live_queue_bytes: ByteSize,
    /// Bytes per second sent to a peer that catches up; 0 is unlimited.
    pub catch_up_bytes_per_second: ByteSize,
    /// Longest pause between two attempts to reach a lost peer.
    #[serde(with = "humantime_serde")]
    pub redial_max: Duration,
    /// Silence after which a link counts as lost.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
}

impl Default for PeerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PEER_PORT_DEFAULT),
            live_queue_bytes: ByteSize::mebibytes(4),
            catch_up_bytes_per_second: ByteSize::new(0),
            redial_max: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(5),
        }
    }
}

/// `[http]`: how clients talk to this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpSection {
    /// The TCP address of the interface. Beyond loopback it needs TLS or tokens.
    pub listen: SocketAddr,
    /// PEM file with the certificate chain shown to clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// File with the bearer tokens that are let in, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_file: Option<PathBuf>,
    /// Largest request body.
    pub body_bytes_max: ByteSize,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), HTTP_PORT_DEFAULT),
            tls_cert: None,
            tls_key: None,
            tokens_file: None,
            body_bytes_max: ByteSize::mebibytes(1),
        }
    }
}

/// `[tls]`: the certificates with which members prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsSection {
    /// PEM file with the roots that sign members; several while one replaces another.
    pub ca: PathBuf,
    /// PEM file with this node's certificate.
    pub cert: PathBuf,
    /// PEM file with its private key, readable by its owner alone.
    pub key: PathBuf,
}

impl Default for TlsSection {
    fn default() -> Self {
        Self { ca: "ca.pem".into(), cert: "node.pem".into(), key: "node.key".into() }
    }
}

/// `[store]`: the data on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreSection {
    /// When a copy on this node counts as durable.
    pub durability: Durability,
    /// Memory for blocks read from disk.
    pub cache_bytes: ByteSize,
    /// Memory for writes not yet sorted to disk: so much is sorted at once, and up to twice as much may wait for that. The log
    /// holds the same writes; a start reads it all.
    pub memtable_bytes: ByteSize,
    /// Free space of the disk, or a tenth of it if that is less, below which no writes are taken until there is more; zero
    /// takes them until the disk is full, which stops the node.
    pub free_bytes_min: ByteSize,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            cache_bytes: ByteSize::mebibytes(32),
            memtable_bytes: ByteSize::mebibytes(8),
            free_bytes_min: ByteSize::mebibytes(256),
        }
    }
}

/// `[clock]`: how far clocks may differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClockSection {
    /// Difference to a peer above which a warning is logged.
    #[serde(with = "humantime_serde")]
    pub skew_warn: Duration,
    /// Difference above which records from the future are not taken yet, and above which a node
    /// that a majority contradicts takes no new writes.
    #[serde(with = "humantime_serde")]
    pub skew_max: Duration,
}

impl Default for ClockSection {
    fn default() -> Self {
        Self { skew_warn: CLOCK_SKEW_WARN_DEFAULT, skew_max: Duration::from_secs(300) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(cluster: &str) -> NodeSection {
        let name = PeerId::new("n1").expect("a name");
        NodeSection { cluster: cluster.into(), ..NodeSection::new(name) }
    }

    #[test]
    fn a_cluster_name_always_means_the_same_id() {
        assert_eq!(node("orchard").cluster_id(), node("orchard").cluster_id());
        assert_ne!(node("orchard").cluster_id(), node("meadow").cluster_id());
        // Part of what nodes agree on when they connect: it must not change between releases.
        assert_eq!(node("orchard").cluster_id().to_string(), "a6fba7643dd0dbd7e8307e6e30297c87");
    }

    #[test]
    fn a_cluster_id_is_taken_as_written() {
        let id = "000102030405060708090a0b0c0d0e0f";
        assert_eq!(node(id).cluster_id().to_string(), id);
    }
}
