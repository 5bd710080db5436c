//! Authenticated QUIC between the members of a quorum mesh.
//!
//! One [`Endpoint`] per node dials every other member, serves what they send, and gives its writer a
//! [`Replicator`](quorum_core::Replicator): [`QuicPeers`].
//!
//! # What delivery promises
//!
//! - Every record that the store holds durably reaches every member sooner or later: live if the peer keeps up, from the
//!   log if it was away or slow. Nothing is queued in memory beyond
//!   [`TransportConfig::live_queue_bytes_max`] per peer.
//! - A reply counts only on the connection on which the record was sent; undecided writes are asked again after a
//!   reconnect. Acks are cumulative and echo a running hash of what was sent.
//! - Both sides are authenticated by certificates of the cluster's authority (TLS 1.3), the member's name comes from the
//!   certificate, and only names in the [`Roster`] are admitted. Resumption and 0-RTT are off.
//!
//! # What it does not promise
//!
//! Order between records, exactly-once delivery, or delivery at all to a member that stays away: the store behind
//! [`ReplicaStore`](quorum_core::ReplicaStore) merges idempotently, whatever comes in whatever order.

mod backoff;
mod clock;
mod close;
mod config;
mod endpoint;
mod error;
mod fanout;
mod frames;
mod identity;
mod link;
mod seams;
mod server;
mod status;
mod tls;
mod wire;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use clock::TokioClock;
pub use config::TransportConfig;
pub use endpoint::Endpoint;
pub use error::{InvalidRoster, TransportError};
pub use fanout::{QuicPeers, Replies};
pub use identity::{Member, NodeIdentity, Roster};
pub use seams::{Seams, bind};
pub use status::PeerStatus;
pub use wire::PROTOCOL;
