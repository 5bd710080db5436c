//! Parts for tests, ours and yours: time, peers, a store, and the promises of the ports as checks.
//!
//! Nothing here needs an async runtime, and nothing waits for real time:
//!
//! - [`ManualClock`] stands still until it is told to move;
//! - [`Executor`] runs futures on the calling thread and moves that clock when all of them wait;
//! - [`ScriptedPeers`] is a network whose peers answer as a [`Script`] says;
//! - [`MemoryStore`] is the simplest store that keeps every promise, with a disk that can be slow, fail or crash;
//! - [`simulation`] runs whole meshes of your store, or of ours, under faults that a seed draws;
//! - [`promises`] checks any store, for instance your own, against what the ports promise.

mod clock;
mod executor;
pub mod history;
mod peers;
pub mod promises;
pub mod simulation;
mod store;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use clock::ManualClock;
pub use executor::{Executor, Handle, block_on};
pub use peers::{Delivered, Script, ScriptedPeers, ScriptedReplies};
pub use store::{Appending, Appends, KeyValue, MemoryStore, MemoryStoreError};

/// One fixed instant per process that tests count from, far enough from the platform's own zero to subtract.
#[must_use]
pub fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "tests need one instant to count from")]
    *EPOCH.get_or_init(|| Instant::now() + Duration::from_secs(3_600))
}
