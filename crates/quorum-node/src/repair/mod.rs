//! What keeps a node in order while it runs: the log trimmed, void dots closed.

pub(crate) mod trim;
pub(crate) mod void;
