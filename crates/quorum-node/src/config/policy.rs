//! The policy that holds for one namespace, and what it means. (pure)

use std::fmt;

use quorum_core::{Durability, QuorumPolicy};

use super::consistency::Consistency;
use super::policy_error::PolicyError;
use crate::record::Namespace;

/// The part of the configuration that a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicySource {
    /// No rule: `[quorum]` and `[store]`.
    Default,
    /// The rule for this one namespace.
    Name(Namespace),
    /// The rule for all namespaces whose names start so.
    Prefix(String),
}

impl fmt::Display for PolicySource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::Name(name) => write!(out, "name {:?}", name.as_str()),
            Self::Prefix(prefix) => write!(out, "prefix {prefix:?}"),
        }
    }
}

/// A checked policy of one or many namespaces. Holding one is proof that W and R can be met by the
/// members, and that a linearizable namespace has majorities of durable copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectivePolicy {
    source: PolicySource,
    write: QuorumPolicy,
    r: usize,
    durability: Durability,
    consistency: Consistency,
}

/// A policy before it is checked, and the keys that its numbers were written under.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) source: PolicySource,
    /// Holds `n` and the times; its own `w` is not read.
    pub(super) times: QuorumPolicy,
    pub(super) w: usize,
    pub(super) r: usize,
    pub(super) durability: Durability,
    pub(super) consistency: Consistency,
    /// What stands before `w` and `r` in the file: `quorum` or `namespaces[2]`.
    pub(super) section: String,
}

impl Draft {
    /// Holds the policy against the members and against the fewest copies a write may ask for.
    pub(super) fn check(self, w_min: usize) -> Result<EffectivePolicy, PolicyError> {
        let Self { source, times, w, r, durability, consistency, section } = self;
        let key = |name: &str| format!("{section}.{name}");
        let n = times.n();
        for (name, copies) in [("w", w), ("r", r)] {
            if !(1..=n).contains(&copies) {
                return Err(PolicyError::Members { key: key(name), copies, n });
            }
        }
        if w < w_min {
            return Err(PolicyError::BelowMinimum { key: key("w"), w, w_min });
        }
        if consistency == Consistency::Linearizable {
            let minority = [("w", w), ("r", r)].into_iter().find(|(_, copies)| 2 * copies <= n);
            if let Some((name, copies)) = minority {
                return Err(PolicyError::NoMajority { key: key(name), copies, n });
            }
            if durability != Durability::Fsync {
                return Err(PolicyError::Forgetful { key: key("durability") });
            }
        }
        let write =
            times.with_w(w).map_err(|_| PolicyError::Members { key: key("w"), copies: w, n })?;
        Ok(EffectivePolicy { source, write, r, durability, consistency })
    }
}

impl EffectivePolicy {
    /// Where the policy was written.
    #[must_use]
    pub const fn source(&self) -> &PolicySource {
        &self.source
    }

    /// When a write counts as committed.
    #[must_use]
    pub const fn write(&self) -> &QuorumPolicy {
        &self.write
    }

    /// How many members a quorum read hears, this node included.
    #[must_use]
    pub const fn r(&self) -> usize {
        self.r
    }

    /// When a copy counts as durable, unless a request says otherwise.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// What a read gets that asks for nothing.
    #[must_use]
    pub const fn consistency(&self) -> Consistency {
        self.consistency
    }

    /// Whether every write is two-phase on a majority.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        self.consistency == Consistency::Linearizable
    }

    /// Whether every quorum read hears a member of every write quorum: `R + W > N`.
    #[must_use]
    pub const fn overlapping(&self) -> bool {
        self.r + self.write.w() > self.write.n()
    }

    /// What an operator may not expect of this policy, one sentence each; none of it is an error.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let Self { source, write, r, .. } = self;
        let (w, n) = (write.w(), write.n());
        let mut warnings = Vec::new();
        if !self.overlapping() {
            warnings.push(format!(
                "{source}: R + W = {r} + {w} is not above N = {n}: a quorum read may miss a committed write, because it may hear none of the members that have it"
            ));
        }
        if !write.writes_overlap() {
            warnings.push(format!(
                "{source}: 2W = 2 * {w} is not above N = {n}: two writes may both commit without either seeing the other, because they may share no member"
            ));
        }
        warnings
    }

    /// Checks the copies that one request asks for.
    pub(super) fn check_w(&self, w: usize, w_min: usize) -> Result<usize, String> {
        let n = self.write.n();
        if !(1..=n).contains(&w) {
            return Err(format!("{w} is outside 1..={n}, the number of members"));
        }
        if w < w_min {
            return Err(format!(
                "{w} is below {w_min}, the fewest copies a write may ask for here"
            ));
        }
        self.check_majority(w)
    }

    /// Checks how many members one request wants to hear.
    pub(super) fn check_r(&self, r: usize) -> Result<usize, String> {
        let n = self.write.n();
        if !(1..=n).contains(&r) {
            return Err(format!("{r} is outside 1..={n}, the number of members"));
        }
        self.check_majority(r)
    }

    fn check_majority(&self, copies: usize) -> Result<usize, String> {
        let n = self.write.n();
        if self.is_linearizable() && 2 * copies <= n {
            return Err(format!(
                "{copies} is not a majority of {n} members, as this linearizable namespace needs"
            ));
        }
        Ok(copies)
    }
}
