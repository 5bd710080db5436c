//! How many durable copies commit a write, as people say it: `"majority"`, `"all"`, `2`. (pure)

use std::fmt;
use std::str::FromStr;

use quorum_core::planted::{self, Bug};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::number_or_word;

/// How many durable copies make a write committed, before the number of members is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "a number, or one of the two numbers that depend on n")]
pub enum WriteQuorum {
    /// More than half of the members.
    #[default]
    Majority,
    /// Every member.
    All,
    /// This many. Whether there are so many members is checked where they are known.
    Exactly(usize),
}

impl WriteQuorum {
    /// The number of copies in a mesh of `n` members. Not clamped: `Exactly(k)` is `k`.
    #[must_use]
    pub fn of(self, n: usize) -> usize {
        match self {
            Self::Majority if planted::is(Bug::HalfIsMajority) => n.div_ceil(2),
            Self::Majority => n / 2 + 1,
            Self::All => n,
            Self::Exactly(w) => w,
        }
    }
}

/// A text that is not a number of copies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid write quorum {text:?}: expected \"majority\", \"all\" or a number of copies")]
#[non_exhaustive]
pub struct InvalidWriteQuorum {
    /// The offending text.
    pub text: String,
}

impl FromStr for WriteQuorum {
    type Err = InvalidWriteQuorum;

    fn from_str(text: &str) -> Result<Self, InvalidWriteQuorum> {
        match text {
            "majority" => Ok(Self::Majority),
            "all" => Ok(Self::All),
            _ => text
                .parse()
                .map(Self::Exactly)
                .map_err(|_| InvalidWriteQuorum { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for WriteQuorum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Majority => out.write_str("majority"),
            Self::All => out.write_str("all"),
            Self::Exactly(w) => write!(out, "{w}"),
        }
    }
}

impl Serialize for WriteQuorum {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exactly(w) => w.serialize(to),
            _ => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for WriteQuorum {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        number_or_word::deserialize(from, "\"majority\", \"all\" or a number of copies")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half() {
        let majorities = [1, 2, 3, 4, 5].map(|n| WriteQuorum::Majority.of(n));
        assert_eq!(majorities, [1, 2, 2, 3, 3]);
    }

    #[test]
    fn a_number_is_taken_as_written_even_if_it_is_wrong() {
        // The check that knows the members refuses it; clamping here would hide the mistake.
        assert_eq!(WriteQuorum::Exactly(9).of(3), 9);
    }

    #[test]
    fn every_spelling_reads_back() {
        for quorum in [WriteQuorum::Majority, WriteQuorum::All, WriteQuorum::Exactly(2)] {
            assert_eq!(quorum.to_string().parse(), Ok(quorum));
        }
        assert!("most".parse::<WriteQuorum>().is_err());
        assert!("-1".parse::<WriteQuorum>().is_err());
    }
}
