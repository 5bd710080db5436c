//! What a quorum write means, without I/O: W of N members hold a record durably by a deadline, or the truth about it.
//!
//! Every member of a small mesh holds the whole data set, any member takes a write, and nobody is elected. This crate
//! decides when such a write is *committed*. It opens no socket and no file, starts no thread, and reads no clock: it
//! works in any event loop and any async runtime, and under a clock that a test moves by hand.
//!
//! # Which part to take
//!
//! - [`AckTracker`] with a [`QuorumPolicy`]: only the counting rules, as a plain value. Tell it what happened and when,
//!   ask for the [`Verdict`]. `examples/drive_by_hand.rs` drives it from a channel.
//! - [`QuorumWriter`]: the whole order "stage, send, wait, decide" over three ports: a [`LocalStore`] (your table), a
//!   [`Replicator`] (the network; `quorum-transport` has one over QUIC) and a [`Clock`]. `examples/own_store.rs` brings
//!   its own of each.
//! - [`ReplicaStore`] and [`LogSource`]: the other half of a store, which takes other members' records and replays
//!   its own. With [`Frontier`]s they bring a member that was away up to date.
//! - `testing` (behind the feature of that name): a manual clock, scripted peers, the simplest correct store, and
//!   the promises of the ports as checks to run against your own store.
//!
//! # What a write may answer
//!
//! A write ends in exactly one of three ways, and the type says which: a [`Receipt`] is *committed*;
//! [`WriteError::NotApplied`] left no trace, so a retry is safe; [`WriteError::Indeterminate`] may or may not survive,
//! goes on replicating, and is retried with the same write id only. An ack counts if it arrived at or before the
//! deadline; the verdict is given once and never changes; and a write ends early, either way, as soon as it can.
//!
//! # Example
//!
//! A mesh of three in which one member is away. Two durable copies are a majority, so the write commits as soon as the
//! other peer has answered.
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use quorum_core::testing::{Executor, KeyValue, ManualClock, MemoryStore, Script, ScriptedPeers};
//! use quorum_core::{CommitOptions, Incarnation, PeerId, QuorumPolicy, QuorumWriter, Silent};
//!
//! let [n1, n2, n3] = ["n1", "n2", "n3"].map(|name| PeerId::new(name).expect("a valid name"));
//! let clock = ManualClock::new();
//! let store = MemoryStore::new(n1.clone(), Incarnation::from_bytes([1; 8]), clock.clone());
//! let network = ScriptedPeers::new(clock.clone())
//!     .with(&n2, [Script::stored(Duration::from_millis(3))])
//!     .with(&n3, [Script::unreachable()]);
//!
//! let policy = QuorumPolicy::majority(3)?;
//! let peers = vec![n2.clone(), n3];
//! let writer =
//!     QuorumWriter::new(policy, n1.clone(), peers, store, network, clock.clone(), Arc::new(Silent))?;
//!
//! let write = writer.commit(KeyValue::new("greeting", "hello"), CommitOptions::default());
//! let receipt = Executor::new(clock).block_on(write).expect("committed");
//!
//! assert_eq!((receipt.got, receipt.needed), (2, 2));
//! assert_eq!(receipt.elapsed, Duration::from_millis(3));
//! assert_eq!(receipt.acked().map(|(node, _)| node.clone()).collect::<Vec<_>>(), [n1, n2]);
//! assert_eq!(writer.store().value("greeting"), Some("hello".into()));
//! # }
//! # Ok::<(), quorum_core::QuorumError>(())
//! ```

mod acquaintance;
mod announcement;
mod clock;
mod error;
mod exposure;
mod first_start;
mod frontier;
mod id;
mod link;
mod observe;
#[doc(hidden)]
pub mod planted;
mod policy;
mod ports;
mod query;
mod read;
mod receipt;
mod record;
mod recovery;
mod replication;
mod stability;
mod trace;
mod tracker;
mod version;
#[cfg(feature = "serde")]
pub mod wary_list;
mod writer;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use acquaintance::{Known, Repute};
pub use announcement::{Announcement, Close, Occasion, Recovery};
pub use clock::guard::{ClockFault, ClockGuard};
pub use clock::hlc::{Hlc, HlcClock, HlcError};
pub use clock::skew::{ClockOffset, SkewProbe};
pub use error::{Busy, QuorumError, QuorumFailureReason, Refusal};
pub use exposure::Exposure;
pub use first_start::{FirstStart, FirstStartProgress, Witness, vouchers_needed};
pub use frontier::{Frontier, SeqSet};
pub use id::{ClusterId, Digest, Incarnation, InvalidId, PEER_ID_BYTES_MAX, PeerId, WriteId};
pub use link::{
    AckOfLane, Answered, CatchUp, CatchUpLane, ExchangePlan, ExchangeSight, FrameSize,
    HandshakeFault, Ledger, LedgerError, Link, LinkConfig, LinkView, LinkWord, Queued, ReplyTo,
    Rings, Sent, SnapshotSeat, check_hello, check_welcome,
};
pub use observe::{CommitResult, HandshakeRefusal, Observer, ScrubFinding, Silent};
pub use policy::{ACK_TIMEOUT_DEFAULT, CLOCK_SKEW_WARN_DEFAULT, QuorumPolicy};
pub use ports::{
    Applied, Clock, Incoming, LocalStore, LogSource, Outgoing, PeerReply, Random, Replay,
    ReplicaStore, Replicator, Reply, Sleep, SnapshotCursor, Staged, StandIn, in_time, wall_millis,
};
pub use query::{
    Answer, Inquirer, KnownWrite, Newest, PeerAnswer, QuerySource, Question, RangeEntry,
    Unavailable,
};
pub use read::{Held, ReadAnswer, ReadTracker, ReadVerdict};
pub use receipt::{MemberStanding, NotApplied, Receipt, Standing, WriteError};
pub use record::{Durability, Record};
pub use recovery::{RecoveryProgress, RecoveryTargets, Source};
pub use replication::{
    Deferred, LaneHash, Reach, owed_to, rolled_back, trim_floor, void_dots, wants,
};
pub use stability::{Heard, Stability};
pub use trace::TraceParent;
pub use tracker::{AckTracker, Verdict, deadline_after};
pub use version::{Dot, Epoch, Lineage, Origin, Version};
pub use writer::{CommitOptions, QuorumWriter};
