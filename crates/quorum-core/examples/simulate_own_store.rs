//! Whole meshes of your own store under faults, in your own CI: kills, power cuts, partitions, slow and failing disks.
//!
//! `cargo run -p quorum-core --features testing --example simulate_own_store -- 0 20`
//!
//! The store here is the simplest one. Put yours in its place: implement [`SimulatedStore`] with what opens it, what loses
//! its unsynced data, and what looks a key up. A failure names the seed and the command that runs it again.
#![expect(clippy::print_stdout, reason = "an example that a person runs")]

use std::time::Duration;

use quorum_core::testing::simulation::{Faults, MemoryStores, StoreSubject, simulate};

fn main() {
    let seeds: Vec<u64> = std::env::args().skip(1).filter_map(|seed| seed.parse().ok()).collect();
    let seeds = match seeds[..] {
        [only] => only..only + 1,
        [from, to] => from..to,
        _ => 0..20,
    };
    let mut faults = Faults::default();
    faults.span = (Duration::from_secs(20), Duration::from_secs(60));
    let replay = "cargo run -p quorum-core --features testing --example simulate_own_store --";
    let make = || StoreSubject::new(MemoryStores::default());
    let outcomes = simulate(seeds, &faults, replay, make);

    let committed: u64 =
        outcomes.iter().filter_map(|outcome| outcome.counters.get("committed")).sum();
    let virtual_time: Duration = outcomes.iter().map(|outcome| outcome.virtual_time).sum();
    println!(
        "{} runs kept every promise: {committed} writes committed in {} virtual seconds",
        outcomes.len(),
        virtual_time.as_secs()
    );
}
