//! Real endpoints over real QUIC on loopback, a file per promise.

#![expect(
    clippy::print_stderr,
    reason = "seeds and measurements are for whoever reads a test's output"
)]

mod catch_up;
mod exchange;
mod hostile;
mod identity;
mod life;
mod network;
mod overload;
mod query;
mod refusal;
mod replication;
mod rollback;
mod support;
