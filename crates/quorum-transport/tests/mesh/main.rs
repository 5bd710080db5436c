//! Real endpoints over real QUIC on loopback, a file per promise.

mod catch_up;
mod hostile;
mod identity;
mod life;
mod network;
mod overload;
mod refusal;
mod replication;
mod rollback;
mod support;
