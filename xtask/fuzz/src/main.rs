//! One program for all targets: `QUORUM_FUZZ_TARGET` names the one whose claims are tried, libFuzzer makes up the inputs.
//!
//! The claims themselves stand beside what they are about, in the crates; here is what holds for all of them: how much
//! memory an input may make its reader take. `cargo xtask fuzz` builds and runs this; it is of no use by itself.
#![no_main]

use std::alloc::System;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use quorum_node::fuzzing as node;
use quorum_transport::testing::fuzzing as transport;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A claim, and how many bytes it may allocate in all for an input: so many, and so many for each byte of the input.
struct Target {
    name: &'static str,
    claim: fn(&[u8]),
    bytes: usize,
    bytes_per_byte: usize,
}

const fn target(
    name: &'static str,
    claim: fn(&[u8]),
    bytes: usize,
    bytes_per_byte: usize,
) -> Target {
    Target { name, claim, bytes, bytes_per_byte }
}

/// What a claim needs for itself is part of the bound: it reads, writes and reads again.
const TARGETS: &[Target] = &[
    target("frame", transport::frame, 64 << 10, 512),
    target("frame_stream", transport::frame_stream, 4 << 10, 64),
    target("hello", transport::hello, 64 << 10, 512),
    target("http_request", node::http_request, 64 << 10, 64),
    target("http_batch", node::http_batch, 64 << 10, 1024),
    target("config_file", node::config_file, 16 << 20, 16 << 10),
    target("config_environment", node::config_environment, 16 << 20, 16 << 10),
    target("config_value", node::config_value, 16 << 10, 64),
    target("import_lines", node::import_lines, 64 << 10, 4096),
    target("store_bytes", node::store_bytes, 16 << 10, 64),
    target("log_with_damage", node::log_with_damage, 1 << 20, 1024),
    target("log_of_any_bytes", node::log_of_any_bytes, 64 << 10, 1024),
    target("store_with_damage", node::store_with_damage, 16 << 20, 64 << 10),
];

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("QUORUM_FUZZ_TARGET").unwrap_or_default();
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("QUORUM_FUZZ_TARGET={name:?} is no target"));
        // What is made once is made now, so that it counts for no input.
        (target.claim)(&[]);
        target
    })
}

fuzz_target!(|input: &[u8]| {
    let target = chosen();
    let region = Region::new(ALLOCATOR);
    (target.claim)(input);
    let allocated = region.change().bytes_allocated;
    let bound = target.bytes + target.bytes_per_byte * input.len();
    assert!(
        allocated <= bound,
        "{} bytes of input made {} allocate {allocated} bytes, the bound is {bound}",
        input.len(),
        target.name
    );
});
