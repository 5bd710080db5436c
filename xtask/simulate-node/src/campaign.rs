//! Many seeds, one after another on each thread: within a time, some of them twice, with a sum at the end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::run::{self, Outcome};

/// Seeds after which the rest is estimated.
const ESTIMATE_AFTER: u64 = 5;
/// A line of progress after so many.
const TELL_EVERY: u64 = 50;
/// Failed seeds after which a campaign ends: they will not tell more.
const FAILURES_MAX: usize = 10;

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    pub(crate) seeds: Range<u64>,
    /// Of a hundred seeds, so many are run twice and must do the same both times.
    pub(crate) replay_percent: u64,
    pub(crate) threads: usize,
    /// No seed begins later than this.
    pub(crate) at_most: Duration,
}

/// What came out of the seeds that were run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Sum {
    /// The first seed.
    pub(crate) from: u64,
    /// The first seed that was not run any more.
    pub(crate) to: u64,
    pub(crate) passed: u64,
    pub(crate) failed: Vec<u64>,
    /// Run twice, with the same trace both times.
    pub(crate) replayed: u64,
    pub(crate) virtual_seconds: u64,
    pub(crate) packets: u64,
    pub(crate) acknowledged: u64,
    pub(crate) indeterminate: u64,
    pub(crate) reads: u64,
    pub(crate) packets_lost: u64,
    pub(crate) packets_repeated: u64,
    pub(crate) packets_damaged: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// The longest that members took to hold the same, after healing.
    pub(crate) converged_within_ms: u64,
    pub(crate) wall_seconds: u64,
}

impl Campaign {
    /// Runs it, and says how far it is. Seeds are begun in order, so what was run is a range.
    pub(crate) fn run(&self) -> Sum {
        let (began, next) = (Instant::now(), AtomicU64::new(self.seeds.start));
        let is_over = AtomicBool::new(false);
        let (report, outcomes) = mpsc::channel();
        let mut sum = Sum { from: self.seeds.start, to: self.seeds.start, ..Sum::default() };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let report = report.clone();
                let (next, is_over) = (&next, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) && began.elapsed() < self.at_most {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end {
                            return;
                        }
                        let _main_waits = report.send(self.one(seed));
                    }
                });
            }
            drop(report);
            for (outcome, is_replayed) in outcomes {
                sum.add(&outcome, is_replayed);
                self.tell(&sum, &outcome, began.elapsed());
                if sum.failed.len() >= FAILURES_MAX {
                    is_over.store(true, Ordering::Relaxed);
                }
            }
        });
        sum.to = next.into_inner().min(self.seeds.end);
        sum.failed.sort_unstable();
        sum.wall_seconds = began.elapsed().as_secs();
        sum
    }

    /// Runs a seed, twice if it is its turn; tells whether it was, and did the same.
    fn one(&self, seed: u64) -> (Outcome, bool) {
        let mut outcome = run::run(seed);
        let is_replayed = seed.wrapping_mul(self.replay_percent) % 100 < self.replay_percent;
        if is_replayed {
            let again = run::run(seed);
            if again != outcome {
                outcome.findings.push(format!(
                    "NOT THE SAME: {} after {} packets, then {} after {}",
                    outcome.digest, outcome.packets, again.digest, again.packets
                ));
            }
        }
        (outcome, is_replayed)
    }

    fn tell(&self, sum: &Sum, outcome: &Outcome, took: Duration) {
        for finding in &outcome.findings {
            eprintln!("seed {}: {finding}", outcome.seed);
        }
        if !outcome.findings.is_empty() {
            let seed = outcome.seed;
            eprintln!("again: cargo xtask simulate-node --seeds {seed}..{} --events\n", seed + 1);
        }
        let (done, all) = (sum.done(), self.seeds.end.saturating_sub(self.seeds.start));
        let rate = done as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
        if done == ESTIMATE_AFTER && done < all {
            let needed = Duration::from_secs((all as f64 / rate) as u64);
            println!(
                "{all} seeds will take about {} on this machine, at {rate:.1} seeds/s",
                humantime::format_duration(needed)
            );
        } else if done.is_multiple_of(TELL_EVERY) || done == all {
            println!(
                "{done} of {all} seeds, {} failed; {rate:.1} seeds/s, {:.0} virtual seconds/s",
                sum.failed.len(),
                sum.virtual_seconds as f64 / took.as_secs_f64()
            );
        }
    }
}

impl Sum {
    /// Seeds that are done.
    pub(crate) fn done(&self) -> u64 {
        self.passed + self.failed.len() as u64
    }

    fn add(&mut self, outcome: &Outcome, is_replayed: bool) {
        if outcome.findings.is_empty() {
            self.passed += 1;
            self.replayed += u64::from(is_replayed);
        } else {
            self.failed.push(outcome.seed);
        }
        self.virtual_seconds += outcome.took.as_secs();
        self.packets += outcome.packets;
        self.acknowledged += outcome.acknowledged;
        self.indeterminate += outcome.indeterminate;
        self.reads += outcome.reads;
        self.packets_lost += outcome.network.lost;
        self.packets_repeated += outcome.network.repeated;
        self.packets_damaged += outcome.network.damaged;
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        let converged = outcome.converged_after.unwrap_or_default().as_millis();
        let converged = u64::try_from(converged).unwrap_or(u64::MAX);
        self.converged_within_ms = self.converged_within_ms.max(converged);
    }
}
