//! A campaign: lives side by side, until the time is up, somebody stops it, or all that were asked for are over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::life::{self, Ground};
use crate::report::{CycleReport, LifeReport};
use crate::schedule::{self, Life, Selection};

/// So many lives that end badly end the campaign: whatever it is, it is there.
const BAD_LIVES_MAX: u64 = 5;

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    pub(crate) selection: Selection,
    pub(crate) duration: Duration,
    /// Lives side by side.
    pub(crate) meshes: u8,
    pub(crate) first_life: u64,
    /// Ends after so many lives, if the time has not.
    pub(crate) lives: Option<u64>,
    pub(crate) program: PathBuf,
    pub(crate) report: PathBuf,
    /// What every node is set to beside what every mesh needs.
    pub(crate) settings: Vec<&'static str>,
}

/// What was done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) lives: Vec<LifeReport>,
    pub(crate) elapsed: Duration,
    pub(crate) next_life: u64,
    pub(crate) was_stopped: bool,
}

/// Runs it. The first Ctrl-C ends it after the cycles that are under way; at the second everything ends at once.
pub(crate) async fn run(campaign: &Campaign, scratch: PathBuf) -> Result<Done> {
    let began = Instant::now();
    let (say_stop, stop) = watch::channel(false);
    let was_stopped = Arc::new(Mutex::new(false));
    let (say_stop, bad_lives) = (Arc::new(say_stop), Arc::new(AtomicU64::new(0)));
    let watcher =
        tokio::spawn(watch_out(campaign.duration, Arc::clone(&say_stop), Arc::clone(&was_stopped)));
    let next = Arc::new(AtomicU64::new(campaign.first_life));
    let lives: Arc<Mutex<BTreeMap<u64, LifeReport>>> = Arc::default();
    let mut workers = JoinSet::new();
    for slot in 0..campaign.meshes {
        let ground = Ground {
            program: campaign.program.clone(),
            scratch: scratch.clone(),
            report: campaign.report.clone(),
            settings: campaign.settings.clone(),
            stop: stop.clone(),
        };
        let (campaign, next, lives) = (campaign.clone(), Arc::clone(&next), Arc::clone(&lives));
        let (say_stop, bad_lives) = (Arc::clone(&say_stop), Arc::clone(&bad_lives));
        workers.spawn(async move {
            loop {
                let index = next.load(Ordering::Relaxed);
                let is_over =
                    campaign.lives.is_some_and(|lives| index >= campaign.first_life + lives);
                if is_over || *ground.stop.borrow() {
                    return;
                }
                // Workers are tasks, so another one may have taken it meanwhile.
                if next
                    .compare_exchange(index, index + 1, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
                {
                    continue;
                }
                let life = schedule::life(&campaign.selection, index);
                let told = |cycle: &CycleReport| show(began.elapsed(), &life, cycle);
                let report = life::lead(&ground, slot, &life, began.elapsed(), told).await;
                report.findings.iter().for_each(|it| eprintln!("life {index}: FOUND {it}"));
                if !report.is_good()
                    && bad_lives.fetch_add(1, Ordering::Relaxed) + 1 >= BAD_LIVES_MAX
                {
                    eprintln!("{BAD_LIVES_MAX} lives have ended badly: nothing further is begun");
                    let _unheard = say_stop.send(true);
                }
                lives.lock().insert(index, report);
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended?;
    }
    watcher.abort();
    let lives = std::mem::take(&mut *lives.lock()).into_values().collect();
    let was_stopped = *was_stopped.lock();
    let next_life = next.load(Ordering::Relaxed);
    Ok(Done { lives, elapsed: began.elapsed(), next_life, was_stopped })
}

/// Says stop when the time is up or somebody wants it.
async fn watch_out(
    duration: Duration,
    say_stop: Arc<watch::Sender<bool>>,
    was_stopped: Arc<Mutex<bool>>,
) {
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        _ = tokio::signal::ctrl_c() => {
            *was_stopped.lock() = true;
            eprintln!("stopping after the cycles that are under way; once more to stop at once");
        }
    }
    // Everybody may have ended by then.
    let _unheard = say_stop.send(true);
    if tokio::signal::ctrl_c().await.is_ok() {
        // The sandbox ends with us, and everything in it.
        std::process::exit(130);
    }
}

/// A line for a cycle.
fn show(elapsed: Duration, life: &Life, cycle: &CycleReport) {
    let faults = cycle.injections.iter().filter(|it| it.effect > 0).count();
    let converged = cycle
        .convergence_ms
        .map_or_else(|| "did not converge".to_owned(), |it| format!("converged in {it} ms"));
    eprintln!(
        "[{:4} s] life {}, {} nodes{}: {:18} {faults:2} faults, {:4} of {:4} writes acknowledged, {converged}",
        elapsed.as_secs(),
        life.index,
        life.nodes,
        life::wiring(life),
        cycle.class,
        cycle.acknowledged,
        cycle.writes,
    );
    cycle.findings.iter().for_each(|it| eprintln!("life {}: FOUND {it}", life.index));
}
