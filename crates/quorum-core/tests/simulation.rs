//! The simulation itself: a run is a function of its seed, meshes survive it, and a failure says how to see it again.

use std::time::Duration;

use quorum_core::testing::simulation::{
    Faults, MemoryStores, Outcome, StoreSubject, run_one, simulate,
};

fn faults() -> Faults {
    let mut faults = Faults::default();
    faults.span = (Duration::from_secs(5), Duration::from_secs(15));
    faults.pause = (Duration::from_millis(50), Duration::from_secs(2));
    faults
}

fn run(seed: u64) -> Outcome {
    run_one(StoreSubject::new(MemoryStores::default()), faults(), seed, false)
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2, 3] {
        let (once, again) = (run(seed), run(seed));
        assert_eq!((once.trace, once.events), (again.trace, again.events), "seed {seed}");
        assert_eq!(once.counters, again.counters, "seed {seed}");
    }
    assert_ne!(run(1).trace, run(2).trace);
}

#[test]
fn a_mesh_of_the_simplest_store_keeps_its_promises() {
    let replay = "cargo run -p quorum-core --features testing --example simulate_own_store --";
    let make = || StoreSubject::new(MemoryStores::default());
    let outcomes = simulate(0..12, &faults(), replay, make);
    let sum = |what: &str| -> u64 {
        outcomes.iter().filter_map(|outcome| outcome.counters.get(what)).sum()
    };
    // A campaign in which nothing happens proves nothing.
    for what in ["committed", "power cuts", "kills", "partitions", "broken connections"] {
        assert!(sum(what) > 0, "no {what} in any run");
    }
}
