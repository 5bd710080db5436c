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
//!
//! # Example
//!
//! Two nodes on loopback over the store that quorum-core has for tests. With your own store, certificates from files and
//! real addresses it is the same: see `examples/sqlite_table.rs`.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use quorum_core::testing::{KeyValue, MemoryStore};
//! use quorum_core::{CommitOptions, Incarnation, QuorumPolicy, QuorumWriter, Silent};
//! use quorum_transport::{TokioClock, testing::Loopback};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mesh = Loopback::new(2)?;
//! let store = |index: usize| {
//!     let incarnation = Incarnation::from_bytes([index as u8; 8]);
//!     MemoryStore::new(mesh.name(index).clone(), incarnation, TokioClock::new())
//! };
//! let (here, there) = (store(0), store(1));
//! let endpoint = mesh.start(0, Arc::new(here.clone()), Arc::new(Silent))?;
//! let other = mesh.start(1, Arc::new(there.clone()), Arc::new(Silent))?;
//!
//! let writer = QuorumWriter::new(
//!     QuorumPolicy::majority(2)?.with_ack_timeout(Duration::from_secs(30)),
//!     mesh.name(0).clone(),
//!     vec![mesh.name(1).clone()],
//!     here,
//!     endpoint.replicator(),
//!     TokioClock::new(),
//!     Arc::new(Silent),
//! )?;
//! let receipt = writer.commit(KeyValue::new("key", "value"), CommitOptions::default()).await?;
//! assert_eq!(receipt.got, 2);
//! assert_eq!(there.value("key").as_deref(), Some(&b"value"[..]));
//!
//! endpoint.shutdown(Duration::from_secs(5)).await;
//! other.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod backoff;
mod clock;
mod close;
mod config;
mod endpoint;
mod error;
mod exchange;
mod fanout;
mod frames;
mod identity;
mod link;
mod quic_random;
mod seams;
mod server;
mod status;
mod tls;
mod verdicts;
mod wire;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use clock::TokioClock;
pub use config::TransportConfig;
pub use endpoint::Endpoint;
pub use error::{InvalidRoster, TransportError};
pub use fanout::{Answers, QuicPeers, Replies};
pub use identity::{Member, NodeIdentity, Roster};
pub use seams::{Seams, bind};
pub use status::PeerStatus;
pub use wire::PROTOCOL;
