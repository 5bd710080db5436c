//! Time as values: the hybrid logical clock, the offset of a peer's clock, and when a clock may be trusted.

pub(crate) mod guard;
pub(crate) mod hlc;
pub(crate) mod skew;
