//! How large and how busy the store is, for the status page and the metrics.

use std::sync::atomic::Ordering;

use super::Store;

/// A moment of the store's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// About how many records there are, tombstones included. Overwritten ones count until they are compacted away.
    pub records: u64,
    /// Bytes on disk, as it was looked at within the last seconds.
    pub disk_bytes: u64,
    /// Records that wait for the next commit.
    pub queued_records: usize,
    /// Payload bytes that wait for the next commit.
    pub queued_bytes: usize,
    /// Syncs since the start.
    pub syncs: u64,
    /// Records those syncs made durable.
    pub synced_records: u64,
    /// Lineages with a number here.
    pub lineages: usize,
}

impl Store {
    /// How large and how busy the store is now.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let shared = &self.shared;
        let (queued_records, queued_bytes) = shared.intake.lock().queued();
        let sizes = shared.sizes();
        StoreStats {
            records: sizes.records,
            disk_bytes: sizes.bytes,
            queued_records,
            queued_bytes,
            syncs: shared.syncs.load(Ordering::Relaxed),
            synced_records: shared.synced_records.load(Ordering::Relaxed),
            lineages: shared.lineages.read().len(),
        }
    }
}
