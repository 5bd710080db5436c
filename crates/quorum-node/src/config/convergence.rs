//! `[repair]` and `[watch]`: how nodes come to hold the same, and who may look on. (pure)

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::byte_size::ByteSize;

/// `[repair]`: how nodes find and mend what they do not share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RepairSection {
    /// Time between two comparisons of what this node and a peer hold.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Time for one pass of the scrub over all data; zero turns the scrub off.
    #[serde(with = "humantime_serde")]
    pub scrub_interval: Duration,
    /// Bytes per second that the scrub reads; 0 is unlimited.
    pub scrub_bytes_per_second: ByteSize,
    /// Time for which a tombstone is kept at least, whatever else allows its purge.
    #[serde(with = "humantime_serde")]
    pub tombstone_grace: Duration,
    /// Entries of the log kept for a member that is away; 0 is unlimited.
    pub log_entries_max: u64,
}

impl Default for RepairSection {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            scrub_interval: Duration::from_secs(24 * 3600),
            scrub_bytes_per_second: ByteSize::mebibytes(1),
            tombstone_grace: Duration::from_secs(3600),
            log_entries_max: 10_000_000,
        }
    }
}

/// `[watch]`: how many may follow the changes, and how far behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WatchSection {
    /// Changes kept for watchers that come back.
    pub history_max: u64,
    /// Watchers at once; more are refused.
    pub streams_max: usize,
    /// How long a watcher may take nothing before it is cut off.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
}

impl Default for WatchSection {
    fn default() -> Self {
        Self { history_max: 100_000, streams_max: 64, stall_timeout: Duration::from_secs(10) }
    }
}
