//! The W-of-N rule of a write: how many copies, out of how many members, by when.

use std::time::Duration;

use crate::error::QuorumError;
use crate::planted::{self, Bug};

/// Deadline of a write unless the policy says otherwise.
pub const ACK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Clock offset of a peer above which a warning is due, unless the policy says otherwise.
pub const CLOCK_SKEW_WARN_DEFAULT: Duration = Duration::from_secs(30);

/// A checked W-of-N rule. Holding one is proof that `1 <= w <= n`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicySpec", into = "PolicySpec"))]
pub struct QuorumPolicy {
    n: usize,
    w: usize,
    ack_timeout: Duration,
    clock_skew_warn: Duration,
}

impl QuorumPolicy {
    /// A rule from its parts. `w` is clamped to `1..=n`: this is the programmatic door, where "at least one, at
    /// most all" is what callers mean. Where a person wrote the number, use [`with_w`](Self::with_w) or serde,
    /// which refuse instead.
    ///
    /// # Errors
    ///
    /// [`QuorumError::InvalidPolicy`] if `n` is zero.
    pub fn new(
        n: usize,
        w: usize,
        ack_timeout: Duration,
        clock_skew_warn: Duration,
    ) -> Result<Self, QuorumError> {
        if n == 0 {
            return Err(invalid("n = 0: a mesh has at least one member".into()));
        }
        Ok(Self { n, w: w.clamp(1, n), ack_timeout, clock_skew_warn })
    }

    /// The smallest `w` for which any two write quorums share a member, with the default times.
    ///
    /// # Errors
    ///
    /// [`QuorumError::InvalidPolicy`] if `n` is zero.
    pub fn majority(n: usize) -> Result<Self, QuorumError> {
        // `n / 2 + 1`, not `ceil(n / 2)`: the two differ for every even `n`,
        // and half of four replicas is not a majority.
        let half = if planted::is(Bug::HalfIsMajority) { n.div_ceil(2) } else { n / 2 + 1 };
        Self::new(n, half, ACK_TIMEOUT_DEFAULT, CLOCK_SKEW_WARN_DEFAULT)
    }

    /// The same rule with another `w`.
    ///
    /// # Errors
    ///
    /// [`QuorumError::InvalidPolicy`] if `w` is outside `1..=n`.
    pub fn with_w(self, w: usize) -> Result<Self, QuorumError> {
        if (1..=self.n).contains(&w) {
            Ok(Self { w, ..self })
        } else {
            Err(invalid(format!("w = {w} is outside 1..={}, the number of members", self.n)))
        }
    }

    /// The same rule with another deadline.
    #[must_use]
    pub fn with_ack_timeout(self, ack_timeout: Duration) -> Self {
        Self { ack_timeout, ..self }
    }

    /// How many members the mesh has, this node included.
    #[must_use]
    pub const fn n(&self) -> usize {
        self.n
    }

    /// How many durable copies make a write committed, the local one included.
    #[must_use]
    pub const fn w(&self) -> usize {
        self.w
    }

    /// How long a caller waits for the verdict, at most.
    #[must_use]
    pub const fn ack_timeout(&self) -> Duration {
        self.ack_timeout
    }

    /// The clock offset of a peer above which a warning is due.
    #[must_use]
    pub const fn clock_skew_warn(&self) -> Duration {
        self.clock_skew_warn
    }

    /// How many members may be away while writes still commit.
    #[must_use]
    pub const fn tolerated_failures(&self) -> usize {
        self.n - self.w
    }

    /// Whether any two write quorums share a member.
    #[must_use]
    pub const fn writes_overlap(&self) -> bool {
        2 * self.w > self.n
    }
}

fn invalid(detail: String) -> QuorumError {
    QuorumError::InvalidPolicy { detail }
}

/// [`QuorumPolicy`] as a person writes it: `w` left out means majority, times are texts such as `"2s"`.
#[cfg(feature = "serde")]
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicySpec {
    n: usize,
    #[serde(default)]
    w: Option<usize>,
    #[serde(default = "ack_timeout_default", with = "humantime_serde")]
    ack_timeout: Duration,
    #[serde(default = "clock_skew_warn_default", with = "humantime_serde")]
    clock_skew_warn: Duration,
}

#[cfg(feature = "serde")]
const fn ack_timeout_default() -> Duration {
    ACK_TIMEOUT_DEFAULT
}

#[cfg(feature = "serde")]
const fn clock_skew_warn_default() -> Duration {
    CLOCK_SKEW_WARN_DEFAULT
}

#[cfg(feature = "serde")]
impl TryFrom<PolicySpec> for QuorumPolicy {
    type Error = QuorumError;

    fn try_from(spec: PolicySpec) -> Result<Self, QuorumError> {
        let majority = Self::majority(spec.n)?;
        let w = spec.w.unwrap_or(majority.w);
        let policy = majority.with_w(w)?;
        Self::new(policy.n, policy.w, spec.ack_timeout, spec.clock_skew_warn)
    }
}

#[cfg(feature = "serde")]
impl From<QuorumPolicy> for PolicySpec {
    fn from(policy: QuorumPolicy) -> Self {
        Self {
            n: policy.n,
            w: Some(policy.w),
            ack_timeout: policy.ack_timeout,
            clock_skew_warn: policy.clock_skew_warn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_majorities_always_meet() {
        for n in 1..=64 {
            let policy = QuorumPolicy::majority(n).expect("n > 0");
            assert!(policy.writes_overlap(), "n = {n}");
            assert!(2 * (policy.w() - 1) <= n, "n = {n}: one fewer would not be a majority");
        }
    }

    #[test]
    fn w_is_clamped_by_the_constructor_and_only_there() {
        let times = (ACK_TIMEOUT_DEFAULT, CLOCK_SKEW_WARN_DEFAULT);
        assert_eq!(QuorumPolicy::new(3, 0, times.0, times.1).map(|p| p.w()), Ok(1));
        assert_eq!(QuorumPolicy::new(3, 9, times.0, times.1).map(|p| p.w()), Ok(3));
        let policy = QuorumPolicy::majority(3).expect("n > 0");
        assert!(policy.clone().with_w(0).is_err());
        assert!(policy.with_w(4).is_err());
    }

    #[test]
    fn a_mesh_without_members_is_refused() {
        assert!(QuorumPolicy::majority(0).is_err());
    }
}
