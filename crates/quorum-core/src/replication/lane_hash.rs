//! The running hash by which two ends of a stream agree on what was sent.

use crate::record::Record;

/// A hash over the versions and digests of every record of one stream, in order.
///
/// A cumulative ack echoes it: an ack that counts other records than were sent is noticed, whatever the cause.
#[derive(Debug, Clone, Default)]
pub struct LaneHash {
    hasher: blake3::Hasher,
}

impl LaneHash {
    /// The hash of a stream on which nothing was sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next item of the stream into account; an item may come without a record.
    pub fn update(&mut self, record: Option<&Record>) {
        let Some(record) = record else {
            self.hasher.update(&[0]);
            return;
        };
        let origin = &record.dot.lineage.origin;
        self.hasher.update(&[1]);
        self.hasher.update(&record.hlc.as_u64().to_le_bytes());
        self.hasher.update(origin.incarnation.as_bytes());
        self.hasher.update(origin.node.as_str().as_bytes());
        self.hasher.update(record.digest.as_bytes());
    }

    /// The hash of everything so far, cut to 16 bytes.
    #[must_use]
    pub fn value(&self) -> [u8; 16] {
        let full = self.hasher.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&full.as_bytes()[..16]);
        short
    }
}
