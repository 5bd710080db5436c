//! Does to a mesh what the schedule says, and writes down when it did and what came of it.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::future::try_join_all;
use quorum_node::SystemRandom;
use quorum_node::client::WriteOptions;
use quorum_node::record::{Key, Namespace};

use crate::class::FAKETIME;
use crate::clients::write_id;
use crate::mesh::Mesh;
use crate::process::{Node, Under};
use crate::schedule::{Fault, Step};

/// How long a kill waits for a write to be in hand.
const IN_HAND_LIMIT: Duration = Duration::from_millis(300);
/// How long an exact sync may be waited for.
const SYNC_LIMIT: Duration = Duration::from_secs(5);
/// How long a node may need to see that its disk has room again, before it is started anew.
const ROOM_LIMIT: Duration = Duration::from_secs(2);
/// Writes that use up what room a full disk may have left in files, and their size.
const BULKS_MAX: usize = 200;
const BULK_BYTES: usize = 64 << 10;
const BULK_TIMEOUT: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const SIGKILL: i32 = 9;

/// A fault that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Injection {
    /// For people.
    pub(crate) what: String,
    /// Nanoseconds since the life began.
    pub(crate) at: u64,
    /// When everything it had taken was given back.
    pub(crate) lifted: u64,
    /// Processes killed, packets dropped, datagrams changed, errors returned: whatever it does. A fault of which this is
    /// zero was none.
    pub(crate) effect: u64,
    pub(crate) counts: Counts,
}

/// How many faults of the kinds that are counted over a whole campaign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Counts {
    /// Processes ended by SIGKILL, whoever sent it.
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    pub(crate) partitions: u64,
    pub(crate) wiped_disks: u64,
}

impl Counts {
    pub(crate) const fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.partitions += other.partitions;
        self.wiped_disks += other.wiped_disks;
    }

    const fn kills(kills: u64) -> Self {
        Self { kills, power_cuts: 0, partitions: 0, wiped_disks: 0 }
    }
}

/// Does the steps of one track, one after the other.
pub(crate) async fn track(mesh: &Mesh, steps: &[Step]) -> Result<Vec<Injection>> {
    let mut done = Vec::new();
    for step in steps {
        tokio::time::sleep(step.wait).await;
        done.push(perform(mesh, step).await.with_context(|| format!("{:?}", step.fault))?);
    }
    Ok(done)
}

async fn perform(mesh: &Mesh, step: &Step) -> Result<Injection> {
    let lasts = step.lasts;
    match &step.fault {
        Fault::Kill { nodes } => kill(mesh, nodes, lasts).await,
        Fault::KillAtSync { node, call, nth } => kill_at_sync(mesh, *node, call, *nth, lasts).await,
        Fault::FailSync { node, nth } => fail_sync(mesh, *node, *nth, lasts).await,
        Fault::Pause { node } => pause(mesh, *node, lasts).await,
        Fault::Restart { node } => restart(mesh, *node, lasts).await,
        Fault::Cut { pairs } => cut(mesh, pairs, lasts).await,
        Fault::Lose { percent } => {
            let at = now(mesh);
            mesh.network.lose(*percent).await?;
            tokio::time::sleep(lasts).await;
            let dropped = mesh.network.mend().await?;
            Ok(injection(mesh, format!("{percent} % of all packets lost"), at, dropped))
        }
        Fault::Throttle { node, kbit } => {
            let at = now(mesh);
            mesh.network.throttle(*node, *kbit).await?;
            tokio::time::sleep(lasts).await;
            let held_up = mesh.network.unthrottle(*node).await?;
            let what = format!("{} sends {kbit} kbit/s", Mesh::names(&[*node]));
            Ok(injection(mesh, what, at, held_up))
        }
        Fault::Relay { faults } => {
            let relays = mesh.relays.as_ref().context("a mesh without relays")?;
            let (at, before) = (now(mesh), relays.harmed());
            relays.set(*faults);
            tokio::time::sleep(lasts).await;
            relays.set(quorum_transport::testing::Faults::NONE);
            let what = format!("relays: {}", misbehaviour(faults));
            Ok(injection(mesh, what, at, relays.harmed() - before))
        }
        Fault::SkewClock { node, offsets } => skew_clock(mesh, *node, offsets, lasts).await,
        Fault::FillDisk { node } => fill_disk(mesh, *node, lasts).await,
        Fault::CutPower { nodes } => cut_power(mesh, nodes, lasts).await,
        Fault::Wipe { nodes } => wipe(mesh, nodes, lasts).await,
    }
}

fn now(mesh: &Mesh) -> u64 {
    mesh.shared.timeline.nanos()
}

/// A fault that is over by now.
fn injection(mesh: &Mesh, what: String, at: u64, effect: u64) -> Injection {
    Injection { what, at, lifted: now(mesh), effect, counts: Counts::default() }
}

/// Returns when a client's write is in the hand of this node; or soon, if none comes.
async fn write_in_hand(mesh: &Mesh, node: usize) {
    let begun = tokio::time::Instant::now();
    while mesh.shared.in_hand.at(node) == 0 && begun.elapsed() < IN_HAND_LIMIT {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn kill(mesh: &Mesh, nodes: &[usize], down: Duration) -> Result<Injection> {
    write_in_hand(mesh, nodes[0]).await;
    let at = now(mesh);
    mesh.kill_nodes(nodes).await?;
    tokio::time::sleep(down).await;
    mesh.start_nodes(nodes).await?;
    let (what, killed) = (format!("kill -9 {}", Mesh::names(nodes)), nodes.len() as u64);
    Ok(Injection { counts: Counts::kills(killed), ..injection(mesh, what, at, killed) })
}

async fn kill_at_sync(
    mesh: &Mesh,
    node: usize,
    call: &'static str,
    nth: u64,
    down: Duration,
) -> Result<Injection> {
    let mut victim = mesh.nodes[node].lock().await;
    victim.kill().await?;
    // Whether it gets ready before it dies is not asked.
    let _said = victim.spawn(&Under::KillAt { call, nth })?;
    let status = victim.ended(SYNC_LIMIT).await;
    let at = now(mesh);
    let died_there = match status {
        Some(status) if status.signal() == Some(SIGKILL) => 1,
        Some(status) => bail!("{} ended with {status}: {}", victim.name, victim.log_tail()),
        None => 0,
    };
    victim.kill().await?;
    tokio::time::sleep(down).await;
    victim.start(&Under::Nothing).await?;
    let what = format!("{} killed on entering {call} number {nth}", victim.name);
    // The first kill made room for the tracer.
    Ok(Injection { counts: Counts::kills(2), ..injection(mesh, what, at, died_there) })
}

async fn fail_sync(mesh: &Mesh, node: usize, nth: u64, stays: Duration) -> Result<Injection> {
    let mut victim = mesh.nodes[node].lock().await;
    victim.kill().await?;
    let from = victim.log_len();
    let under = Under::FailAt { call: "fdatasync", nth };
    victim.start(&under).await?;
    let begun = tokio::time::Instant::now();
    let said = |log: &str| log.matches("Input/output error").count() as u64;
    while said(&victim.log_since(from)) == 0 && begun.elapsed() < SYNC_LIMIT {
        tokio::time::sleep(10 * LOOK_EVERY).await;
    }
    let (at, failed) = (now(mesh), said(&victim.log_since(from)).min(1));
    tokio::time::sleep(stays).await;
    victim.kill().await?;
    victim.start(&Under::Nothing).await?;
    let what = format!("fdatasync number {nth} of {} fails with EIO", victim.name);
    Ok(Injection { counts: Counts::kills(2), ..injection(mesh, what, at, failed) })
}

async fn pause(mesh: &Mesh, node: usize, lasts: Duration) -> Result<Injection> {
    write_in_hand(mesh, node).await;
    let victim = mesh.nodes[node].lock().await;
    let at = now(mesh);
    victim.signal("STOP").await?;
    tokio::time::sleep(lasts).await;
    victim.signal("CONT").await?;
    Ok(injection(mesh, format!("{} stopped for {} ms", victim.name, lasts.as_millis()), at, 1))
}

async fn restart(mesh: &Mesh, node: usize, down: Duration) -> Result<Injection> {
    let mut victim = mesh.nodes[node].lock().await;
    let at = now(mesh);
    victim.stop().await?;
    tokio::time::sleep(down).await;
    victim.start(&Under::Nothing).await?;
    Ok(injection(mesh, format!("{} stopped in order and started", victim.name), at, 1))
}

async fn cut(mesh: &Mesh, pairs: &[(usize, usize)], lasts: Duration) -> Result<Injection> {
    let at = now(mesh);
    mesh.network.cut(pairs).await?;
    tokio::time::sleep(lasts).await;
    let dropped = mesh.network.mend().await?;
    let arrow = |(from, to): &(usize, usize)| format!("n{}>n{}", from + 1, to + 1);
    let what = format!("cut {}", pairs.iter().map(arrow).collect::<Vec<_>>().join(" "));
    let counts = Counts { partitions: u64::from(dropped > 0), ..Counts::default() };
    Ok(Injection { counts, ..injection(mesh, what, at, dropped) })
}

fn misbehaviour(faults: &quorum_transport::testing::Faults) -> String {
    let shares = [
        (faults.duplicated_percent, "doubled"),
        (faults.corrupted_percent, "with a flipped bit"),
        (faults.late_percent, "overtaken"),
    ];
    let told = shares.iter().find(|(percent, _)| *percent > 0);
    match told {
        Some((percent, what)) => format!("{percent} % {what}"),
        None => format!("all {} ms late", faults.delay.as_millis()),
    }
}

async fn skew_clock(
    mesh: &Mesh,
    node: usize,
    offsets: &[i64],
    lasts: Duration,
) -> Result<Injection> {
    let mut victim = mesh.nodes[node].lock().await;
    victim.clock.set(0)?;
    victim.kill().await?;
    victim.start(&Under::FakeClock).await?;
    let stepped = if victim.has_loaded(FAKETIME) { offsets.len() as u64 } else { 0 };
    let at = now(mesh);
    for offset in offsets {
        victim.clock.set(*offset)?;
        tokio::time::sleep(lasts / u32::try_from(offsets.len()).context("a few steps")?).await;
    }
    victim.clock.set(0)?;
    let back = now(mesh);
    victim.kill().await?;
    victim.start(&Under::Nothing).await?;
    let steps = offsets.iter().map(|offset| format!("{offset:+} s")).collect::<Vec<_>>().join(", ");
    let what = format!("the clock of {} is {steps}, then right again", victim.name);
    let done = injection(mesh, what, at, stepped);
    Ok(Injection { lifted: back, counts: Counts::kills(2), ..done })
}

async fn fill_disk(mesh: &Mesh, node: usize, lasts: Duration) -> Result<Injection> {
    let mut victim = mesh.nodes[node].lock().await;
    let from = victim.log_len();
    let at = now(mesh);
    victim.disk.fill().await?;
    // Files that have their blocks already are written on, so somebody must want more.
    let refused = |node: &Node| {
        let log = node.log_since(from);
        let says_so = ["the disk is almost full", "the disk is full", "No space left"];
        says_so.iter().map(|words| log.matches(words).count() as u64).sum::<u64>()
    };
    for turn in 0..BULKS_MAX {
        if refused(&victim) > 0 {
            break;
        }
        bulk(mesh, node, turn).await;
    }
    tokio::time::sleep(lasts).await;
    victim.disk.relieve()?;
    let refused = refused(&victim);
    let begun = tokio::time::Instant::now();
    let mut kills = 0;
    loop {
        let is_ready = mesh.status(node, false).await.is_some_and(|status| status["ready"] == true);
        if is_ready {
            break;
        }
        if begun.elapsed() > ROOM_LIMIT || !victim.is_running() {
            victim.kill().await?;
            victim.start(&Under::Nothing).await?;
            kills = 1;
            break;
        }
        tokio::time::sleep(10 * LOOK_EVERY).await;
    }
    let what = format!("the disk of {} is full", victim.name);
    Ok(Injection { counts: Counts::kills(kills), ..injection(mesh, what, at, refused) })
}

/// A large write, of which nobody wants to know what became.
async fn bulk(mesh: &Mesh, node: usize, turn: usize) {
    let space = Namespace::new("bulk").expect("a name");
    let key = Key::new(format!("k{}", turn % 8)).expect("a key");
    let mut options = WriteOptions::new(write_id(&SystemRandom::default()));
    options.timeout = Some(BULK_TIMEOUT);
    let value = Bytes::from(vec![b'x'; BULK_BYTES]);
    let _whatever = mesh.shared.client.only(node).put(&space, &key, value, &options).await;
}

async fn cut_power(mesh: &Mesh, nodes: &[usize], down: Duration) -> Result<Injection> {
    write_in_hand(mesh, nodes[0]).await;
    let at = now(mesh);
    let cuts = nodes.iter().map(|node| async {
        let mut victim = mesh.nodes[*node].lock().await;
        victim.disk.cut_power().await?;
        victim.kill().await?;
        victim.disk.power_up().await
    });
    try_join_all(cuts).await?;
    tokio::time::sleep(down).await;
    mesh.start_nodes(nodes).await?;
    let cut = nodes.len() as u64;
    let counts = Counts { kills: cut, power_cuts: cut, ..Counts::default() };
    let what = format!("power cut of {}", Mesh::names(nodes));
    Ok(Injection { counts, ..injection(mesh, what, at, cut) })
}

async fn wipe(mesh: &Mesh, nodes: &[usize], down: Duration) -> Result<Injection> {
    write_in_hand(mesh, nodes[0]).await;
    let at = now(mesh);
    let wipes = nodes.iter().map(|node| async {
        let mut victim = mesh.nodes[*node].lock().await;
        victim.kill().await?;
        victim.disk.replace().await
    });
    try_join_all(wipes).await?;
    tokio::time::sleep(down).await;
    mesh.start_nodes(nodes).await?;
    let wiped = nodes.len() as u64;
    let counts = Counts { kills: wiped, wiped_disks: wiped, ..Counts::default() };
    let what = format!("the disks of {} are replaced by empty ones", Mesh::names(nodes));
    Ok(Injection { counts, ..injection(mesh, what, at, wiped) })
}
