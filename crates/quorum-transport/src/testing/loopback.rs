//! A mesh on 127.0.0.1 whose ports are known before its nodes run.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Runtime, TokioRuntime};
use quorum_core::{ClusterId, LogSource, Observer, PeerId, QuerySource, ReplicaStore};

use crate::config::TransportConfig;
use crate::endpoint::Endpoint;
use crate::error::TransportError;
use crate::identity::{Member, Roster};
use crate::seams::Seams;
use crate::testing::{Authority, SeededRandom};

/// Names, ports and certificates of a mesh; nodes are started and stopped one by one.
///
/// Ports stay bound while a node is down: its peers meet silence, and it comes back where it was.
#[derive(Debug)]
pub struct Loopback {
    /// Signs every member's certificate.
    pub authority: Authority,
    /// The mesh.
    pub cluster: ClusterId,
    /// What every node is started with.
    pub config: TransportConfig,
    names: Vec<PeerId>,
    sockets: Vec<UdpSocket>,
    routes: HashMap<(usize, usize), SocketAddr>,
}

impl Loopback {
    /// A mesh of `n` members, `n1` and so on, with short probe and retry intervals.
    ///
    /// # Errors
    ///
    /// If a socket cannot be bound.
    ///
    /// # Panics
    ///
    /// Never: the names are valid.
    pub fn new(n: usize) -> io::Result<Self> {
        let name = |number| PeerId::new(format!("n{number}")).expect("a plain name");
        let socket = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let config = TransportConfig {
            probe_interval: Duration::from_millis(50),
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_millis(200),
            ..TransportConfig::default()
        };
        Ok(Self {
            authority: Authority::new("loopback"),
            cluster: ClusterId::from_bytes([7; 16]),
            config,
            names: (1..=n).map(name).collect(),
            sockets: (0..n).map(socket).collect::<io::Result<_>>()?,
            routes: HashMap::new(),
        })
    }

    /// The name of the member with this index, from 0.
    #[must_use]
    pub fn name(&self, index: usize) -> &PeerId {
        &self.names[index]
    }

    /// Where the member listens.
    ///
    /// # Panics
    ///
    /// If the system does not know the address of a bound socket.
    #[must_use]
    pub fn address(&self, index: usize) -> SocketAddr {
        self.sockets[index].local_addr().expect("a bound socket has an address")
    }

    /// Makes `from` dial `to` at `via` instead, for instance at a [`Relay`](super::Relay). Holds for later starts.
    pub fn route(&mut self, from: usize, to: usize, via: SocketAddr) {
        self.routes.insert((from, to), via);
    }

    /// The member list as this member sees it.
    ///
    /// # Panics
    ///
    /// Never: the list is valid.
    #[must_use]
    pub fn roster(&self, index: usize) -> Roster {
        let member = |(other, name): (usize, &PeerId)| {
            let via = self.routes.get(&(index, other)).copied();
            let address = via.unwrap_or_else(|| self.address(other)).to_string();
            Member { name: name.clone(), address }
        };
        let members = self.names.iter().enumerate().map(member).collect();
        Roster::new(self.cluster, self.names[index].clone(), members).expect("a valid list")
    }

    /// The member's socket and the real world around it, with seeded jitter. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`TransportError::Socket`] if the socket cannot be shared.
    pub fn seams(
        &self,
        index: usize,
        observer: Arc<dyn Observer>,
    ) -> Result<Seams, TransportError> {
        let socket = self.sockets[index].try_clone().map_err(TransportError::Socket)?;
        let socket = TokioRuntime.wrap_udp_socket(socket).map_err(TransportError::Socket)?;
        Ok(Seams::real(socket, Arc::new(SeededRandom::new(index as u64)), observer))
    }

    /// Starts the member over `store`, with a certificate of its own.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::start`].
    pub fn start<S: ReplicaStore + LogSource + QuerySource>(
        &self,
        index: usize,
        store: Arc<S>,
        observer: Arc<dyn Observer>,
    ) -> Result<Endpoint, TransportError> {
        let name = self.names[index].as_str();
        let identity = self.authority.issue(name).identity(&[&self.authority])?;
        let seams = self.seams(index, observer)?;
        Endpoint::start(self.roster(index), &identity, self.config.clone(), seams, store)
    }
}
