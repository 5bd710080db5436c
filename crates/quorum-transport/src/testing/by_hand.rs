//! A peer played by the test: what no honest node would send.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use quorum_core::{Announcement, HandshakeRefusal, Incoming, Lineage, PeerId};
use tokio::net::UdpSocket;

use crate::close;
use crate::identity::{NodeIdentity, Roster};
use crate::link::catch_up::append_frame;
use crate::server::lane;
use crate::wire::LENGTH_BYTES;
use crate::wire::codec::encode_frame;
use crate::wire::message::{Append, Control, Hello, LaneKind, OpenLane};

/// A connection that says only what the test lets it say.
#[derive(Debug)]
pub struct ByHand {
    /// The connection.
    pub connection: Connection,
    // Keeps the socket open.
    _endpoint: quinn::Endpoint,
}

impl ByHand {
    /// Dials the member `name` at `to` with a certificate of `identity`, or with none, and accepts whatever certificate
    /// `identity` accepts. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// How the handshake ended.
    ///
    /// # Panics
    ///
    /// If the parts make no TLS configuration.
    pub async fn dial(
        to: SocketAddr,
        name: &PeerId,
        identity: &NodeIdentity,
        shows_certificate: bool,
        protocol: &[u8],
    ) -> Result<Self, ConnectionError> {
        let client = client(identity, shows_certificate, protocol);
        let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into());
        let endpoint = endpoint.expect("a loopback socket");
        let connecting = endpoint.connect_with(client, to, name.as_str());
        let connection = connecting.expect("a valid name and address").await?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    /// Opens a stream and sends bytes on it.
    ///
    /// # Errors
    ///
    /// How the connection ended.
    ///
    /// # Panics
    ///
    /// If the peer refuses the stream without ending the connection.
    pub async fn open(&self, bytes: &[u8]) -> Result<(SendStream, RecvStream), ConnectionError> {
        let (mut send, receive) = self.connection.open_bi().await?;
        match send.write_all(bytes).await {
            Ok(()) => Ok((send, receive)),
            Err(quinn::WriteError::ConnectionLost(cause)) => Err(cause),
            Err(other) => panic!("the stream was refused: {other}"),
        }
    }

    /// Waits until the peer ends the connection, and says with which refusal.
    pub async fn refusal(&self) -> Option<HandshakeRefusal> {
        refusal(&self.connection.closed().await)
    }
}

/// The refusal that ended a connection which this side dialled, if it was one.
#[must_use]
pub fn refusal(cause: &ConnectionError) -> Option<HandshakeRefusal> {
    match close::explain(cause) {
        crate::TransportError::Refused { reason, .. } => Some(reason),
        _ => None,
    }
}

/// The Hello of the roster's local member.
#[must_use]
pub fn hello(roster: &Roster, to: &PeerId, lineage: &Lineage) -> Bytes {
    frame(&Hello {
        cluster: roster.cluster(),
        node: roster.local().clone(),
        to: to.clone(),
        members: roster.digest(),
        lineage: lineage.clone(),
        announcement: Announcement::default(),
    })
}

/// The first frame of a live lane.
#[must_use]
pub fn open_lane(lineage: &Lineage) -> Bytes {
    let (incarnation, epoch) = (lineage.origin.incarnation, lineage.epoch.as_u64());
    frame(&OpenLane { kind: LaneKind::Live, incarnation, epoch })
}

/// A probe.
#[must_use]
pub fn probe() -> Bytes {
    frame(&Control::Probe { sent_micros: 1 })
}

/// An item that says nothing.
#[must_use]
pub fn nothing() -> Bytes {
    frame(&Append { record: None, ..Append::default() })
}

/// An item as a lane carries it.
///
/// # Panics
///
/// If it is larger than a message may be.
#[must_use]
pub fn item(incoming: &Incoming) -> Bytes {
    append_frame(incoming).expect("a message that is not too large")
}

/// What the peer makes of an [`item`]; nothing if it is none.
#[must_use]
pub fn read_item(frame: &[u8]) -> Option<Incoming> {
    lane::incoming(frame.get(LENGTH_BYTES..)?).ok()
}

/// First packets of `count` different connections, caught on their way to nowhere. Call it within a tokio runtime.
///
/// # Panics
///
/// If there is no loopback network.
pub async fn first_packets(count: usize, name: &PeerId, identity: &NodeIdentity) -> Vec<Vec<u8>> {
    const AT_ONCE: usize = 50;
    let trap = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback socket");
    let nowhere = trap.local_addr().expect("a bound socket has an address");
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into());
    let endpoint = endpoint.expect("a loopback socket");
    let client = client(identity, true, crate::PROTOCOL);
    let (mut seen, mut packets) = (HashSet::new(), Vec::new());
    let mut datagram = vec![0; 2_048];
    while packets.len() < count {
        let connect = |_| endpoint.connect_with(client.clone(), nowhere, name.as_str());
        let connecting: Vec<_> = (0..AT_ONCE).map(connect).collect();
        let enough = count.min(packets.len() + AT_ONCE);
        while packets.len() < enough {
            let length = trap.recv(&mut datagram).await.expect("a datagram");
            // A long header of type Initial, whose destination begins at byte 6.
            let destination = datagram.get(6..6 + usize::from(datagram[5]));
            let is_initial = datagram[0] & 0xf0 == 0xc0;
            if is_initial && destination.is_some_and(|it| seen.insert(it.to_vec())) {
                packets.push(datagram[..length].to_vec());
            }
        }
        drop(connecting);
    }
    packets
}

fn client(
    identity: &NodeIdentity,
    shows_certificate: bool,
    protocol: &[u8],
) -> quinn::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .with_root_certificates(identity.roots.clone());
    let mut tls = if shows_certificate {
        let (chain, key) = (identity.chain.clone(), identity.key.clone_key());
        tls.with_client_auth_cert(chain, key).expect("a usable identity")
    } else {
        tls.with_no_client_auth()
    };
    tls.alpn_protocols = vec![protocol.to_vec()];
    let quic = QuicClientConfig::try_from(tls).expect("a usable suite");
    quinn::ClientConfig::new(Arc::new(quic))
}

fn frame<M: serde::Serialize>(message: &M) -> Bytes {
    encode_frame(message).expect("a small message")
}
