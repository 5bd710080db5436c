//! What the caller of a write gets: a verdict, and where every member stands.

use std::time::Duration;

use crate::error::{Busy, QuorumError, Refusal};
use crate::id::{Digest, PeerId, WriteId};
use crate::record::{Durability, Record};
use crate::version::{Dot, Version};

/// Where one member stands with a write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// The copy is durable there and counted.
    Acked {
        /// How long after the write began the word came.
        after: Duration,
    },
    /// The copy is durable there; the word came after the deadline and did not count.
    Late {
        /// How long after the write began the word came.
        after: Duration,
    },
    /// A newer version of the key is durable there. It counted if the write was stamped anew or has two phases:
    /// then it is part of [`Receipt::got`].
    Superseded {
        /// That version.
        version: Version,
    },
    /// The same version is there with another digest.
    Drifted,
    /// It will not take the record.
    Refused {
        /// Why.
        reason: Refusal,
    },
    /// It did not take the record yet and said why. It will be asked again.
    Busy {
        /// Why.
        reason: Busy,
    },
    /// The local store failed. Only the coordinator stands so.
    Failed {
        /// What the store said.
        detail: String,
    },
    /// It has said nothing yet.
    Silent,
}

impl Standing {
    /// The stable name of a standing, with the reason where there is one: `refused:corrupt`, `busy:clock`.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Acked { .. } => "acked".into(),
            Self::Late { .. } => "late".into(),
            Self::Superseded { .. } => "superseded".into(),
            Self::Drifted => "drifted".into(),
            Self::Refused { reason } => format!("refused:{reason}"),
            Self::Busy { reason } => format!("busy:{reason}"),
            Self::Failed { .. } => "failed".into(),
            Self::Silent => "silent".into(),
        }
    }
}

/// A member and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStanding {
    /// Which member.
    pub node: PeerId,
    /// Where it stands.
    pub standing: Standing,
}

/// Everything known about a write when its verdict was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The write's name, to retry or to ask later.
    pub write_id: WriteId,
    /// The write's name in the replication protocol.
    pub dot: Dot,
    /// The version under which it competes.
    pub version: Version,
    /// The digest of its payload.
    pub digest: Digest,
    /// How durable a copy had to be to count.
    pub durability: Durability,
    /// Copies that were needed.
    pub needed: usize,
    /// Copies that counted, the local one included.
    pub got: usize,
    /// Every member, the coordinator first.
    pub members: Vec<MemberStanding>,
    /// From the beginning of the write to its verdict.
    pub elapsed: Duration,
}

impl Receipt {
    pub(crate) fn new(
        record: &Record,
        needed: usize,
        got: usize,
        members: Vec<MemberStanding>,
        elapsed: Duration,
    ) -> Self {
        let (write_id, dot, version) = (record.write_id, record.dot.clone(), record.version());
        let (digest, durability) = (record.digest, record.durability);
        Self { write_id, dot, version, digest, durability, needed, got, members, elapsed }
    }

    /// The members that acked in time, with the time their word took.
    pub fn acked(&self) -> impl Iterator<Item = (&PeerId, Duration)> {
        self.members.iter().filter_map(|member| match member.standing {
            Standing::Acked { after } => Some((&member.node, after)),
            _ => None,
        })
    }

    /// The members that did not ack, and why.
    pub fn missing(&self) -> impl Iterator<Item = (&PeerId, &Standing)> {
        self.members.iter().filter_map(|member| match &member.standing {
            Standing::Acked { .. } => None,
            standing => Some((&member.node, standing)),
        })
    }
}

/// A write that was not committed. The variant tells what it leaves behind.
#[derive(Debug, thiserror::Error)]
#[must_use]
#[expect(
    clippy::exhaustive_enums,
    reason = "a write has exactly three outcomes; these are the two that are not committed"
)]
pub enum WriteError<E: std::error::Error + 'static> {
    /// Refused before anything was logged or sent: no trace of it is left, a retry is safe.
    #[error("not applied: {0}")]
    NotApplied(#[source] NotApplied<E>),
    /// It may or may not survive: the record goes on replicating. Retry with the same write id.
    #[error("indeterminate: {cause}")]
    Indeterminate {
        /// Where every member stands.
        receipt: Box<Receipt>,
        /// Why it is not committed.
        #[source]
        cause: QuorumError,
    },
}

/// Why a write was refused before anything happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotApplied<E: std::error::Error + 'static> {
    /// The rule asked for contradicts the members.
    #[error(transparent)]
    Policy(QuorumError),
    /// The local store takes no write.
    #[error(transparent)]
    Store(E),
}
