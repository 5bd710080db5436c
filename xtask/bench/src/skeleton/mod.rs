//! The bare skeleton of a replicated write, as a floor under quorum-node: a request over HTTP, a log that is synced, the
//! record over QUIC to all others that sync it too, an answer once a majority has it. It keeps nothing that could be read, knows
//! no versions, no reconnecting and no repair: an error ends it. Its queues have no bounds of their own: clients wait for
//! their answers, and so bound them.
//!
//! - [`Credentials`]: mutual TLS among the nodes.
//! - [`log`]: one thread that appends what has come together meanwhile, and syncs it.
//! - [`link`]: records to another node, and its acks; records of another node, and acks for them.
//! - [`progress`]: which writes a majority has. (pure)
//! - [`node`]: all of it together.
//! - [`http`]: the node as a process of its own.
//! - [`direct`]: three nodes in one process, called without HTTP.

mod credentials;
pub(crate) mod direct;
mod http;
mod link;
mod log;
mod node;
mod progress;

pub(crate) use credentials::{Credentials, NAME};
pub(crate) use http::{Arguments, serve};
