//! Whole meshes in one thread and in virtual time: clients, faults, and the checks of what came out.
//!
//! A run is a function of its seed. It starts a mesh of members, lets clients write, delete and read, and meanwhile
//! kills members, cuts their power, cuts ways in one direction or both, breaks connections, delays and loses, makes disks
//! slow, failing, lying or empty, and steps clocks. Then it heals everything, and all members must soon be alike.
//!
//! What decides is the code that runs in production: [`QuorumWriter`](crate::QuorumWriter),
//! [`AckTracker`](crate::AckTracker), [`Link`](crate::Link), [`CatchUp`](crate::CatchUp),
//! [`ExchangePlan`](crate::ExchangePlan), the handshake checks, and the store that is under test. What is simulated is
//! the network (streams without packets or cryptography), the disk under the store, the clocks, and the loops that hold
//! these together.
//!
//! # What is checked
//!
//! - *acknowledged*: at the end every member holds each committed write, or a newer one of its key;
//! - *durability*: a write that is called committed is on W disks at that moment, and no member ever loses what it
//!   acknowledged;
//! - *verdicts*: W peers were heard in time, counted anew by somebody who knows nothing of trackers; what was "not
//!   applied" is nowhere, ever;
//! - *phantoms*: nothing is stored or sent that nobody wrote;
//! - *frontiers*: what a frontier covers is there, or something newer, or purged; no restart takes anything back;
//! - *dots*, *versions*, *epochs*: none is used twice, and versions of one origin only grow;
//! - *reads*: a quorum read returns nothing older than what was committed, or read at a quorum, before it began;
//! - *linearizability*: what clients saw of a key of a linearizable namespace has an order;
//! - *recovery*: whoever has lost its disk is counted once it holds what was committed before;
//! - *convergence*: after healing all members hold the same, within a time;
//! - *queues*: every queue stays within its bound; *acks*: they fit what was sent; *rollback*: nobody is said to have lost
//!   what it has not.
//!
//! # Your own store
//!
//! Implement [`SimulatedStore`] and call [`simulate`]; `examples/simulate_own_store.rs` does it. A [`Subject`] brings a
//! whole program instead.

mod clients;
mod clock;
mod dial;
mod faults;
mod history;
mod member;
mod memory;
mod nemesis;
mod network;
mod operations;
mod peer;
mod program;
mod rng;
mod run;
mod serve;
mod tasks;
mod trace;

pub use clock::MemberClock;
pub use faults::Faults;
pub use history::Violation;
pub use memory::MemoryStores;
pub use peer::{LinkReport, SimulatedAnswers, SimulatedPeers, SimulatedReplies};
pub use program::{
    ClientOutcome, ClientWrite, DiskMood, Program, QuorumRead, Seat, SimulatedStore, StoreProgram,
    StoreSubject, Subject,
};
pub use rng::SeededRandom;
pub use run::Outcome;

/// Runs one seed of a subject. With `prints`, every event goes to standard error.
#[must_use]
pub fn run_one<S: Subject>(subject: S, faults: Faults, seed: u64, prints: bool) -> Outcome {
    run::Run::of(subject, faults, seed, prints)
}

/// Runs seeds, one after the other, of subjects that `make` makes. `replay` is the command that runs one seed again, up to
/// the seed itself.
///
/// # Panics
///
/// If a promise is broken; the message names the seed, what is wrong, and the command that shows it.
pub fn simulate<S: Subject>(
    seeds: std::ops::Range<u64>,
    faults: &Faults,
    replay: &str,
    make: impl Fn() -> S,
) -> Vec<Outcome> {
    let run = |seed| {
        let outcome = run_one(make(), faults.clone(), seed, false);
        if let [first, ..] = &outcome.violations[..] {
            panic!("seed {seed}: {first}\nreplay with: {replay} {seed}");
        }
        outcome
    };
    seeds.map(run).collect()
}
