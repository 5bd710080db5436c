//! The port through which writers and links tell what happened, for metrics and logs.

use std::time::Duration;

use crate::error::{Busy, QuorumFailureReason, Refusal};
use crate::id::PeerId;

/// How a write ended, as one label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommitResult {
    /// W durable copies by the deadline.
    Committed,
    /// Undecided at the verdict; may or may not survive.
    Indeterminate,
    /// Refused before anything was logged or sent.
    NotApplied,
}

impl CommitResult {
    /// Every result.
    pub const ALL: [Self; 3] = [Self::Committed, Self::Indeterminate, Self::NotApplied];

    /// The stable name used in metrics and receipts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Indeterminate => "indeterminate",
            Self::NotApplied => "not_applied",
        }
    }
}

/// Why a handshake was refused, as one label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum HandshakeRefusal {
    /// No certificate, or one that no accepted authority signed.
    Stranger,
    /// The certificate's validity has ended or not begun.
    Expired,
    /// The certificate is valid, its name is not in the member list.
    NotAMember,
    /// The Hello names another member than the certificate does, or the dialled member is another.
    WrongName,
    /// The Hello names another cluster.
    WrongCluster,
    /// The two sides have different member lists.
    MembersDiffer,
    /// No common protocol version.
    Version,
    /// The peer broke the protocol.
    Protocol,
    /// Too many handshakes at once, or the handshake took too long.
    Overload,
    /// The member came back with less than it once held.
    RolledBack,
    /// An operator has declared this life of the member gone.
    Forgotten,
}

impl HandshakeRefusal {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Stranger,
        Self::Expired,
        Self::NotAMember,
        Self::WrongName,
        Self::WrongCluster,
        Self::MembersDiffer,
        Self::Version,
        Self::Protocol,
        Self::Overload,
        Self::RolledBack,
        Self::Forgotten,
    ];

    /// The stable name used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Expired => "expired",
            Self::NotAMember => "not_a_member",
            Self::WrongName => "wrong_name",
            Self::WrongCluster => "wrong_cluster",
            Self::MembersDiffer => "members_differ",
            Self::Version => "version",
            Self::Protocol => "protocol",
            Self::Overload => "overload",
            Self::RolledBack => "rolled_back",
            Self::Forgotten => "forgotten",
        }
    }
}

impl std::fmt::Display for HandshakeRefusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What a scrub comes upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScrubFinding {
    /// A record does not hash to its digest.
    Corrupt,
    /// A record is missing here, or is older than the one that a peer holds, though this member claims to have it.
    Missing,
    /// A peer holds the same version with other content.
    Drift,
    /// One of these was put right.
    Repaired,
}

impl ScrubFinding {
    /// Every finding.
    pub const ALL: [Self; 4] = [Self::Corrupt, Self::Missing, Self::Drift, Self::Repaired];

    /// The stable name used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Missing => "missing",
            Self::Drift => "drift",
            Self::Repaired => "repaired",
        }
    }
}

/// Hears what happens. Every method has an empty body, so an observer implements what it cares for.
///
/// Methods are called on the hot path: they must not block, and they cannot fail.
pub trait Observer: Send + Sync {
    /// A write was given a verdict, `elapsed` after it began.
    fn write_ended(&self, _result: CommitResult, _elapsed: Duration) {}
    /// A write missed its quorum.
    fn quorum_missed(&self, _reason: QuorumFailureReason) {}
    /// Writes begun and not yet given a verdict, after a change.
    fn writes_in_flight(&self, _count: usize) {}
    /// `peer` says the record is durable there, `latency` after it was handed to the link. Told for every ack, also
    /// for those that come after the verdict.
    fn peer_ack(&self, _peer: &PeerId, _latency: Duration) {}
    /// `peer` holds a newer version of the record's key.
    fn peer_superseded(&self, _peer: &PeerId) {}
    /// `peer` refused a record for good.
    fn peer_refusal(&self, _peer: &PeerId, _why: Refusal) {}
    /// `peer` does not take a record now.
    fn peer_busy(&self, _peer: &PeerId, _why: Busy) {}
    /// `peer` holds the same version with another digest.
    fn id_drift(&self, _peer: &PeerId) {}
    /// A new estimate of how far the clock of `peer` is ahead (`ahead`) or behind.
    fn clock_skew(&self, _peer: &PeerId, _offset: Duration, _ahead: bool) {}
    /// The link to `peer` came up or went down.
    fn link(&self, _peer: &PeerId, _up: bool) {}
    /// `records` records of `bytes` bytes were sent to `peer` because it lacked them: from the log or in a snapshot.
    fn repaired(&self, _peer: &PeerId, _records: usize, _bytes: usize) {}
    /// `count` tombstones were purged: nothing that they hid can come back.
    fn tombstones_purged(&self, _count: u64) {}
    /// The scrub found a record that is not as it should be, or put one right.
    fn scrubbed(&self, _finding: ScrubFinding) {}
    /// A handshake with a peer that dialled us was refused.
    fn handshake_refused(&self, _why: HandshakeRefusal) {}
    /// A synced commit of the local store took `took` and made `records` records durable.
    fn store_synced(&self, _records: usize, _took: Duration) {}
}

/// The observer that hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
