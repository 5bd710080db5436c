//! What members ask each other, and the ports through which they ask and answer.
//!
//! Questions change nothing at the peer. Answers tell synced state only, and carry the name that the connection
//! authenticated.

use std::future::Future;
use std::time::Instant;

use bytes::Bytes;
use futures_core::Stream;

use crate::clock::hlc::Hlc;
use crate::id::{Digest, PeerId, WriteId};
use crate::record::Record;
use crate::version::{Dot, Version};

/// A question to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Question {
    /// What is the newest record of this key?
    Newest {
        /// The key, in the store's own bytes.
        key: Bytes,
        /// Whether the record itself is wanted, or only its version and digest.
        with_record: bool,
    },
    /// What became of this write?
    Write {
        /// Its name.
        write_id: WriteId,
    },
    /// How do your records of this range of keys add up?
    RangeDigest {
        /// Keys behind this one; from the first if left out.
        after: Option<Bytes>,
        /// Keys up to this one, which is included; to the last if left out.
        through: Option<Bytes>,
        /// Tombstones of this time and before are left out: one side may have purged them.
        ignore_tombstones_through: Hlc,
    },
    /// Which records have you in this range of keys?
    Range {
        /// Keys behind this one; from the first if left out.
        after: Option<Bytes>,
        /// Keys up to this one, which is included; to the last if left out.
        through: Option<Bytes>,
    },
}

impl Question {
    /// Whether the answer counts only if it comes from a member that holds what it acknowledged: what is said of a single
    /// key or write.
    #[must_use]
    pub const fn must_count(&self) -> bool {
        matches!(self, Self::Newest { .. } | Self::Write { .. })
    }

    /// Whether it compares a range of keys, as whoever sends everything does.
    #[must_use]
    pub const fn compares(&self) -> bool {
        matches!(self, Self::RangeDigest { .. } | Self::Range { .. })
    }
}

/// A record without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct RangeEntry {
    /// The key, in the store's own bytes.
    pub key: Bytes,
    /// The version of the record that is current there.
    pub version: Version,
    /// Its digest.
    pub digest: Digest,
    /// Whether it says that the key is deleted.
    pub is_tombstone: bool,
}

/// The newest record of a key at one member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct Newest {
    /// Its version.
    pub version: Version,
    /// Its digest.
    pub digest: Digest,
    /// The record, if it was asked for.
    pub record: Option<Record>,
}

/// What a member knows of a write id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_enums, reason = "whoever asks must judge every case")]
pub enum KnownWrite {
    /// Nothing.
    Unknown,
    /// The write is older than the horizon within which ids are told apart.
    Expired,
    /// It was durably taken here.
    Held {
        /// Its dot; of a write that was stamped again, the last one seen.
        dot: Dot,
        /// Its version.
        version: Version,
        /// Its digest.
        digest: Digest,
        /// Its key, in the store's own bytes.
        key: Bytes,
        /// The newest version of its key there; none if that was purged.
        newest: Option<Version>,
    },
    /// It is being executed here now, and may end in any way.
    UnderWay,
}

/// Why a member gives no answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unavailable {
    /// There is no connection to it.
    Unreachable,
    /// It lost its data and does not have everything again, or its data is new and it is not known yet whether it lost any.
    Recovering,
    /// Too many questions are under way.
    Overload,
    /// Its store cannot be read.
    Failed,
    /// Its store does not answer such questions.
    Unsupported,
}

impl Unavailable {
    /// The stable name used in answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Recovering => "recovering",
            Self::Overload => "overload",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
        }
    }
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Answer {
    /// To [`Question::Newest`]: `None` if the key has no record there.
    Newest(Option<Newest>),
    /// To [`Question::Write`].
    Write(KnownWrite),
    /// To [`Question::RangeDigest`].
    RangeDigest {
        /// How many records there are.
        records: u64,
        /// Over their keys, versions and digests, in order.
        digest: Digest,
        /// Whether these are all. Sums of which one is not say nothing about the rest of the range.
        is_complete: bool,
    },
    /// To [`Question::Range`]: the first records of the range, in order.
    Range {
        /// The records.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::wary_list::deserialize"))]
        entries: Vec<RangeEntry>,
        /// Whether these are all.
        is_complete: bool,
    },
    /// There is none.
    Unavailable(Unavailable),
}

/// Answers the questions of other members.
///
/// # Promises
///
/// - An answer tells synced state: it survives a crash of this member.
/// - An answer is bounded: a range ends, and says so, before it grows larger than a frame.
pub trait QuerySource: Send + Sync + 'static {
    /// The answer to `question` of the member `from`. A store that answers nothing keeps this one.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, nothing is left.
    fn answer(&self, _from: &PeerId, _question: Question) -> impl Future<Output = Answer> + Send {
        std::future::ready(Answer::Unavailable(Unavailable::Unsupported))
    }
}

/// A member's answer, with the moment at which it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "networks build it")]
pub struct PeerAnswer {
    /// Who answered, by its authenticated name.
    pub peer: PeerId,
    /// What it said.
    pub answer: Answer,
    /// When that arrived here.
    pub at: Instant,
}

/// The network, as somebody who asks sees it.
///
/// # Promises
///
/// - Each peer that is asked gives at most one answer. One that cannot be reached is
///   [`Unavailable::Unreachable`] at once, and when its connection breaks.
/// - An answer of a peer that does not count (see [`Recovery::counts`](crate::Recovery::counts)) is [`Unavailable::Recovering`].
/// - A question is dropped, there and here, at its deadline or when the answers are dropped.
pub trait Inquirer: Send + Sync {
    /// Answers as they arrive. Ends when no more can come.
    type Answers: Stream<Item = PeerAnswer> + Send + Unpin;

    /// Asks `peers`; names that are no peers are passed over. Does not wait.
    fn ask(&self, peers: &[PeerId], question: Question, deadline: Instant) -> Self::Answers;
}
