//! Parts for tests, ours and yours: certificates that are worth nothing, a mesh on loopback, a network that misbehaves.
//!
//! - [`Authority`] signs certificates: valid ones, expired ones, ones with the wrong name;
//! - [`Loopback`] knows names and ports of a mesh on 127.0.0.1 before any node runs, and starts nodes over any store;
//! - [`Relay`] stands between two nodes and loses, delays, reorders, duplicates, corrupts or cuts, while they run;
//! - [`by_hand`] dials a node and says what no honest one would;
//! - [`SeededRandom`] is the same sequence for the same seed;
//! - [`fuzzing`] are the claims that a fuzzer tries to refute;
//! - [`eventually`] waits for a condition instead of for a time.

mod authority;
pub mod by_hand;
pub mod fuzzing;
mod loopback;
mod random;
mod relay;

use std::time::{Duration, Instant};

pub use authority::{Authority, Credentials, Validity};
pub use loopback::Loopback;
pub use random::SeededRandom;
pub use relay::{Faults, Relay};

/// How long [`eventually`] waits: far longer than anything takes on a slow machine.
const EVENTUALLY: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
///
/// # Panics
///
/// If it does not hold within a minute; the message names `what`.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    const LOOK_EVERY: Duration = Duration::from_millis(5);
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < EVENTUALLY, "not within {EVENTUALLY:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
