//! TLS 1.3 both ways, for members of one cluster only.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig as QuicTransport, VarInt};
use rustls::client::Resumption;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use crate::config::TransportConfig;
use crate::error::TransportError;
use crate::identity::NodeIdentity;
use crate::quic_random;
use crate::seams::Seams;
use crate::wire::PROTOCOL;

/// Streams a peer may have open at once: control, three lanes of records, and one of questions.
const STREAMS_MAX: u32 = 6;

/// Packets that are acknowledged together, if they come close behind each other.
const PACKETS_PER_ACK: u32 = 8;

/// Early packets of one connection that are kept until it is accepted, in bytes.
const INCOMING_BYTES_MAX: u64 = 16 << 10;

fn identity(error: impl std::fmt::Display) -> TransportError {
    TransportError::Identity(error.to_string())
}

/// What a peer that dials us must show: a certificate of one of our authorities.
pub(crate) fn server(
    identity_of: &NodeIdentity,
    seams: &Seams,
    config: &TransportConfig,
) -> Result<quinn::ServerConfig, TransportError> {
    let provider = &seams.provider;
    let roots = Arc::new(identity_of.roots.clone());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(identity)?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(identity)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity_of.chain.clone(), identity_of.key.clone_key())
        .map_err(identity)?;
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A resumed session would outlive the certificate that opened it.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    let quic = QuicServerConfig::try_from(tls).map_err(identity)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(quic));
    server.transport_config(Arc::new(transport(config)));
    // What waits for the accept loop: it never waits long, and is bounded all the same.
    server.max_incoming(config.handshakes_max);
    server.incoming_buffer_size(INCOMING_BYTES_MAX);
    server.incoming_buffer_size_total(INCOMING_BYTES_MAX * config.handshakes_max as u64);
    server.migration(false);
    if let Some(random) = &seams.quic_random {
        quic_random::server(&mut server, &**random, &seams.clock);
    }
    Ok(server)
}

/// What a peer that we dial must show: a certificate of one of our authorities that carries its name.
pub(crate) fn client(
    identity_of: &NodeIdentity,
    seams: &Seams,
    config: &TransportConfig,
) -> Result<quinn::ClientConfig, TransportError> {
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&seams.provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(identity)?
        .with_root_certificates(identity_of.roots.clone())
        .with_client_auth_cert(identity_of.chain.clone(), identity_of.key.clone_key())
        .map_err(identity)?;
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    let quic = QuicClientConfig::try_from(tls).map_err(identity)?;
    let mut client = quinn::ClientConfig::new(Arc::new(quic));
    let mut quic = transport(config);
    // One side is enough: the answer keeps the other one alive.
    quic.keep_alive_interval(Some(config.keep_alive));
    client.transport_config(Arc::new(quic));
    if let Some(random) = &seams.quic_random {
        quic_random::client(&mut client, random);
    }
    Ok(client)
}

fn transport(config: &TransportConfig) -> QuicTransport {
    let mut quic = QuicTransport::default();
    let idle = IdleTimeout::try_from(config.idle_timeout)
        .unwrap_or_else(|_| VarInt::from_u32(5_000).into());
    // A lost first packet is sent again well within one attempt at dialling.
    quic.initial_rtt(config.dial_timeout / 10);
    // Every packet that only says what has arrived wakes a process. Fewer than the ten packets that a connection begins
    // with, so that it never waits for one that is held back.
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(PACKETS_PER_ACK - 1));
    quic.max_idle_timeout(Some(idle))
        .ack_frequency_config(Some(acks))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(config.stream_window_bytes))
        .receive_window(VarInt::from_u32(config.connection_window_bytes))
        .send_window(u64::from(config.connection_window_bytes));
    quic
}
