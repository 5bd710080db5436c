//! Runs seeds of simulated meshes of this node; `cargo xtask simulate` builds and drives it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program")]
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use quorum_core::testing::simulation::{Faults, Outcome, run_one};
use quorum_node::simulation::SimulatedNodes;

/// As in the node: a run is many small allocations.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn run(seed: u64, prints: bool) -> Outcome {
    // Half of the runs has short logs, so that members that were away are brought up by comparing everything.
    let log_entries_max = [10, 0, 40, 0][(seed % 4) as usize];
    run_one(SimulatedNodes::new(log_entries_max), Faults::default(), seed, prints)
}

/// Sums over the runs of a campaign.
#[derive(Default)]
struct Sums {
    seeds: u64,
    replayed: u64,
    virtual_time: Duration,
    events: u64,
    /// The slowest convergence, and at which seed.
    slowest: (Duration, u64),
    counters: BTreeMap<&'static str, u64>,
    failures: Vec<(u64, String)>,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.virtual_time += outcome.virtual_time;
        self.events += outcome.events;
        let took = outcome.converged_after.unwrap_or_default();
        self.slowest = self.slowest.max((took, outcome.seed));
        for (what, count) in &outcome.counters {
            *self.counters.entry(what).or_default() += count;
        }
        if let Some(first) = outcome.violations.first() {
            self.failures.push((outcome.seed, first.to_string()));
        }
    }
}

struct Options {
    seeds: std::ops::Range<u64>,
    threads: usize,
    prints: bool,
    json: bool,
    bug: Option<String>,
}

fn options() -> Option<Options> {
    let mut options = Options { seeds: 0..100, threads: 2, prints: false, json: false, bug: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => {
                let (from, to) = arguments
                    .next()?
                    .split_once("..")
                    .map(|(f, t)| (f.to_owned(), t.to_owned()))?;
                options.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--seed" => {
                let seed = arguments.next()?.parse().ok()?;
                options.seeds = seed..seed + 1;
            }
            "--threads" => options.threads = arguments.next()?.parse().ok()?,
            "--trace" => options.prints = true,
            "--json" => options.json = true,
            "--bug" => options.bug = Some(arguments.next()?),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!(
            "usage: simulate [--seeds A..B | --seed N] [--threads T] [--trace] [--json] [--bug NAME]"
        );
        return ExitCode::from(2);
    };
    if let Some(name) = &options.bug
        && !plant(name)
    {
        eprintln!("no bug {name} in this build");
        return ExitCode::from(2);
    }
    let began = Instant::now();
    let sums = campaign(&options);
    report(&options, &sums, began.elapsed());
    if sums.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "planted-bugs")]
fn plant(name: &str) -> bool {
    use quorum_core::planted::{Bug, plant};
    let bug = Bug::ALL.into_iter().find(|bug| bug.name() == name);
    plant(bug);
    bug.is_some()
}

#[cfg(not(feature = "planted-bugs"))]
const fn plant(_name: &str) -> bool {
    false
}

fn campaign(options: &Options) -> Sums {
    let (next, stop) = (AtomicU64::new(options.seeds.start), AtomicBool::new(false));
    let sums = Mutex::new(Sums::default());
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        return;
                    }
                    let mut outcome = run(seed, options.prints);
                    // One in twenty is run once more: it must be the same run.
                    let is_replayed = seed.is_multiple_of(20) && !options.prints;
                    let is_same = !is_replayed || run(seed, false).trace == outcome.trace;
                    let mut sums = sums.lock().expect("no thread has panicked");
                    sums.replayed += u64::from(is_replayed);
                    if !is_same {
                        sums.failures.push((seed, "[determinism] two runs differ".to_owned()));
                    }
                    outcome.violations.truncate(3);
                    sums.add(&outcome);
                    // A planted bug is found once.
                    if options.bug.is_some() && !sums.failures.is_empty() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    sums.into_inner().expect("no thread has panicked")
}

fn report(options: &Options, sums: &Sums, took: Duration) {
    let seconds = took.as_secs_f64();
    let virtual_seconds = sums.virtual_time.as_secs_f64();
    for (seed, failure) in &sums.failures {
        let failure: String = failure.chars().take(600).collect();
        println!("seed {seed}: {failure}");
        if options.bug.is_none() {
            println!("    replay: cargo xtask simulate --seed {seed} --trace");
        }
    }
    if options.json {
        println!(
            "{{\"seeds\": {}, \"failed\": {}, \"virtual_seconds\": {virtual_seconds:.0}, \"seconds\": {seconds:.1}}}",
            sums.seeds,
            sums.failures.len()
        );
        return;
    }
    println!(
        "{} seeds, {} failed, {} replayed identically; {virtual_seconds:.0} virtual seconds in {seconds:.1} s ({:.1} seeds/s, {:.0} virtual s/s); slowest convergence {:.2} s (seed {}); {} events",
        sums.seeds,
        sums.failures.len(),
        sums.replayed,
        sums.seeds as f64 / seconds,
        virtual_seconds / seconds,
        sums.slowest.0.as_secs_f64(),
        sums.slowest.1,
        sums.events,
    );
    let counts: Vec<String> =
        sums.counters.iter().map(|(what, count)| format!("{count} {what}")).collect();
    println!("{}", counts.join(", "));
}
