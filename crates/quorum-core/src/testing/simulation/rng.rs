//! Randomness that a seed decides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::ports::Random;

/// A generator of numbers, the same for the same seed on every machine: SplitMix64 (Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators", OOPSLA 2014).
#[derive(Debug)]
pub struct SeededRandom {
    state: AtomicU64,
}

impl SeededRandom {
    /// A generator for `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// Another generator that goes its own way from here on: what it draws moves nothing here.
    #[must_use]
    pub fn branch(&self, name: u64) -> Self {
        Self::new(self.next_u64() ^ name.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `end`; zero if that is zero.
    pub fn below(&self, end: u64) -> u64 {
        // The bias of the remainder is of no account for numbers this small.
        self.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// Whether something happens that does so `per_mille` times in a thousand.
    pub fn happens(&self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// A span between two.
    pub fn between(&self, shortest: Duration, longest: Duration) -> Duration {
        let width = longest.saturating_sub(shortest).as_micros();
        let width = u64::try_from(width).unwrap_or(u64::MAX - 1) + 1;
        shortest + Duration::from_micros(self.below(width))
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
