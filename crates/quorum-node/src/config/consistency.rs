//! What a read may claim: `local`, `quorum` or `linearizable`. (pure)

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a read may claim about the writes before it, weakest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "each one is a promise that every reader has to keep")]
pub enum Consistency {
    /// What this node holds: eventually every committed write.
    #[default]
    Local,
    /// The newest of R members; with R + W > N, no committed write is missed.
    Quorum,
    /// As if there were one copy. A property of the namespace: its writes pay for it too.
    Linearizable,
}

impl Consistency {
    /// The stable name, in the configuration, in requests and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Quorum => "quorum",
            Self::Linearizable => "linearizable",
        }
    }
}

/// A text that is not a consistency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid consistency {text:?}: expected \"local\", \"quorum\" or \"linearizable\"")]
#[non_exhaustive]
pub struct InvalidConsistency {
    /// The offending text.
    pub text: String,
}

impl FromStr for Consistency {
    type Err = InvalidConsistency;

    fn from_str(text: &str) -> Result<Self, InvalidConsistency> {
        let all = [Self::Local, Self::Quorum, Self::Linearizable];
        let named = all.into_iter().find(|consistency| consistency.as_str() == text);
        named.ok_or_else(|| InvalidConsistency { text: text.to_owned() })
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_in_requests_and_in_files() {
        for consistency in [Consistency::Local, Consistency::Quorum, Consistency::Linearizable] {
            assert_eq!(consistency.as_str().parse(), Ok(consistency));
            let in_a_file = serde_json::to_value(consistency).expect("a text");
            assert_eq!(in_a_file, consistency.as_str());
        }
        for text in ["", "strong", "Local", "quorum "] {
            assert!(text.parse::<Consistency>().is_err(), "{text:?}");
        }
    }
}
