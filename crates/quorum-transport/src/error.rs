//! What can go wrong between starting an endpoint and talking to a peer.

use std::io;

use quorum_core::{HandshakeRefusal, PeerId};

/// A member list that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRoster {
    /// The local name is not in the list.
    #[error("the local member {0} is not in the member list")]
    LocalMissing(PeerId),
    /// A name is in the list twice.
    #[error("member {0} is in the member list twice")]
    Twice(PeerId),
    /// A name cannot stand in a certificate.
    #[error("member name {0} is not a DNS name, so no certificate can carry it")]
    NotADnsName(PeerId),
}

/// Why an endpoint does not start, or a link does not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The socket could not be opened or used.
    #[error("cannot use the peer socket: {0}")]
    Socket(#[source] io::Error),
    /// The certificate, the key or the authorities cannot be used for TLS.
    #[error("cannot use the TLS identity: {0}")]
    Identity(String),
    /// The certificate names another node than the configuration.
    #[error("the certificate is for {found}, this node is {expected}")]
    IdentityName {
        /// The name of this node.
        expected: PeerId,
        /// The names in the certificate.
        found: String,
    },
    /// The member list contradicts itself.
    #[error(transparent)]
    Roster(#[from] InvalidRoster),
    /// The peer's address does not resolve.
    #[error("cannot resolve {address}: {cause}")]
    Resolve {
        /// The address as configured.
        address: String,
        /// What the resolver said.
        cause: io::Error,
    },
    /// One side refused the handshake.
    #[error("handshake refused ({reason}): {detail}")]
    Refused {
        /// Why.
        reason: HandshakeRefusal,
        /// What was said about it.
        detail: String,
    },
    /// The peer did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Protocol(String),
}

impl TransportError {
    /// This node's store has failed, so it has nothing to say to peers.
    pub(crate) fn store_failed() -> Self {
        Self::Lost("this node's store has failed".into())
    }

    pub(crate) fn refused(reason: HandshakeRefusal, detail: impl Into<String>) -> Self {
        Self::Refused { reason, detail: detail.into() }
    }

    pub(crate) fn is_refusal(&self, expected: HandshakeRefusal) -> bool {
        matches!(self, Self::Refused { reason, .. } if *reason == expected)
    }
}
