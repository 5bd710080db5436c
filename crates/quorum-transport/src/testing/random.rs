//! Randomness that repeats itself.

use std::fmt;

use parking_lot::Mutex;
use quorum_core::Random;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The same numbers for the same seed.
pub struct SeededRandom {
    generator: Mutex<StdRng>,
}

impl SeededRandom {
    /// A sequence that is determined by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { generator: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.generator.lock().next_u64()
    }
}

impl fmt::Debug for SeededRandom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SeededRandom").finish_non_exhaustive()
    }
}
