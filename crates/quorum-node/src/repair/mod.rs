//! What keeps a node in order while it runs: the log trimmed, void dots closed, tombstones purged, lost data taken over,
//! damage found and mended.

pub(crate) mod compare;
pub(crate) mod forgotten;
pub(crate) mod recovery;
pub(crate) mod scrub;
pub(crate) mod tombstones;
pub(crate) mod trim;
pub(crate) mod void;
