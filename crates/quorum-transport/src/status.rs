//! What is known about one peer at a moment.

use std::time::{Duration, Instant};

use quorum_core::{Announcement, ClockOffset, Frontier, Lineage, PeerId};

/// A peer as its link sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Which member.
    pub peer: PeerId,
    /// Its configured address.
    pub address: String,
    /// Since when the link is up; `None` if it is down.
    pub connected_since: Option<Instant>,
    /// The peer's lineage, as of its last welcome.
    pub lineage: Option<Lineage>,
    /// The lineage as which it has dialled this node and is served; nothing of it is applied here once this has ended.
    pub served: Option<Lineage>,
    /// Round trip of the last clock probe.
    pub round_trip: Option<Duration>,
    /// How far its clock is off, while the link is up.
    pub clock_offset: Option<ClockOffset>,
    /// When that was measured: by this node's monotonic clock, and by its wall clock since the Unix epoch.
    pub clock_measured_at: Option<(Instant, Duration)>,
    /// What it durably holds, as far as we were told; `None` before its first word since this endpoint started.
    pub frontier: Option<Frontier>,
    /// What it said of itself last; `None` before its first word since this endpoint started.
    pub announcement: Option<Announcement>,
    /// Whether its acks and answers count: not before its first word, nor while it has lost what it once acknowledged.
    pub counts: bool,
    /// When it was asked what it has answered last on this connection.
    pub asked_at: Option<Instant>,
    /// Bytes queued for it in memory.
    pub queued_bytes: usize,
    /// Records that it has put off.
    pub deferred: usize,
    /// Dots that are wanted of it.
    pub wanted: u64,
    /// Records sent to it because it lacked them, since this endpoint started.
    pub repaired_records: u64,
    /// Their bytes, as framed.
    pub repaired_bytes: u64,
    /// Why the link is down or went down last.
    pub last_error: Option<String>,
}

impl PeerStatus {
    /// A peer of which nothing is known yet.
    #[must_use]
    pub const fn unknown(peer: PeerId, address: String) -> Self {
        Self {
            peer,
            address,
            connected_since: None,
            lineage: None,
            served: None,
            round_trip: None,
            clock_offset: None,
            clock_measured_at: None,
            frontier: None,
            announcement: None,
            counts: false,
            asked_at: None,
            queued_bytes: 0,
            deferred: 0,
            wanted: 0,
            repaired_records: 0,
            repaired_bytes: 0,
            last_error: None,
        }
    }
}
