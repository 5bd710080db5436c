//! Everything through which the transport touches the world.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use quorum_core::{Clock, Observer, Random};
use rustls::crypto::CryptoProvider;
use socket2::SockRef;

use crate::clock::TokioClock;
use crate::error::TransportError;

/// The world of an [`Endpoint`](crate::Endpoint): socket, tasks and timers, clock, randomness, cryptography. A
/// simulation replaces all of them.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Seams {
    /// The UDP socket, already bound.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Where tasks run and QUIC's timers come from.
    pub runtime: Arc<dyn Runtime>,
    /// The clock of deadlines, backoff and skew probes.
    pub clock: Arc<dyn Clock>,
    /// The source of jitter.
    pub random: Arc<dyn Random>,
    /// Where QUIC takes its connection ids, keys and jitter from; the machine if `None`.
    pub quic_random: Option<Arc<dyn Random>>,
    /// TLS cryptography.
    pub provider: Arc<CryptoProvider>,
    /// Who hears of acks, drift, skew and refused handshakes.
    pub observer: Arc<dyn Observer>,
}

impl Seams {
    /// The real world: the given socket, tokio, the machine's clock and aws-lc-rs.
    #[must_use]
    pub fn real(
        socket: Arc<dyn AsyncUdpSocket>,
        random: Arc<dyn Random>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            socket,
            runtime: Arc::new(TokioRuntime),
            clock: Arc::new(TokioClock::new()),
            random,
            quic_random: None,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            observer,
        }
    }
}

impl fmt::Debug for Seams {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Seams").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Room for what all peers send at once: what does not fit is lost, and sent again. Linux gives as much of it as
/// `net.core.rmem_max` allows.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Binds the peer socket of a node on the real network. Call it within a tokio runtime.
///
/// # Errors
///
/// [`TransportError::Socket`] if the address cannot be bound.
pub fn bind(listen: SocketAddr) -> Result<Arc<dyn AsyncUdpSocket>, TransportError> {
    let socket = std::net::UdpSocket::bind(listen).map_err(TransportError::Socket)?;
    // Without it there is less room, and nothing else is worse.
    let buffer = SockRef::from(&socket);
    if buffer.recv_buffer_size().is_ok_and(|bytes| bytes < RECEIVE_BUFFER_BYTES)
        && let Err(error) = buffer.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)
    {
        tracing::warn!(%error, "the receive buffer of the peer socket keeps its size");
    }
    TokioRuntime.wrap_udp_socket(socket).map_err(TransportError::Socket)
}
