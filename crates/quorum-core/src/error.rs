//! What can go wrong with a quorum write, and why a quorum was missed.

use std::fmt;

use crate::id::PeerId;

/// Why a write was not confirmed.
///
/// The variants differ in what they leave behind, which is what a caller needs to know before retrying.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// Too few durable copies were confirmed in time. The record may be here and on some peers, and goes on
    /// replicating: retry with the same write id, never with a fresh one.
    #[error("quorum not met: {got} of {needed} copies ({reason})")]
    QuorumNotMet {
        /// Durable copies confirmed by the deadline, the local one included.
        got: usize,
        /// Copies the policy asks for.
        needed: usize,
        /// Why the rest is missing.
        reason: QuorumFailureReason,
    },
    /// The policy contradicts itself; nothing was attempted.
    #[error("invalid quorum policy: {detail}")]
    InvalidPolicy {
        /// Which rule is broken.
        detail: String,
    },
    /// The list of members contradicts the policy or itself; nothing was attempted.
    #[error("invalid members: {detail}")]
    InvalidMembers {
        /// Which rule is broken.
        detail: String,
    },
    /// The local disk refused the record. Peers may hold it: the fan-out runs beside the local append.
    #[error("local write failed: {detail}")]
    LocalWriteFailed {
        /// What the local store said.
        detail: String,
    },
}

/// Why too few copies were confirmed. The spelling of [`as_str`](Self::as_str) is public contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum QuorumFailureReason {
    /// Peers hold this version with other content; enough of them to make the quorum impossible.
    IdDrift,
    /// Refusals and drifts together make the quorum impossible.
    Refused,
    /// Peers hold newer versions of the key; with refusals and drifts they make the quorum impossible.
    Superseded,
    /// No peer answered before the deadline.
    Unreachable,
    /// Some peers answered before the deadline, too few with an ack.
    Timeout,
    /// Enough peers acked; only the local copy was not yet durable at the deadline.
    LocalPending,
    /// The local store failed, and a quorum without the coordinator does not count.
    LocalFailed,
    /// The deadline has not come; the write is undecided.
    InFlight,
}

impl QuorumFailureReason {
    /// Every reason, in the order in which they are looked for.
    pub const ALL: [Self; 8] = [
        Self::LocalFailed,
        Self::IdDrift,
        Self::Refused,
        Self::Superseded,
        Self::LocalPending,
        Self::Unreachable,
        Self::Timeout,
        Self::InFlight,
    ];

    /// The stable name used in metrics, receipts and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdDrift => "id_drift",
            Self::Refused => "refused",
            Self::Superseded => "superseded",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::LocalPending => "local_pending",
            Self::LocalFailed => "local_failed",
            Self::InFlight => "in_flight",
        }
    }
}

impl fmt::Display for QuorumFailureReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A peer's final word that it will not take this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Refusal {
    /// The payload does not hash to the digest it came with.
    Corrupt,
    /// The payload is not a record of this application.
    Malformed,
    /// The record is larger than the peer takes.
    TooLarge,
    /// The version lies at or below the watermark under which tombstones are purged.
    TooOld,
    /// The peer's policy does not admit the record.
    Policy,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Corrupt, Self::Malformed, Self::TooLarge, Self::TooOld, Self::Policy];

    /// The stable name used in metrics, receipts and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooOld => "too_old",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A peer's word that it does not take the record now and may take it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Busy {
    /// Its queues are full.
    Overload,
    /// Its disk is full or failing.
    Disk,
    /// The record's clock lies too far ahead of the peer's clock.
    Clock,
    /// It holds too many gaps of this origin and takes records in order only.
    Gaps,
    /// It has the record, but does not count: it lost its data before and does not have everything again, or its data is new
    /// and it is not known yet whether it lost any.
    Recovering,
    /// It has the record, or a newer one of its key, and covers what the item stands for, but holds too many gaps to promise
    /// the record's own dot: that it does with those before it, or with the claim at the end of a snapshot.
    Kept,
}

impl Busy {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Overload, Self::Disk, Self::Clock, Self::Gaps, Self::Recovering, Self::Kept];

    /// The stable name used in metrics, receipts and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Gaps => "gaps",
            Self::Recovering => "recovering",
            Self::Kept => "kept",
        }
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Checks a list of peers against their number and the local name.
pub(crate) fn check_members(local: &PeerId, peers: &[PeerId], n: usize) -> Result<(), QuorumError> {
    let detail = if peers.len() + 1 != n {
        format!("the policy counts {n} members, the list names {}", peers.len() + 1)
    } else if peers.contains(local) {
        format!("the local member {local} is also listed as a peer")
    } else if let Some(twice) = peers.iter().enumerate().find(|(at, id)| peers[..*at].contains(id))
    {
        format!("member {} is listed twice", twice.1)
    } else {
        return Ok(());
    };
    Err(QuorumError::InvalidMembers { detail })
}
