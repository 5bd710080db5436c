//! Random choices that a failing test can repeat.

/// Numbers from a seed, by SplitMix64.
#[derive(Debug)]
pub(crate) struct Seeded(u64);

impl Seeded {
    /// A fresh seed, or the one in `QUORUM_TEST_SEED`. Printed, so that a failure shows it.
    #[expect(clippy::print_stdout, reason = "the test runner shows it when the test fails")]
    pub(crate) fn announced(test: &str) -> Self {
        let given = std::env::var("QUORUM_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(rand::random);
        println!("{test}: QUORUM_TEST_SEED={seed}");
        Self(seed)
    }

    /// Another source, whose numbers follow from this one's.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }

    /// A number in `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }
}
