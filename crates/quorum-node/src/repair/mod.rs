//! What keeps a node in order while it runs: the log trimmed, void dots closed, lost data taken over.

pub(crate) mod recovery;
pub(crate) mod trim;
pub(crate) mod void;
