//! Who wrote what, in which order: origins, dots and the versions that pick a winner.

use std::fmt;

use crate::clock::hlc::Hlc;
use crate::id::{Incarnation, PeerId};

/// One life of one member's data directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Origin {
    /// The member.
    pub node: PeerId,
    /// Which life of its data directory.
    pub incarnation: Incarnation,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.node, self.incarnation)
    }
}

/// One start of one incarnation: larger at every start, never the same twice.
///
/// The upper 48 bits count starts; the lower 16 are random, so that two starts from one copied or rolled-back disk
/// still differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch of the `start`th start (saturating at 48 bits), salted.
    #[must_use]
    pub const fn new(start: u64, salt: u16) -> Self {
        const START_MAX: u64 = u64::MAX >> 16;
        let start = if start > START_MAX { START_MAX } else { start };
        Self((start << 16) | salt as u64)
    }

    /// The epoch that [`as_u64`](Self::as_u64) printed.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// The epoch as one number; numbers order as the epochs do.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Which start of the incarnation this is, from 1.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{:04x}", self.start(), self.0 & u64::from(u16::MAX))
    }
}

/// The sequence of writes that one start of one origin coordinates, numbered 1, 2, 3 without holes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Lineage {
    /// Who coordinates.
    pub origin: Origin,
    /// Since which start.
    pub epoch: Epoch,
}

impl fmt::Display for Lineage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.origin, self.epoch)
    }
}

/// The name of one write in the replication protocol: never reused, whatever is lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Dot {
    /// The sequence it belongs to.
    pub lineage: Lineage,
    /// Its number there, from 1.
    pub seq: u64,
}

impl fmt::Display for Dot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}#{}", self.lineage, self.seq)
    }
}

/// The order of two records of one key: the larger version wins, everywhere.
///
/// Hybrid logical time first, the origin breaks ties.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a plain pair")]
pub struct Version {
    /// When, in hybrid logical time.
    pub hlc: Hlc,
    /// By whom.
    pub origin: Origin,
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.hlc, self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(millis: u64, node: &str) -> Version {
        let node = PeerId::new(node).expect("a valid name");
        let incarnation = Incarnation::from_bytes([7; 8]);
        Version { hlc: Hlc::from_millis(millis), origin: Origin { node, incarnation } }
    }

    #[test]
    fn later_time_wins_and_the_origin_breaks_ties() {
        assert!(version(2, "a") > version(1, "z"));
        assert!(version(1, "b") > version(1, "a"));
    }

    #[test]
    fn a_later_start_is_a_larger_epoch_whatever_the_salt() {
        assert!(Epoch::new(2, 0) > Epoch::new(1, u16::MAX));
        assert_ne!(Epoch::new(2, 1), Epoch::new(2, 2));
        assert_eq!(Epoch::new(9, 3).start(), 9);
    }
}
