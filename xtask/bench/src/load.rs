//! Clients in closed loops: each does its next piece of work when the last one was answered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use crate::usage::{Cost, Snapshot};

/// Work without an answer for so long is an error.
const PATIENCE: Duration = Duration::from_secs(10);
/// A client waits for so long after an error, so that a server that is gone is not asked all the time.
const AFTER_AN_ERROR: Duration = Duration::from_millis(10);

/// What a client does again and again.
pub(crate) trait Work {
    /// Does it once, and tells how many records that were.
    async fn once(&mut self) -> Result<u64>;
}

/// What some clients did in some time.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) records: u64,
    /// Of calls, in microseconds.
    latencies: Histogram<u64>,
    pub(crate) errors: u64,
    /// What the first error said.
    first_error: Option<String>,
    before: Snapshot,
    after: Snapshot,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// The time within which this share of the calls was answered.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }

    /// What the servers used, for each record.
    pub(crate) fn cost(&self) -> Cost {
        Cost::between(&self.before, &self.after, self.records)
    }

    /// Adds what other clients did in the same time.
    pub(crate) fn add(&mut self, other: &Self) -> Result<()> {
        self.records += other.records;
        self.errors += other.errors;
        self.latencies.add(&other.latencies)?;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        Ok(())
    }

    /// An error if nothing at all was done.
    pub(crate) fn check(&self) -> Result<()> {
        let why = self.first_error.as_deref().unwrap_or("no answer");
        ensure!(self.records > 0, "nothing was done ({} errors, the first: {why})", self.errors);
        Ok(())
    }
}

/// Lets every client work, and measures for `duration` after `warmup` what they did, and what the processes used.
pub(crate) async fn measure<W: Work + 'static>(
    clients: Vec<W>,
    pids: &[u32],
    warmup: Duration,
    duration: Duration,
) -> Result<Measured> {
    let period = async {
        sleep(duration).await;
        Ok(())
    };
    let (measured, ()) = during(clients, pids, warmup, period).await?;
    measured.check()?;
    Ok(measured)
}

/// Like [`measure`], but until `period` has come to its end.
pub(crate) async fn during<W: Work + 'static, T>(
    clients: Vec<W>,
    pids: &[u32],
    warmup: Duration,
    period: impl Future<Output = Result<T>>,
) -> Result<(Measured, T)> {
    let tally = Rc::new(Tally::new());
    let running = LocalSet::new();
    for client in clients {
        running.spawn_local(again_and_again(client, Rc::clone(&tally)));
    }
    let measuring = running.run_until(async {
        sleep(warmup).await;
        let before = Snapshot::take(pids)?;
        let began = Instant::now();
        tally.phase.set(Phase::Measured);
        let result = period.await?;
        tally.phase.set(Phase::Over);
        let seconds = began.elapsed().as_secs_f64();
        anyhow::Ok((before, Snapshot::take(pids)?, seconds, result))
    });
    let (before, after, seconds, result) = measuring.await?;
    // Each gets its last answer, or gives up.
    running.await;
    let Counts { latencies, records, errors, first_error } = tally.counts.take();
    if let Some(error) = &first_error {
        eprintln!("  {errors} errors, the first: {error}");
    }
    Ok((Measured { seconds, records, latencies, errors, first_error, before, after }, result))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warmup,
    Measured,
    Over,
}

struct Tally {
    phase: Cell<Phase>,
    counts: RefCell<Counts>,
}

struct Counts {
    latencies: Histogram<u64>,
    records: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn new() -> Self {
        Self { phase: Cell::new(Phase::Warmup), counts: RefCell::default() }
    }

    fn note(&self, done: Result<u64>, took: Duration) {
        let mut counts = self.counts.borrow_mut();
        match done {
            Ok(records) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                counts.latencies.saturating_record(micros.max(1));
                counts.records += records;
            }
            Err(error) => {
                counts.errors += 1;
                counts.first_error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

impl Default for Counts {
    fn default() -> Self {
        // In microseconds, up to a minute.
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3).expect("sound bounds");
        Self { latencies, records: 0, errors: 0, first_error: None }
    }
}

async fn again_and_again(mut client: impl Work, tally: Rc<Tally>) {
    while tally.phase.get() != Phase::Over {
        let began = Instant::now();
        let done = timeout(PATIENCE, client.once()).await;
        let done = done.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
        let failed = done.is_err();
        if tally.phase.get() == Phase::Measured {
            tally.note(done, began.elapsed());
        }
        if failed {
            sleep(AFTER_AN_ERROR).await;
        }
    }
}
