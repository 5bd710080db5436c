//! How many members a quorum read hears, as people say it: `"overlapping"`, `"majority"`, `2`. (pure)

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::number_or_word;

/// How many members a quorum read hears, before the number of members is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "a number, or one that depends on n and w")]
pub enum ReadQuorum {
    /// The fewest that share a member with every write quorum: `n - w + 1`.
    #[default]
    Overlapping,
    /// More than half of the members.
    Majority,
    /// Every member.
    All,
    /// This many. Whether there are so many members is checked where they are known.
    Exactly(usize),
}

impl ReadQuorum {
    /// The number of members to hear, where `w` of `n` commit a write. At least one by default;
    /// not clamped otherwise: `Exactly(k)` is `k`.
    #[must_use]
    pub const fn of(self, n: usize, w: usize) -> usize {
        match self {
            // Everybody has what everybody must have, so one answer is enough when `w == n`.
            Self::Overlapping => n.saturating_sub(w) + 1,
            Self::Majority => n / 2 + 1,
            Self::All => n,
            Self::Exactly(r) => r,
        }
    }
}

/// A text that is not a number of members to hear.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid read quorum {text:?}: expected \"overlapping\", \"majority\", \"all\" or a number of members"
)]
#[non_exhaustive]
pub struct InvalidReadQuorum {
    /// The offending text.
    pub text: String,
}

impl FromStr for ReadQuorum {
    type Err = InvalidReadQuorum;

    fn from_str(text: &str) -> Result<Self, InvalidReadQuorum> {
        match text {
            "overlapping" => Ok(Self::Overlapping),
            "majority" => Ok(Self::Majority),
            "all" => Ok(Self::All),
            _ => text
                .parse()
                .map(Self::Exactly)
                .map_err(|_| InvalidReadQuorum { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for ReadQuorum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlapping => out.write_str("overlapping"),
            Self::Majority => out.write_str("majority"),
            Self::All => out.write_str("all"),
            Self::Exactly(r) => write!(out, "{r}"),
        }
    }
}

impl Serialize for ReadQuorum {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exactly(r) => r.serialize(to),
            _ => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for ReadQuorum {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = "\"overlapping\", \"majority\", \"all\" or a number of members";
        number_or_word::deserialize(from, expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_fewest_members_that_meet_every_write() {
        for n in 1..=64 {
            for w in 1..=n {
                let r = ReadQuorum::default().of(n, w);
                assert!(r >= 1 && r <= n && r + w > n, "n = {n}, w = {w}: r = {r}");
                assert!(r == 1 || r - 1 + w <= n, "n = {n}, w = {w}: one fewer would do");
            }
        }
    }

    #[test]
    fn every_spelling_reads_back() {
        let all = [ReadQuorum::Overlapping, ReadQuorum::Majority, ReadQuorum::All];
        for quorum in all.into_iter().chain([ReadQuorum::Exactly(2)]) {
            assert_eq!(quorum.to_string().parse(), Ok(quorum));
        }
        assert!("most".parse::<ReadQuorum>().is_err());
        assert!("-1".parse::<ReadQuorum>().is_err());
    }
}
