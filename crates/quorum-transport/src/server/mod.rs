//! The accepting side: admit members, apply what they send, answer.

pub(crate) mod accept;
pub(crate) mod admission;
pub(crate) mod lane;
pub(crate) mod query;
pub(crate) mod session;
