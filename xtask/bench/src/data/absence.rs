//! A member is stopped, records are written without it, and it comes back: how soon it has them, and what the clients of
//! the others notice.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::fill::{Data, Rate};
use crate::load;
use crate::node::Mesh;
use crate::usage::mib;

/// The member that is away; clients are at the others.
const AWAY: usize = 2;
const OTHERS: [usize; 2] = [0, 1];
/// While others write, a member has caught up when it holds at most so many records fewer than another.
const BEHIND_MAX: u64 = 1_000;
/// Clients write for so long before they are measured.
const WARMUP: Duration = Duration::from_secs(1);
/// How long it may take to catch up.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1_800);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One absence.
#[derive(Debug, Serialize)]
pub(super) struct Absence {
    live_clients: usize,
    missing_records: u64,
    /// Both since the start of its process.
    ready_seconds: f64,
    caught_up_seconds: f64,
    /// What the others sent because it lacked it.
    repaired_records: u64,
    repaired_mib: f64,
    /// The clients' writes while it was away, and while it caught up.
    live: Option<Live>,
}

#[derive(Debug, Serialize)]
struct Live {
    before: Rate,
    during: Rate,
}

/// Measures one absence, with so many clients that go on writing.
pub(super) async fn one(
    data: &mut Data,
    missing: u64,
    live_clients: usize,
    duration: Duration,
) -> Result<Absence> {
    eprintln!("{missing} records while a member is away, then {live_clients} clients go on");
    data.mesh.stop(AWAY).await?;
    let first = data.next();
    data.fill(&OTHERS, first + missing).await?;
    let (pids, repaired_before) = (data.mesh.pids(), repaired(&data.mesh).await?);
    let (caught_up, missing_records, live) = if live_clients == 0 {
        let missing_records = data.next() - first;
        (come_back(&mut data.mesh, 0).await?, missing_records, None)
    } else {
        let writers = data.writers(&OTHERS, live_clients).await?;
        let before = load::measure(writers, &pids, WARMUP, duration).await?;
        let missing_records = data.next() - first;
        let writers = data.writers(&OTHERS, live_clients).await?;
        let returning = come_back(&mut data.mesh, BEHIND_MAX);
        let (during, caught_up) = load::during(writers, &pids, Duration::ZERO, returning).await?;
        let live = Live { before: Rate::from(&before), during: Rate::from(&during) };
        (caught_up, missing_records, Some(live))
    };
    let repaired = repaired(&data.mesh).await?;
    Ok(Absence {
        live_clients,
        missing_records,
        ready_seconds: caught_up.ready.as_secs_f64(),
        caught_up_seconds: caught_up.all.as_secs_f64(),
        repaired_records: repaired.0.saturating_sub(repaired_before.0),
        repaired_mib: mib(repaired.1.saturating_sub(repaired_before.1)),
        live,
    })
}

struct CaughtUp {
    ready: Duration,
    all: Duration,
}

/// Starts the member, and returns once it holds at most so many records fewer than another.
async fn come_back(mesh: &mut Mesh, behind_max: u64) -> Result<CaughtUp> {
    let began = Instant::now();
    let ready = mesh.start_again(AWAY).await?;
    let (mut other, mut returned) = (mesh.client(OTHERS[0]).await?, mesh.client(AWAY).await?);
    loop {
        let all = other.status().await?.records;
        let held = returned.status().await?.records;
        if held + behind_max >= all {
            return Ok(CaughtUp { ready, all: began.elapsed() });
        }
        ensure!(
            began.elapsed() < CATCH_UP_TIMEOUT,
            "after {CATCH_UP_TIMEOUT:?} the member that was away holds {held} of {all} records"
        );
        mesh.check()?;
        sleep(LOOK_EVERY).await;
    }
}

/// Records, and their bytes, that the others have sent to the member so far because it lacked them.
async fn repaired(mesh: &Mesh) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    let away = format!("n{}", AWAY + 1);
    for index in OTHERS {
        let peers = mesh.client(index).await?.peers().await?;
        for peer in peers.into_iter().filter(|peer| peer.node == away) {
            sum = (sum.0 + peer.repaired_records, sum.1 + peer.repaired_bytes);
        }
    }
    Ok(sum)
}

impl Absence {
    pub(super) fn table(absences: &[Self], out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:18} {:>9} {:>8} {:>8} {:>10} {:>9} {:>12} {:>12} {:>10} {:>10}",
            "a member was away",
            "missing",
            "ready s",
            "all s",
            "missing/s",
            "sent MiB",
            "live before",
            "live during",
            "p99 before",
            "p99 during"
        )?;
        for absence in absences {
            write!(
                out,
                "{:18} {:9} {:8.2} {:8.2} {:10.0} {:9.1}",
                format!("{} live clients", absence.live_clients),
                absence.missing_records,
                absence.ready_seconds,
                absence.caught_up_seconds,
                absence.missing_records as f64 / absence.caught_up_seconds,
                absence.repaired_mib
            )?;
            match &absence.live {
                None => writeln!(out)?,
                Some(Live { before, during }) => writeln!(
                    out,
                    " {:12.0} {:12.0} {:10.2} {:10.2}",
                    before.records_per_second,
                    during.records_per_second,
                    before.p99_ms,
                    during.p99_ms
                )?,
            }
        }
        writeln!(
            out,
            "seconds from the start of its process; beside live clients it has all when it lacks at most {BEHIND_MAX} records\n"
        )
    }
}
