//! A campaign: so many executions of each target over the code as it is, in slices of at most an hour. What the ledger has
//! already counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use quorum_ledger::{Code, Entry, Ledger};

use super::program::{Outcome, Programs};
use super::targets::Target;
use crate::process;

/// Where campaigns are recorded.
const LEDGER: &str = "docs/reliability/fuzz.md";

/// The figure by which a campaign is measured.
const EXECUTIONS: &str = "executions";

/// Longest slice; the next one goes on where it ended.
const SLICE_MAX: Duration = Duration::from_secs(60 * 60);

/// A target's turn, after which the ledger is written: whoever interrupts a slice loses no more than that.
const TURN_MAX: Duration = Duration::from_secs(5 * 60);

/// How long a target runs to see how fast it is, if the ledger does not say.
const PROBE: Duration = Duration::from_secs(5);

/// A target that lacks executions.
#[derive(Debug)]
struct Open {
    target: &'static Target,
    code: Code,
    missing: u64,
    /// Executions a second.
    rate: u64,
}

impl Open {
    fn seconds(&self) -> u64 {
        self.missing / self.rate.max(1)
    }
}

/// What the threads of a slice share.
struct Slice {
    until: Instant,
    state: Mutex<State>,
}

struct State {
    /// Those that are not taking their turn.
    waiting: Vec<Open>,
    ledger: Ledger,
}

/// Runs a slice: until every target has `wanted` executions in the ledger, or for so long.
pub(super) fn run(
    targets: &[&'static Target],
    wanted: u64,
    duration: Option<Duration>,
) -> Result<()> {
    // Before anything is built: somebody may work on the checkout meanwhile.
    let codes = targets.iter().map(|target| target.code(process::root()));
    let codes = codes.collect::<Result<Vec<_>>>()?;
    let ledger = Ledger::read(&process::root().join(LEDGER))?;
    let programs = Programs::build(targets)?;
    let mut waiting: Vec<Open> = targets
        .iter()
        .zip(codes)
        .map(|(target, code)| {
            let (missing, rate) = so_far(&ledger, target, &code, wanted);
            Open { target, code, missing, rate }
        })
        .collect();
    waiting.retain(|open| open.missing > 0);
    probe(&programs, &mut waiting)?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    print_estimate(&waiting, cores);

    let until = Instant::now() + duration.unwrap_or(SLICE_MAX).min(SLICE_MAX);
    let slice = Slice { until, state: Mutex::new(State { waiting, ledger }) };
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..cores).map(|_| scope.spawn(|| slice.take_turns(&programs))).collect();
        let mut ended = threads.into_iter().map(|thread| thread.join());
        ended.try_for_each(|ended| ended.map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    let left = slice.lock().waiting.iter().map(Open::seconds).sum::<u64>();
    if slice.lock().waiting.is_empty() {
        println!("every target has its {wanted} executions");
    } else {
        println!(
            "the slice is over; the same command goes on: {} min of one core",
            left.div_ceil(60)
        );
    }
    Ok(())
}

impl Slice {
    /// Whatever this thread does while it has the lock is done or not begun.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One turn after the other, until nobody waits for one or the time is over.
    fn take_turns(&self, programs: &Programs) -> Result<()> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let Some(open) = self.lock().next().filter(|_| !left.is_zero()) else { return Ok(()) };
            let outcome = programs.run(open.target, Some(open.missing), Some(left.min(TURN_MAX)));
            let mut state = self.lock();
            match outcome {
                Ok(outcome) => state.enter(open, &outcome)?,
                Err(error) => {
                    // The code will change: nothing that is run over it now will count.
                    state.waiting.clear();
                    return Err(error);
                }
            }
        }
    }
}

impl State {
    /// Takes out the target that will take longest, so that no core is idle in the end.
    fn next(&mut self) -> Option<Open> {
        let waiting = self.waiting.iter().enumerate();
        let (longest, _) = waiting.max_by_key(|(_, open)| open.seconds())?;
        Some(self.waiting.swap_remove(longest))
    }

    /// Enters a turn, and lets the target wait for the next one if it lacks more.
    fn enter(&mut self, mut open: Open, outcome: &Outcome) -> Result<()> {
        let Outcome { executions, seconds, coverage, .. } = outcome;
        let figures = format!("{executions} {EXECUTIONS}, {seconds} seconds, {coverage} edges");
        self.ledger.append(Entry::today(open.target.name, &open.code, true, &figures))?;
        open.missing = open.missing.saturating_sub(*executions);
        open.rate = outcome.rate();
        if open.missing > 0 {
            self.waiting.push(open);
        }
        Ok(())
    }
}

/// How many executions a target lacks over this code, and how many it made in a second; none if that is not known.
fn so_far(ledger: &Ledger, target: &Target, code: &Code, wanted: u64) -> (u64, u64) {
    let executions = ledger.passed(target.name, code, EXECUTIONS);
    let seconds = ledger.passed(target.name, code, "seconds");
    (wanted.saturating_sub(executions), executions / seconds.max(1))
}

/// Finds out how fast those are of which it is not known.
fn probe(programs: &Programs, waiting: &mut [Open]) -> Result<()> {
    let unknown: Vec<&Target> =
        waiting.iter().filter(|open| open.rate == 0).map(|open| open.target).collect();
    let outcomes = programs.run_side_by_side(&unknown, None, Some(PROBE))?;
    for open in waiting.iter_mut().filter(|open| open.rate == 0) {
        let outcome = outcomes.iter().find(|(target, _)| target.name == open.target.name);
        open.rate = outcome.map_or(0, |(_, outcome)| outcome.rate());
    }
    Ok(())
}

fn print_estimate(waiting: &[Open], cores: usize) {
    for Open { target, missing, rate, .. } in waiting {
        let minutes = (missing / rate.max(&1)).div_ceil(60);
        println!(
            "{:18} {missing:>11} executions to go, at about {rate}/s: {minutes} min",
            target.name
        );
    }
    println!("about {} min in all, in slices of at most 60", minutes(waiting, cores));
}

/// How long all of them take on so many cores: no shorter than one of them takes on one.
fn minutes(waiting: &[Open], cores: usize) -> u64 {
    let longest = waiting.iter().map(Open::seconds).max().unwrap_or(0);
    let shared = waiting.iter().map(Open::seconds).sum::<u64>() / cores.max(1) as u64;
    longest.max(shared).div_ceil(60)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::fuzz::targets::TARGETS;

    fn open(index: usize, missing: u64) -> Open {
        let code = Code::named("commit", "code");
        Open { target: &TARGETS[index], code, missing, rate: 10 }
    }

    #[test]
    fn a_campaign_takes_as_long_as_its_longest_target_or_its_share_of_all() {
        assert_eq!(minutes(&[open(0, 6_000), open(1, 600)], 2), 10);
        assert_eq!(minutes(&[open(0, 6_000), open(1, 6_000), open(2, 6_000)], 2), 15);
        assert_eq!(minutes(&[], 2), 0);
    }

    #[test]
    fn a_turn_counts_once_it_is_entered_and_the_rest_is_still_to_do() {
        let path = std::env::temp_dir().join(format!("turn-{}.md", std::process::id()));
        let ledger = Ledger::create(&path).expect("a new file");
        let mut state = State { waiting: vec![open(0, 100), open(1, 1_000)], ledger };
        let longest = state.next().expect("two wait");
        assert_eq!((longest.target.name, state.waiting.len()), (TARGETS[1].name, 1));
        let (code, log) = (longest.code.clone(), PathBuf::new());
        let outcome = Outcome { executions: 400, seconds: 4, coverage: 7, refuted_by: None, log };
        state.enter(longest, &outcome).expect("written");
        assert_eq!(state.waiting.iter().map(|open| open.missing).collect::<Vec<_>>(), [100, 600]);

        let read = Ledger::read(&path).expect("a ledger");
        fs::remove_file(&path).expect("it was there");
        assert_eq!(so_far(&read, &TARGETS[1], &code, 1_000), (600, 100));
        assert_eq!(so_far(&read, &TARGETS[0], &code, 1_000), (1_000, 0));
        assert_eq!(so_far(&read, &TARGETS[1], &Code::named("commit", "other"), 1_000), (1_000, 0));
    }
}
