//! What the program of a target is made of: a claim, libFuzzer that makes up inputs for it, and a bound on memory.
//!
//! The claims themselves stand beside what they are about, in the crates. `src/bin` has a program for each of them, with
//! nothing in it but what that claim reaches: after every input libFuzzer looks at each edge of the program, taken or not.
//! `cargo xtask fuzz` builds and runs them; they are of no use by themselves.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Makes the program of a target: a claim, and how many bytes it may allocate in all for an input: so many, and so many
/// for each byte of the input. What a claim needs for itself is part of that: it reads, writes and reads again.
#[macro_export]
macro_rules! target {
    ($claim:path, bytes: $bytes:expr, per_byte: $per_byte:expr) => {
        // What is made once is made before the first input, so that it counts for none.
        libfuzzer_sys::fuzz_target!(init: $claim(&[]), |input: &[u8]| {
            $crate::try_claim($claim, $bytes, $per_byte, input)
        });
    };
}

/// Tries a claim with an input.
///
/// # Panics
///
/// If it is false, or took more memory than it may.
pub fn try_claim(claim: fn(&[u8]), bytes: usize, per_byte: usize, input: &[u8]) {
    let region = Region::new(ALLOCATOR);
    claim(input);
    let (allocated, bound) = (region.change().bytes_allocated, bytes + per_byte * input.len());
    assert!(
        allocated <= bound,
        "{} bytes of input made the reader allocate {allocated} bytes, the bound is {bound}",
        input.len()
    );
}
