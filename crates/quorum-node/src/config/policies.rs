//! Which policy holds for which namespace: an exact name, else the longest prefix, else the default.
//! (pure)
//!
//! [`Policies`] is built once, from a configuration, and asked for every read and write. Whatever it
//! returns has been checked, so that no request finds out what an operator got wrong.

use std::collections::BTreeMap;

use quorum_core::{Digest, QuorumPolicy};

use super::bounds::ACK_TIMEOUT_MAX;
use super::consistency::Consistency;
use super::error::ConfigError;
use super::policy::{Draft, EffectivePolicy, PolicySource};
use super::policy_error::PolicyError;
use super::quorum::NamespaceSection;
use super::read_quorum::ReadQuorum;
use super::sections::Config;
use super::write_quorum::WriteQuorum;
use crate::record::Namespace;

/// Most rules a configuration may have.
pub const RULES_MAX: usize = 1024;

/// First bytes of what is hashed to compare policies; it changes with the meaning of what follows.
const DIGEST_FORM: &[u8] = b"quorum policies 1";

/// The policy of every namespace there can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    w_min: usize,
    default: EffectivePolicy,
    names: BTreeMap<Namespace, EffectivePolicy>,
    prefixes: BTreeMap<String, EffectivePolicy>,
}

impl Policies {
    /// The policies that a configuration asks for. Only `[quorum]`, `[[namespaces]]`, the number of
    /// members and what the rules inherit from other sections are looked at.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Policy`], [`ConfigError::Zero`] or [`ConfigError::TooLong`], naming the key.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let rules = config.namespaces.len();
        if rules > RULES_MAX {
            return Err(PolicyError::TooManyRules { rules, rules_max: RULES_MAX }.into());
        }
        let n = config.members.len();
        if n == 0 {
            return Err(ConfigError::NoMembers);
        }
        let w_min = config.quorum.min_w;
        if !(1..=n).contains(&w_min) {
            let key = "quorum.min_w".to_owned();
            return Err(PolicyError::Members { key, copies: w_min, n }.into());
        }
        let default = default_draft(config)?.check(w_min)?;
        let mut policies =
            Self { w_min, default, names: BTreeMap::new(), prefixes: BTreeMap::new() };
        for (index, rule) in config.namespaces.iter().enumerate() {
            let policy = draft(config, index, rule)?.check(w_min)?;
            policies.insert(index, policy)?;
        }
        Ok(policies)
    }

    fn insert(&mut self, index: usize, policy: EffectivePolicy) -> Result<(), PolicyError> {
        let earlier = match policy.source().clone() {
            PolicySource::Default => Some(std::mem::replace(&mut self.default, policy)),
            PolicySource::Name(name) => self.names.insert(name, policy),
            PolicySource::Prefix(prefix) => self.prefixes.insert(prefix, policy),
        };
        let Some(earlier) = earlier else { return Ok(()) };
        let (kind, text) = selector(earlier.source());
        Err(PolicyError::Duplicate { index, kind, text: text.to_owned() })
    }

    /// The policy of `namespace`: that of its exact name, else of its longest prefix, else the
    /// default.
    #[must_use]
    pub fn of(&self, namespace: &Namespace) -> &EffectivePolicy {
        if let Some(policy) = self.names.get(namespace) {
            return policy;
        }
        // Names are ASCII, so every length is a boundary, and there are 64 of them at most.
        let name = namespace.as_str();
        let longest_first = (1..=name.len()).rev().filter_map(|length| name.get(..length));
        longest_first.filter_map(|prefix| self.prefixes.get(prefix)).next().unwrap_or(&self.default)
    }

    /// The policy of the namespaces that no rule is for.
    #[must_use]
    pub const fn default_policy(&self) -> &EffectivePolicy {
        &self.default
    }

    /// Every policy: the default, then those of names, then those of prefixes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &EffectivePolicy> {
        std::iter::once(&self.default).chain(self.names.values()).chain(self.prefixes.values())
    }

    /// The fewest copies that a request may ask for.
    #[must_use]
    pub const fn min_w(&self) -> usize {
        self.w_min
    }

    /// The fewest copies that any policy asks for. A request may still ask for fewer, down to
    /// [`min_w`](Self::min_w).
    #[must_use]
    pub fn smallest_w(&self) -> usize {
        self.iter().map(|policy| policy.write().w()).fold(self.default.write().w(), usize::min)
    }

    /// The most copies that any policy asks for. A request may still ask for more.
    #[must_use]
    pub fn largest_w(&self) -> usize {
        self.iter().map(|policy| policy.write().w()).fold(self.default.write().w(), usize::max)
    }

    /// What members compare to see whether they were told the same: equal for equal rules, in
    /// whatever order they are written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        push_bytes(&mut bytes, DIGEST_FORM);
        push_number(&mut bytes, self.w_min);
        for policy in self.iter() {
            push_policy(&mut bytes, policy);
        }
        Digest::of(&bytes)
    }

    /// What an operator may not expect, of any policy; none of it is an error.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.iter().flat_map(EffectivePolicy::warnings).collect()
    }

    /// The copies that a write to `namespace` needs if it asks for `asked`.
    ///
    /// # Errors
    ///
    /// What is wrong with the number: it is outside `1..=n`, below [`min_w`](Self::min_w), or not a
    /// majority in a linearizable namespace. Never clamped.
    pub fn requested_w(&self, namespace: &Namespace, asked: WriteQuorum) -> Result<usize, String> {
        let policy = self.of(namespace);
        policy.check_w(asked.of(policy.write().n()), self.w_min)
    }

    /// The members that a read of `namespace` hears if it asks for `asked`. "Overlapping" is meant
    /// with the namespace's own W.
    ///
    /// # Errors
    ///
    /// What is wrong with the number: it is outside `1..=n`, or not a majority in a linearizable
    /// namespace. Never clamped.
    pub fn requested_r(&self, namespace: &Namespace, asked: ReadQuorum) -> Result<usize, String> {
        let policy = self.of(namespace);
        policy.check_r(asked.of(policy.write().n(), policy.write().w()))
    }
}

/// What `[quorum]` and `[store]` say.
fn default_draft(config: &Config) -> Result<Draft, ConfigError> {
    let Config { quorum, members, clock, store, .. } = config;
    let n = members.len();
    let w = quorum.w.of(n);
    // The constructor only fails without members, which the caller has excluded.
    let times = QuorumPolicy::new(n, n, quorum.ack_timeout, clock.skew_warn)
        .map_err(|_| ConfigError::NoMembers)?;
    Ok(Draft {
        source: PolicySource::Default,
        times,
        w,
        r: quorum.r.of(n, w),
        durability: store.durability,
        consistency: Consistency::default(),
        section: "quorum".into(),
    })
}

/// What a rule says, and where it is silent, what it inherits.
fn draft(config: &Config, index: usize, rule: &NamespaceSection) -> Result<Draft, ConfigError> {
    let inherited = default_draft(config)?;
    let n = config.members.len();
    let w = rule.w.map_or(inherited.w, |w| w.of(n));
    let consistency = rule.consistency.unwrap_or_default();
    let r_unless_written = match consistency {
        Consistency::Linearizable => ReadQuorum::Majority,
        Consistency::Local | Consistency::Quorum => config.quorum.r,
    };
    let key = format!("namespaces[{index}].ack_timeout");
    let times = match rule.ack_timeout {
        None => inherited.times,
        Some(timeout) if timeout.is_zero() => return Err(ConfigError::Zero { key }),
        Some(value) if value > ACK_TIMEOUT_MAX => {
            return Err(ConfigError::TooLong { key, value, max: ACK_TIMEOUT_MAX });
        }
        Some(timeout) => inherited.times.with_ack_timeout(timeout),
    };
    Ok(Draft {
        source: source(index, rule)?,
        times,
        w,
        r: rule.r.unwrap_or(r_unless_written).of(n, w),
        durability: rule.durability.unwrap_or(inherited.durability),
        consistency,
        section: format!("namespaces[{index}]"),
    })
}

fn source(index: usize, rule: &NamespaceSection) -> Result<PolicySource, PolicyError> {
    let checked = |kind: &str, text: &str| {
        Namespace::new(text).map_err(|rule| PolicyError::Namespace {
            key: format!("namespaces[{index}].{kind}"),
            rule,
        })
    };
    match (&rule.name, &rule.prefix) {
        (Some(name), None) => checked("name", name).map(PolicySource::Name),
        // A prefix has the letters and the length of a name: otherwise no name could start with it.
        (None, Some(prefix)) => {
            checked("prefix", prefix).map(|prefix| PolicySource::Prefix(prefix.as_str().to_owned()))
        }
        (Some(_), Some(_)) => Err(PolicyError::Selector { index, found: "both" }),
        (None, None) => Err(PolicyError::Selector { index, found: "neither" }),
    }
}

/// How a rule says what it is for.
fn selector(source: &PolicySource) -> (&'static str, &str) {
    match source {
        PolicySource::Default => ("default", ""),
        PolicySource::Name(name) => ("name", name.as_str()),
        PolicySource::Prefix(prefix) => ("prefix", prefix),
    }
}

/// Everything that members must agree on, in one form. Every part tells its own length, so that two
/// different policies never spell the same bytes.
fn push_policy(bytes: &mut Vec<u8>, policy: &EffectivePolicy) {
    let (kind, text) = selector(policy.source());
    push_bytes(bytes, kind.as_bytes());
    push_bytes(bytes, text.as_bytes());
    push_number(bytes, policy.write().w());
    push_number(bytes, policy.r());
    push_bytes(bytes, policy.durability().as_str().as_bytes());
    push_bytes(bytes, policy.consistency().as_str().as_bytes());
    bytes.extend(policy.write().ack_timeout().as_nanos().to_le_bytes());
}

fn push_bytes(bytes: &mut Vec<u8>, part: &[u8]) {
    push_number(bytes, part.len());
    bytes.extend(part);
}

fn push_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend((number as u64).to_le_bytes());
}

#[cfg(test)]
mod tests;
