//! Why the policies of a configuration are refused; every message names the key to look at. (pure)

use crate::record::InvalidRecord;

/// Policies that contradict themselves, each other, or the members there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// There are more rules than anybody can oversee.
    #[error("namespaces: {rules} rules are more than {rules_max}")]
    TooManyRules {
        /// How many there are.
        rules: usize,
        /// How many there may be.
        rules_max: usize,
    },
    /// A rule says twice what it is for, or not at all.
    #[error("namespaces[{index}]: set exactly one of name and prefix; {found} is set")]
    Selector {
        /// Position of the rule.
        index: usize,
        /// Which of them are set.
        found: &'static str,
    },
    /// A name or prefix that no namespace can have.
    #[error("{key}: {rule}")]
    Namespace {
        /// The key.
        key: String,
        /// The rule it breaks.
        rule: InvalidRecord,
    },
    /// Two rules are for the same name, or for the same prefix.
    #[error("namespaces[{index}].{kind} = {text:?} is already the {kind} of another rule")]
    Duplicate {
        /// Position of the second of the two.
        index: usize,
        /// `name` or `prefix`.
        kind: &'static str,
        /// The name or prefix.
        text: String,
    },
    /// A quorum that the configured members cannot meet.
    #[error("{key} = {copies} is outside 1..={n}, the number of members")]
    Members {
        /// The key.
        key: String,
        /// Copies asked for.
        copies: usize,
        /// Members there are.
        n: usize,
    },
    /// A policy that asks for fewer copies than a request may.
    #[error("{key} = {w} is below quorum.min_w = {w_min}, the fewest copies a write may ask for")]
    BelowMinimum {
        /// The key.
        key: String,
        /// Copies asked for.
        w: usize,
        /// The fewest allowed.
        w_min: usize,
    },
    /// A linearizable namespace whose quorums might not meet.
    #[error("{key} = {copies} is not a majority of {n} members, as a linearizable namespace needs")]
    NoMajority {
        /// The key.
        key: String,
        /// Copies asked for.
        copies: usize,
        /// Members there are.
        n: usize,
    },
    /// A linearizable namespace whose copies might be forgotten.
    #[error(
        "{key} = \"relaxed\" loses copies in a power cut; a linearizable namespace needs \"fsync\""
    )]
    Forgetful {
        /// The key.
        key: String,
    },
}
