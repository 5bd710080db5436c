//! The envelope that every replicated write travels in.

use bytes::Bytes;

use crate::clock::hlc::Hlc;
use crate::id::{Digest, WriteId};
use crate::version::{Dot, Version};

/// How durable a copy is before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Durability {
    /// The copy has been forced to stable storage: it survives a power cut.
    #[default]
    Fsync,
    /// The operating system has the copy: it survives the death of the process, not that of the machine.
    Relaxed,
}

impl Durability {
    /// The stable name used in receipts and config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Relaxed => "relaxed",
        }
    }
}

/// One write: its names, its place in the order, and an opaque payload.
///
/// What the payload means, which key it is about for instance, is the store's business. The same envelope replays the
/// write for ever: a resend, a catch-up and a repair carry the original dot and time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "stores build records")]
pub struct Record {
    /// The write's name towards its caller, kept over retries.
    pub write_id: WriteId,
    /// The write's name in the replication protocol.
    pub dot: Dot,
    /// The write's place in the order of versions.
    pub hlc: Hlc,
    /// [`Digest::of`] the payload.
    pub digest: Digest,
    /// When a copy counts.
    pub durability: Durability,
    /// The store's own encoding of what was written.
    pub payload: Bytes,
}

impl Record {
    /// A record whose digest is computed from its payload.
    #[must_use]
    pub fn new(
        write_id: WriteId,
        dot: Dot,
        hlc: Hlc,
        durability: Durability,
        payload: Bytes,
    ) -> Self {
        let digest = Digest::of(&payload);
        Self { write_id, dot, hlc, digest, durability, payload }
    }

    /// The version by which this record competes with others of its key.
    #[must_use]
    pub fn version(&self) -> Version {
        Version { hlc: self.hlc, origin: self.dot.lineage.origin.clone() }
    }

    /// Whether the payload still hashes to the digest.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        Digest::of(&self.payload) == self.digest
    }
}
