//! What keeps a node in order while it runs: the log trimmed, void dots closed, tombstones purged, lost data taken over.

pub(crate) mod forgotten;
pub(crate) mod recovery;
pub(crate) mod tombstones;
pub(crate) mod trim;
pub(crate) mod void;
