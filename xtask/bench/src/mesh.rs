//! Meshes of several sizes on this one machine: what a write costs when there are many members, how soon all of them
//! have it, and what a mesh costs that has nothing to do.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::Subject;
use crate::about::About;
use crate::floor;
use crate::load::{self, Work};
use crate::node::{Client, Mesh};
use crate::process;
use crate::rounds::{self, Figures};
use crate::system::Cluster;
use crate::usage::{Snapshot, Traffic, mib, resident_bytes};
use crate::values::Values;

/// How long after the last write all members may need to have everything.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a mesh is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(2);

/// Arguments of `mesh`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) subject: Subject,
    /// Members, each a process of its own; several sizes are measured one after another
    #[arg(long, value_delimiter = ',', default_values_t = [3, 5, 10, 25, 50])]
    nodes: Vec<usize>,
    /// Clients at the same time, spread over all members
    #[arg(long, value_delimiter = ',', default_values_t = [8])]
    clients: Vec<usize>,
    /// Bytes of a value
    #[arg(long, default_value_t = 120)]
    value_bytes: usize,
    /// How long each measurement takes
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long clients write before it
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// How long an idle mesh is watched
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    idle: Duration,
}

/// A mesh of one size.
#[derive(Debug, Serialize)]
struct Size {
    nodes: usize,
    write_quorum: usize,
    /// Until every node was ready and reached all others.
    start_seconds: f64,
    idle: Idle,
    loads: Vec<Load>,
    /// What the skeleton does as so many processes: no store, nothing that could be read.
    skeleton: Vec<Bare>,
    /// Syncs a second of as many files at once, by one thread each, and how long one takes: nothing else runs meanwhile.
    syncs_per_second: f64,
    sync_p50_ms: f64,
    sync_p99_ms: f64,
}

/// What a mesh costs that has nothing to do.
#[derive(Debug, Serialize)]
struct Idle {
    /// Of all nodes, in each second.
    cpu_seconds_per_second: f64,
    /// All that was sent on this machine meanwhile, in each second.
    #[serde(flatten)]
    traffic: Traffic,
}

/// The skeleton with so many clients.
#[derive(Debug, Serialize)]
struct Bare {
    clients: usize,
    #[serde(flatten)]
    figures: Figures,
}

/// What clients did.
#[derive(Debug, Serialize)]
struct Load {
    clients: usize,
    writes_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
    /// From the last write's answer until every node had everything, and until every node knew so.
    convergence_seconds: f64,
    known_seconds: f64,
    /// Of all nodes until then, those of the others' copies too.
    cpu_seconds_per_1000: f64,
    disk_bytes_per_write: f64,
    /// Of one node, on average, and of the largest.
    resident_mib_mean: f64,
    resident_mib_max: f64,
    /// UDP packets that a node's socket had no room for.
    packets_dropped: f64,
    /// Writes that were answered with success, warm-up included.
    acknowledged: u64,
    /// Of these, how many not every node holds.
    left_behind: u64,
}

/// All sizes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    about: About,
    sizes: Vec<Size>,
    /// Sizes that could not be measured, and why.
    failed: Vec<String>,
}

/// Measures every size.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Report> {
    let (mut sizes, mut failed) = (Vec::new(), Vec::new());
    for &nodes in &arguments.nodes {
        match size(arguments, nodes).await {
            Ok(size) => sizes.push(size),
            // The others are worth measuring all the same.
            Err(error) => {
                eprintln!("  failed: {error:#}");
                failed.push(format!("{nodes} nodes: {error:#}"));
            }
        }
    }
    let settings = format!(
        "defaults: W = majority, fsync before each ack, mutual TLS between nodes; one process for each node; \
         values of {} bytes, every write a key of its own, {} s each",
        arguments.value_bytes,
        arguments.duration.as_secs_f64()
    );
    let version = process::version(&arguments.subject.node)?;
    Ok(Report { about: About::new(version, settings), sizes, failed })
}

async fn size(arguments: &Arguments, nodes: usize) -> Result<Size> {
    eprintln!("{nodes} nodes: starting");
    let began = Instant::now();
    let mut mesh = Mesh::start(&arguments.subject.node, &arguments.subject.folder, nodes).await?;
    let start_seconds = began.elapsed().as_secs_f64();
    eprintln!("  ready after {start_seconds:.1} s; idle for {:?}", arguments.idle);
    let idle = idle(&mesh, arguments.idle).await?;
    let mut loads = Vec::new();
    for (turn, &clients) in arguments.clients.iter().enumerate() {
        let load = one(&mut mesh, arguments, turn, clients).await?;
        eprintln!(
            "  {clients:4} clients: {:8.0} writes/s, p50 {:.2} ms, p99 {:.2} ms, all have all after {:.2} s, {} left behind",
            load.writes_per_second,
            load.p50_ms,
            load.p99_ms,
            load.convergence_seconds,
            load.left_behind
        );
        loads.push(load);
    }
    drop(mesh);
    let skeleton = skeleton(arguments, nodes).await?;
    eprintln!("  syncs of {nodes} files at once");
    let scratch = tempfile::tempdir_in(&arguments.subject.folder)?;
    let syncs = floor::files_at_once(scratch.path(), nodes, arguments.value_bytes)?;
    Ok(Size {
        nodes,
        write_quorum: nodes / 2 + 1,
        start_seconds,
        idle,
        loads,
        skeleton,
        syncs_per_second: syncs.per_second,
        sync_p50_ms: syncs.p50_micros / 1e3,
        sync_p99_ms: syncs.p99_micros / 1e3,
    })
}

async fn skeleton(arguments: &Arguments, nodes: usize) -> Result<Vec<Bare>> {
    let cluster = Cluster::skeleton(nodes, &arguments.subject.folder).await?;
    let mut measured = Vec::new();
    for &clients in &arguments.clients {
        let Arguments { value_bytes, warmup, duration, .. } = *arguments;
        let figures = rounds::figures(&cluster, clients, value_bytes, warmup, duration).await?;
        eprintln!("  skeleton, {clients} clients: {:.0} writes/s", figures.writes_per_second);
        measured.push(Bare { clients, figures });
    }
    Ok(measured)
}

async fn idle(mesh: &Mesh, duration: Duration) -> Result<Idle> {
    sleep(SETTLE).await;
    let pids = mesh.pids();
    let (before, traffic_before) = (Snapshot::take(&pids)?, Traffic::so_far()?);
    let began = Instant::now();
    sleep(duration).await;
    let seconds = began.elapsed().as_secs_f64();
    let (after, traffic_after) = (Snapshot::take(&pids)?, Traffic::so_far()?);
    Ok(Idle {
        cpu_seconds_per_second: (after.cpu_seconds() - before.cpu_seconds()) / seconds,
        traffic: traffic_after.since(&traffic_before).each(seconds),
    })
}

async fn one(mesh: &mut Mesh, arguments: &Arguments, turn: usize, clients: usize) -> Result<Load> {
    let acknowledged = Rc::new(RefCell::new(Vec::new()));
    let mut writers = Vec::with_capacity(clients);
    for index in 0..clients {
        // Evenly spread, however many more members there are.
        let client = mesh.client(index * mesh.size() / clients.min(mesh.size()).max(1)).await?;
        let mut random = StdRng::seed_from_u64(index as u64);
        let values = Values::new(arguments.value_bytes, &mut random);
        let (keys, acknowledged) = (format!("{turn}-{index}"), Rc::clone(&acknowledged));
        writers.push(Writer { client, keys, written: 0, random, values, acknowledged });
    }
    // The last turn has ended with the same records everywhere.
    let records_before = mesh.client(0).await?.status().await?.records;
    let (before, traffic_before) = (Snapshot::take(&mesh.pids())?, Traffic::so_far()?);
    let (warmup, duration) = (arguments.warmup, arguments.duration);
    let measured = load::measure(writers, &mesh.pids(), warmup, duration).await?;
    let answered = Instant::now();
    let count = acknowledged.borrow().len() as u64;
    mesh.hold(records_before + count, CONVERGENCE_TIMEOUT).await?;
    let convergence = answered.elapsed();
    let known = mesh.converged(CONVERGENCE_TIMEOUT).await?;
    let after = Snapshot::take(&mesh.pids())?;
    let traffic = Traffic::so_far()?.since(&traffic_before);
    let residents = mesh.pids().into_iter().map(resident_bytes).collect::<Result<Vec<u64>>>()?;
    let acknowledged = acknowledged.take();
    let writes = acknowledged.len() as f64;
    Ok(Load {
        clients,
        writes_per_second: measured.per_second(),
        p50_ms: measured.millis(0.5),
        p99_ms: measured.millis(0.99),
        errors: measured.errors,
        convergence_seconds: convergence.as_secs_f64(),
        known_seconds: known.saturating_duration_since(answered).max(convergence).as_secs_f64(),
        cpu_seconds_per_1000: (after.cpu_seconds() - before.cpu_seconds()) / writes * 1e3,
        disk_bytes_per_write: after.written_since(&before) as f64 / writes,
        resident_mib_mean: mib(residents.iter().sum()) / residents.len() as f64,
        resident_mib_max: mib(residents.iter().copied().max().unwrap_or(0)),
        packets_dropped: traffic.packets_dropped(),
        acknowledged: acknowledged.len() as u64,
        left_behind: left_behind(mesh, &acknowledged).await?,
    })
}

/// How many of these keys not every node holds. The content of all nodes is compared by its digest; if that is the same
/// everywhere, the keys of one node are those of all.
async fn left_behind(mesh: &Mesh, acknowledged: &[String]) -> Result<u64> {
    let mut digests = HashSet::new();
    for index in 0..mesh.size() {
        let status = mesh.client(index).await?.status_with_digest().await?;
        digests.insert(status.content_digest.context("a status without the digest asked for")?);
    }
    let to_read = if digests.len() == 1 { 1 } else { mesh.size() };
    let mut lacking: HashSet<&String> = HashSet::new();
    for index in 0..to_read {
        let mut held = HashSet::new();
        mesh.client(index)
            .await?
            .list(false, |key, _| {
                let _new = held.insert(key);
            })
            .await?;
        lacking.extend(acknowledged.iter().filter(|key| !held.contains(*key)));
    }
    ensure!(
        digests.len() == 1 || !lacking.is_empty(),
        "nodes that hold the same keys, and say that none lacks a write, differ in what they hold"
    );
    Ok(lacking.len() as u64)
}

/// Writes one new key after another, and remembers which were acknowledged.
struct Writer {
    client: Client,
    keys: String,
    written: u64,
    random: StdRng,
    values: Values,
    acknowledged: Rc<RefCell<Vec<String>>>,
}

impl Work for Writer {
    async fn once(&mut self) -> Result<u64> {
        let key = format!("{}-{:08}", self.keys, self.written);
        self.written += 1;
        let value = self.values.next(&mut self.random);
        self.client.put(&key, value).await?;
        self.acknowledged.borrow_mut().push(key);
        Ok(1)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.about)?;
        writeln!(
            out,
            "{:>5} {:>3} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8} {:>8} {:>7} {:>6} {:>7}",
            "nodes",
            "W",
            "clients",
            "writes/s",
            "p50 ms",
            "p99 ms",
            "all s",
            "known s",
            "CPU s/1k",
            "disk B/w",
            "MiB mean",
            "MiB max",
            "dropped",
            "errors",
            "lacking"
        )?;
        for size in &self.sizes {
            for load in &size.loads {
                writeln!(
                    out,
                    "{:5} {:3} {:7} {:8.0} {:8.2} {:8.2} {:8.2} {:8.2} {:9.3} {:9.0} {:8.1} {:8.1} {:7.0} {:6} {:7}",
                    size.nodes,
                    size.write_quorum,
                    load.clients,
                    load.writes_per_second,
                    load.p50_ms,
                    load.p99_ms,
                    load.convergence_seconds,
                    load.known_seconds,
                    load.cpu_seconds_per_1000,
                    load.disk_bytes_per_write,
                    load.resident_mib_mean,
                    load.resident_mib_max,
                    load.packets_dropped,
                    load.errors,
                    load.left_behind
                )?;
            }
        }
        writeln!(
            out,
            "\nall s, known s: from the last answer until every node had everything, and knew that all have; lacking: acknowledged\n\
             writes that a node lacks then; CPU, bytes and MiB are those of all copies\n"
        )?;
        writeln!(
            out,
            "{:>5} {:>8} {:>12} {:>14} {:>13} {:>13} {:>9} {:>9}",
            "nodes",
            "start s",
            "idle CPU s/s",
            "idle packets/s",
            "idle bytes/s",
            "floor syncs/s",
            "p50 ms",
            "p99 ms"
        )?;
        for size in &self.sizes {
            writeln!(
                out,
                "{:5} {:8.1} {:12.3} {:14.0} {:13.0} {:13.0} {:9.2} {:9.2}",
                size.nodes,
                size.start_seconds,
                size.idle.cpu_seconds_per_second,
                size.idle.traffic.packets(),
                size.idle.traffic.loopback_bytes(),
                size.syncs_per_second,
                size.sync_p50_ms,
                size.sync_p99_ms
            )?;
        }
        writeln!(
            out,
            "\n{:>5} {:>7} {:>17} {:>8} {:>8} {:>9}",
            "nodes", "clients", "skeleton writes/s", "p50 ms", "p99 ms", "CPU s/1k"
        )?;
        for size in &self.sizes {
            for Bare { clients, figures } in &size.skeleton {
                writeln!(
                    out,
                    "{:5} {clients:7} {:17.0} {:8.2} {:8.2} {:9.3}",
                    size.nodes,
                    figures.writes_per_second,
                    figures.p50_ms,
                    figures.p99_ms,
                    figures.cost.cpu_seconds_per_1000
                )?;
            }
        }
        writeln!(
            out,
            "\nidle: CPU of all nodes; UDP packets from /proc/net/snmp and bytes of the loopback interface from /proc/net/dev, whoever sent\nthem; floor: as many files as nodes, each synced by a thread, nothing else running;\nskeleton: HTTP, a synced log and QUIC as so many processes, and nothing else"
        )?;
        self.failed.iter().try_for_each(|failed| writeln!(out, "failed: {failed}"))
    }
}
