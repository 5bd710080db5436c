//! Every size and time limit of the store, with its default.

use std::time::Duration;

use crate::record::VALUE_BYTES_MAX_DEFAULT;

/// The knobs of the store.
///
/// The defaults keep an idle node well under 50 MiB, and one with a million small records under 250 MiB beyond
/// [`cache_bytes`](Self::cache_bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Memory for blocks read from disk, in bytes.
    pub cache_bytes: u64,
    /// Writes held in memory before they are put into tables together, in bytes; up to twice as much may wait for that.
    /// The log holds the same writes, and overwritten ones: a start reads it all.
    pub memtable_bytes: u64,
    /// Keys of which it is remembered what their newest record looks like, so that an overwrite need not read it. One takes
    /// about 200 bytes.
    pub heads_max: usize,
    /// Free bytes of the disk, or a tenth of it if that is less, below which no records are taken. Zero takes them until
    /// nothing is free, which ends the store.
    pub free_bytes_min: u64,
    /// Longest value, in bytes.
    pub value_bytes_max: usize,
    /// Payloads that may wait for the next commit, in bytes. Beyond it writes are refused as overload.
    pub queue_bytes_max: usize,
    /// Records that may wait for the next commit.
    pub queue_records_max: usize,
    /// Payloads after which one commit takes no further ones, in bytes.
    pub batch_bytes_max: usize,
    /// Records after which one commit takes no further ones.
    pub batch_records_max: usize,
    /// The least time from one commit to the next under load: what arrives meanwhile shares its sync. Nothing is waited for
    /// after a commit of a few records.
    pub commit_interval: Duration,
    /// How long a relaxed write may stay unsynced.
    pub relaxed_sync_after: Duration,
    /// Timestamps reserved ahead, as time; renewed when half of it is used.
    pub clock_headroom: Duration,
    /// How far ahead of this node's clock a version may lie that a write must be stamped above.
    pub clock_skew_max: Duration,
    /// How long a write id is remembered, by the time in its version.
    pub write_id_horizon: Duration,
    /// Gaps that a lineage's frontier may have before dots that would leave one more are answered
    /// [`Busy::Gaps`](quorum_core::Busy::Gaps), or [`Busy::Kept`](quorum_core::Busy::Kept) where their record is stored all
    /// the same. What comes in order, or closes a gap, is always taken.
    pub gaps_max: usize,
    /// The same for all lineages together: the frontier must fit into a frame.
    pub gaps_in_all_max: usize,
    /// Changes that can still be followed from; older ones are forgotten.
    pub changes_max: u64,
    /// Lineages the store keeps a frontier for; records of further ones are refused. With as long names as there may be, so
    /// many take 3.2 of the 4 MiB that a frame has.
    pub lineages_max: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            memtable_bytes: 8 << 20,
            heads_max: 65_536,
            free_bytes_min: 256 << 20,
            value_bytes_max: VALUE_BYTES_MAX_DEFAULT,
            queue_bytes_max: 32 << 20,
            queue_records_max: 16_384,
            batch_bytes_max: 4 << 20,
            batch_records_max: 2_048,
            commit_interval: Duration::from_millis(1),
            relaxed_sync_after: Duration::from_millis(50),
            clock_headroom: Duration::from_secs(10),
            clock_skew_max: Duration::from_secs(300),
            write_id_horizon: Duration::from_secs(24 * 60 * 60),
            gaps_max: 4_096,
            gaps_in_all_max: 65_536,
            changes_max: 100_000,
            lineages_max: 32_768,
        }
    }
}
