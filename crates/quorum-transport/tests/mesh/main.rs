//! Real endpoints over real QUIC on loopback, a file per promise.

mod replication;
mod support;
