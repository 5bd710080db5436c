//! Meshes to test: in this process, or of real ones; clients, load, and ways to wait.

pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod mesh;
pub(crate) mod metrics;
mod ports;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod store;
pub(crate) mod wires;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Returns once `is_so`; panics if that does not come true.
#[track_caller]
pub(crate) fn until<F>(what: &str, mut is_so: F) -> impl Future<Output = ()>
where
    F: AsyncFnMut() -> bool,
{
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await {
            assert!(Instant::now() < deadline, "{caller}: not within {PATIENCE:?}: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
