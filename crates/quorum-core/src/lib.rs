//! placeholder docs

mod clock;
mod error;
mod frontier;
mod id;
mod observe;
mod policy;
mod ports;
mod receipt;
mod record;
mod replication;
mod trace;
mod tracker;
mod version;
mod writer;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use clock::guard::{ClockFault, ClockGuard};
pub use clock::hlc::{Hlc, HlcClock, HlcError};
pub use clock::skew::{ClockOffset, SkewProbe};
pub use error::{Busy, QuorumError, QuorumFailureReason, Refusal};
pub use frontier::{Frontier, SeqSet};
pub use id::{ClusterId, Digest, Incarnation, InvalidId, PEER_ID_BYTES_MAX, PeerId, WriteId};
pub use observe::{CommitResult, HandshakeRefusal, Observer, Silent};
pub use policy::{ACK_TIMEOUT_DEFAULT, CLOCK_SKEW_WARN_DEFAULT, QuorumPolicy};
pub use ports::{
    Applied, Clock, Incoming, LocalStore, LogSource, Outgoing, PeerReply, Random, Replay, ReplicaStore,
    Replicator, Reply, Sleep, SnapshotCursor, Staged, wall_millis,
};
pub use receipt::{MemberStanding, NotApplied, Receipt, Standing, WriteError};
pub use record::{Durability, Record};
pub use replication::{owed_to, rolled_back, trim_floor, void_dots, Deferred, LaneHash};
pub use trace::TraceParent;
pub use tracker::{AckTracker, Verdict};
pub use version::{Dot, Epoch, Lineage, Origin, Version};
pub use writer::{CommitOptions, QuorumWriter};
