//! What a node says about itself and its peers, ready to be printed as JSON.

use quorum_core::PeerId;
use serde::{Deserialize, Serialize};

use crate::exposed::ExposureReport;
use crate::repair::scrub::ScrubReport;

/// A node at a moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeStatus {
    /// This node.
    pub node: PeerId,
    /// The cluster, as 32 hexadecimal digits.
    pub cluster: String,
    /// The program's version.
    pub version: String,
    /// Which life of its data directory, and which start, this is.
    pub incarnation: String,
    /// The start's epoch.
    pub epoch: String,
    /// Members, this node included.
    pub members: usize,
    /// Copies a write needs unless it asks for another number.
    pub write_quorum: usize,
    /// Members that can be reached and count, this node included.
    pub reachable: usize,
    /// Whether enough members can be reached for a write to commit.
    pub quorum: bool,
    /// Whether nothing stands against writing here.
    pub ready: bool,
    /// Everything that keeps the node from being ready.
    pub not_ready: Vec<String>,
    /// Whether it holds what it once acknowledged: `new`, `recovering` or `complete`.
    #[serde(default)]
    pub recovery: String,
    /// Connected members whose effective policies are others than this node's.
    #[serde(default)]
    pub policies_differ: Vec<PeerId>,
    /// Members whose last known data was declared gone: nobody waits for it.
    #[serde(default)]
    pub forgotten: Vec<PeerId>,
    /// Tombstones of writes up to this time are purged here; milliseconds since the Unix epoch, 0 before the first.
    #[serde(default)]
    pub purged_up_to_ms: u64,
    /// What the scrub has found since the start.
    #[serde(default)]
    pub scrub: ScrubReport,
    /// Writes held here that have too few copies.
    #[serde(default)]
    pub exposure: ExposureReport,
    /// Writes this node has numbered since its start.
    pub writes_issued: u64,
    /// Writes under way.
    pub writes_in_flight: usize,
    /// Entries of the log that are kept for members that may lack them.
    #[serde(default)]
    pub log_entries: u64,
    /// Records held, tombstones included.
    pub records: u64,
    /// Bytes of the data directory.
    pub store_bytes: u64,
    /// Seconds since the node started.
    pub uptime_seconds: u64,
    /// A digest of everything held: equal on nodes that hold the same. Only if asked for, it reads everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
}

/// A peer at a moment, as this node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerReport {
    /// Which member.
    pub node: PeerId,
    /// Its configured address.
    pub address: String,
    /// Whether the link is up.
    pub connected: bool,
    /// For how long, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_seconds: Option<u64>,
    /// Round trip of the last probe, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// How far its clock is ahead of ours, in milliseconds; negative if it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<f64>,
    /// Writes of this node that it does not durably hold yet; unknown before its first word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_writes: Option<u64>,
    /// Writes of any member, held here, that it does not durably hold yet; unknown before its first word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_writes: Option<u64>,
    /// Bytes queued for it in memory.
    pub queued_bytes: usize,
    /// Records that it has put off.
    pub deferred: usize,
    /// Writes that are wanted of it: it holds them, this node does not, and nobody else is bringing them.
    #[serde(default)]
    pub wanted_writes: u64,
    /// Records sent to it because it lacked them, since this node started.
    #[serde(default)]
    pub repaired_records: u64,
    /// Their bytes.
    #[serde(default)]
    pub repaired_bytes: u64,
    /// Whether its acks and answers count: not while it is new or recovering from a loss of its data.
    #[serde(default)]
    pub counts: bool,
    /// Why the link is down, or went down last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}
