//! The quorum node as a library: the parts of the `quorum-node` program, for tests, for `demo`, and for programs that
//! run a node inside themselves.
//!
//! [`Node::start`] builds a node the way the program does; [`Service`] is what it can be asked.

mod admission;
pub mod cli;
pub mod client;
pub mod config;
pub mod http;
pub mod identity;
pub mod local_mesh;
mod node;
pub mod pki;
pub mod receive;
pub mod record;
mod repair;
mod service;
pub mod shutdown;
pub mod status;
pub mod store;
mod traced;
mod world;
mod write;

pub use config::Config;
pub use node::{Node, StartError};
pub use service::Service;
pub use world::{SystemRandom, World};
pub use write::{WriteFailed, WriteRequest};
