//! What a mesh promises, a file for each promise: real QUIC, real stores, and real processes where a process must die.
//!
//! Every wait is for a condition, with a generous end; what is random says its seed.

mod bad_config;
mod catch_up;
mod clock;
mod convergence;
mod coordinator_gone;
mod exposure;
mod graceful_stop;
mod harness;
mod histories;
mod idempotency;
mod identities;
mod kill_9;
mod long_away;
mod metrics;
mod overload;
mod quorum_holds;
mod reads;
mod recovery;
mod retries;
mod rollback;
mod scrub;
mod slow_peer;
mod stragglers;
mod tombstones;
mod void_dots;
