//! `[quorum]` and `[[namespaces]]` as an operator writes them. (pure)
//!
//! `[quorum]` is the policy of every namespace that no rule names; a rule says only what differs.
//! What follows for one namespace is [`Policies`](super::policies::Policies)' business.

use std::time::Duration;

use quorum_core::{ACK_TIMEOUT_DEFAULT, Durability};
use serde::{Deserialize, Serialize};

use super::byte_size::ByteSize;
use super::consistency::Consistency;
use super::read_quorum::ReadQuorum;
use super::write_quorum::WriteQuorum;

/// `[quorum]`: when a write counts as committed, what a read hears, and how much may be under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QuorumSection {
    /// Durable copies needed, this node's included.
    pub w: WriteQuorum,
    /// Members that a quorum read hears, this node included.
    pub r: ReadQuorum,
    /// The fewest copies that one write may ask for.
    pub min_w: usize,
    /// How long a caller waits for the verdict. Set it above the slowest round trip that should
    /// still count.
    #[serde(with = "humantime_serde")]
    pub ack_timeout: Duration,
    /// How long a read waits for the members it has to hear.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// How long a write's id is kept; a retry that comes later is refused.
    #[serde(with = "humantime_serde")]
    pub write_id_horizon: Duration,
    /// Writes under way at once; more are refused with a hint to retry.
    pub in_flight_writes_max: usize,
    /// Bytes of the writes under way at once; more are refused with a hint to retry.
    pub in_flight_bytes_max: ByteSize,
}

impl Default for QuorumSection {
    fn default() -> Self {
        Self {
            w: WriteQuorum::Majority,
            r: ReadQuorum::Overlapping,
            min_w: 1,
            ack_timeout: ACK_TIMEOUT_DEFAULT,
            read_timeout: Duration::from_secs(2),
            write_id_horizon: Duration::from_secs(24 * 3600),
            in_flight_writes_max: 4096,
            in_flight_bytes_max: ByteSize::mebibytes(64),
        }
    }
}

/// `[[namespaces]]`: what differs for one namespace, or for all whose names start alike.
///
/// Exactly one of `name` and `prefix` has to be set. What is left out is as in `[quorum]` and
/// `[store]`, but for `r` of a linearizable namespace, which is a majority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NamespaceSection {
    /// The one namespace that the rule is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the names of the namespaces start with that the rule is for. A name beats every
    /// prefix, a longer prefix a shorter one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Durable copies needed, this node's included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub w: Option<WriteQuorum>,
    /// Members that a quorum read hears, this node included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r: Option<ReadQuorum>,
    /// How long a caller waits for the verdict of a write.
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub ack_timeout: Option<Duration>,
    /// When a copy counts as durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// What a read gets that asks for nothing; `linearizable` binds the writes too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
}
