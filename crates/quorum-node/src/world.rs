//! Everything through which a node touches the world: a simulation replaces all of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use quorum_core::{Clock, Observer, Random};
use quorum_transport::{Seams, TransportError};

#[cfg(any(test, feature = "testing"))]
use crate::store::SlowDisk;

/// The machine's randomness.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

/// The world of one node: peer socket, tasks and timers, clock, randomness, cryptography.
#[derive(Clone)]
#[non_exhaustive]
pub struct World {
    seams: Seams,
    #[cfg(any(test, feature = "testing"))]
    disk: Option<SlowDisk>,
}

impl fmt::Debug for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("World").field("seams", &self.seams).finish()
    }
}

impl World {
    /// The real world, with the peer socket bound to `listen`. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`TransportError::Socket`] if the address cannot be bound.
    pub fn real(listen: SocketAddr) -> Result<Self, TransportError> {
        let socket = quorum_transport::bind(listen)?;
        let nobody = Arc::new(quorum_core::Silent);
        Ok(Self::new(Seams::real(socket, Arc::new(SystemRandom), nobody)))
    }

    /// A world made of the given seams. The node puts its own observer in.
    #[must_use]
    pub const fn new(seams: Seams) -> Self {
        Self {
            seams,
            #[cfg(any(test, feature = "testing"))]
            disk: None,
        }
    }

    /// The same world with another clock: for a node whose time a test turns.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.seams.clock = clock;
        self
    }

    /// The same world with a disk in memory, on which a task of this world commits: then nothing of a node runs outside it.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_disk(mut self, disk: SlowDisk) -> Self {
        self.disk = Some(disk);
        self
    }

    /// The disk in memory, if there is one.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn disk(&self) -> Option<SlowDisk> {
        self.disk.clone()
    }

    /// The peer socket's address.
    ///
    /// # Errors
    ///
    /// The error of the socket.
    pub fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        self.seams.socket.local_addr()
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.seams.clock)
    }

    pub(crate) fn random(&self) -> Arc<dyn Random> {
        Arc::clone(&self.seams.random)
    }

    /// Starts a task. Its owner must be able to wait for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.seams.runtime.spawn(Box::pin(task));
    }

    /// What the transport needs, with this observer.
    pub(crate) fn seams(&self, observer: Arc<dyn Observer>) -> Seams {
        Seams { observer, ..self.seams.clone() }
    }
}
