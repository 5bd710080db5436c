//! Parts for tests: a clock that stands still, peers that follow a script, the simplest correct store, and the
//! promises of the ports as checks that run against any store.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One fixed instant per process that tests count from, far enough from the platform's own zero to subtract.
#[must_use]
pub fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "tests need one instant to count from")]
    *EPOCH.get_or_init(|| Instant::now() + Duration::from_secs(3_600))
}
