//! `bench`: how fast nodes commit writes.
//!
//! Every client sends its next write when the last one was answered, over a connection that it
//! keeps. So the figures say what so many callers get, not what an endless queue would.

mod process;
mod tally;

use std::cell::RefCell;
use std::io::{self, Write};
use std::num::{NonZeroU64, NonZeroUsize};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use indicatif::HumanBytes;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::write_options::{WriteArguments, uuid};
use super::{Exit, Output};
use crate::client::{Client, ClientError};
use crate::config::ByteSize;
use crate::record::{Key, Namespace};
use process::{Cost, Usage};
use tally::{Figures, Tally};

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorum-node bench --clients 1
  quorum-node bench --url http://127.0.0.1:7480,http://127.0.0.1:7481 --duration 30s --pid 101,102")]
#[non_exhaustive]
pub struct BenchArguments {
    /// Clients that write at the same time, spread over the nodes of --url
    #[arg(long, value_name = "N", default_value = "64")]
    pub clients: NonZeroUsize,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value = "300")]
    pub value_size: ByteSize,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// How long to write before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub warmup: Duration,
    /// Different keys, chosen at random
    #[arg(long, value_name = "N", default_value = "100000")]
    pub keys: NonZeroU64,
    /// Where to write; the records stay there
    #[arg(long, value_name = "NAMESPACE", default_value = "bench")]
    pub namespace: Namespace,
    /// Processes on this machine whose processor time and memory are shown (Linux)
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// How to write.
    #[command(flatten)]
    pub write: WriteArguments,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    clients: usize,
    value_bytes: u64,
    keys: u64,
    nodes: Vec<String>,
    #[serde(flatten)]
    figures: Figures,
    /// Processor time of this program, which shares the machine with nodes measured on it.
    client_cpu_seconds: Option<f64>,
    processes: Vec<Cost>,
}

/// Runs `bench`.
///
/// # Errors
///
/// If a node or a process cannot be reached at the beginning, or not one write was committed.
pub fn run(arguments: &BenchArguments, output: &mut Output) -> anyhow::Result<Exit> {
    ensure!(!arguments.duration.is_zero(), "--duration must be longer than nothing");
    let client = arguments.connection.client()?;
    let report = converse(measure(arguments, &client))?;
    output.show(&report, |out| report.write(out))?;
    match &report.figures {
        Figures { committed: 0, first_error: Some(error), .. } => {
            writeln!(io::stderr(), "error: nothing was committed: {error}")?;
            Ok(Exit::Error)
        }
        _ => Ok(Exit::Ok),
    }
}

/// What all clients share.
struct Bench {
    arguments: BenchSettings,
    tally: RefCell<Tally>,
    /// Writes answered before this do not count.
    measured_from: Instant,
    until: Instant,
}

struct BenchSettings {
    namespace: Namespace,
    keys: u64,
    value_bytes: usize,
    write: WriteArguments,
    timeout: Option<Duration>,
}

async fn measure(arguments: &BenchArguments, client: &Client) -> anyhow::Result<Report> {
    let nodes = client.nodes().len();
    for index in 0..nodes {
        // A node that is down would silently be replaced by the next one.
        let only = client.only(index);
        only.status(false).await.map_err(explain)?;
    }
    let value_bytes = usize::try_from(arguments.value_size.bytes())?;
    let measured_from = Instant::now() + arguments.warmup;
    let bench = Rc::new(Bench {
        arguments: BenchSettings {
            namespace: arguments.namespace.clone(),
            keys: arguments.keys.get(),
            value_bytes,
            write: arguments.write.clone(),
            timeout: arguments.connection.timeout,
        },
        tally: RefCell::new(Tally::new()),
        measured_from,
        until: measured_from + arguments.duration,
    });
    let clients = LocalSet::new();
    for index in 0..arguments.clients.get() {
        clients.spawn_local(write_on(Rc::clone(&bench), client.only(index % nodes)));
    }
    let usage = clients.run_until(async {
        tokio::time::sleep_until(bench.measured_from).await;
        let before = usage(&arguments.pid)?;
        let own_before = Usage::of(std::process::id()).ok();
        tokio::time::sleep_until(bench.until).await;
        let own_after = Usage::of(std::process::id()).ok();
        let processes = usage(&arguments.pid)?.into_iter().zip(before).zip(&arguments.pid);
        let processes = processes.map(|((after, before), pid)| after.since(before, *pid));
        let own = own_after.zip(own_before).map(|(after, before)| after.since(before, 0));
        anyhow::Ok((processes.collect(), own.map(|cost| cost.cpu_seconds)))
    });
    let (processes, client_cpu_seconds) = usage.await?;
    // Those still waiting are not counted, but are heard out: a node is not left with lost callers.
    clients.await;
    let figures = bench.tally.borrow().figures(arguments.duration);
    Ok(Report {
        clients: arguments.clients.get(),
        value_bytes: arguments.value_size.bytes(),
        keys: arguments.keys.get(),
        nodes: client.nodes().iter().map(ToString::to_string).collect(),
        figures,
        client_cpu_seconds,
        processes,
    })
}

/// One client: writes until the time is over.
async fn write_on(bench: Rc<Bench>, client: Client) {
    /// Pause after a failure, so that a node in trouble is not hammered.
    const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);
    let Bench { arguments, tally, measured_from, until } = &*bench;
    let mut random: StdRng = rand::make_rng();
    let mut value = vec![0; arguments.value_bytes];
    random.fill(value.as_mut_slice());
    loop {
        let key = random.random_range(0..arguments.keys);
        let key = Key::new(format!("{key:012}")).expect("twelve digits are a key");
        // A value that was never written before; the rest was random from the start.
        let fresh = random.random::<[u8; 8]>();
        let changed = value.len().min(fresh.len());
        value[..changed].copy_from_slice(&fresh[..changed]);
        let id = uuid(random.random(), 4);
        let options = arguments.write.options(id, arguments.timeout);
        let began = Instant::now();
        let value = Bytes::copy_from_slice(&value);
        let result = client.put(&arguments.namespace, &key, value, &options).await;
        let ended = Instant::now();
        if ended >= *until {
            return;
        }
        if ended >= *measured_from {
            tally.borrow_mut().record(&result, ended - began);
        }
        if let Err(error) = result {
            if matches!(error, ClientError::Refused { .. } | ClientError::Settings { .. }) {
                return;
            }
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

fn usage(pids: &[u32]) -> anyhow::Result<Vec<Usage>> {
    pids.iter().map(|pid| Usage::of(*pid).with_context(|| format!("--pid {pid}"))).collect()
}

impl Report {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { clients, value_bytes, nodes, figures, .. } = self;
        writeln!(out, "{clients} clients, values of {value_bytes} bytes, {}", nodes.join(", "))?;
        writeln!(
            out,
            "{:.0} writes/s committed ({} in {:.1} s)",
            figures.committed_per_second, figures.committed, figures.seconds
        )?;
        writeln!(
            out,
            "latency ms: p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}, mean {:.2}",
            figures.p50_ms, figures.p99_ms, figures.p999_ms, figures.max_ms, figures.mean_ms
        )?;
        let Figures { indeterminate, not_applied, errors, .. } = figures;
        writeln!(out, "{indeterminate} indeterminate, {not_applied} not applied, {errors} errors")?;
        if let Some(error) = &figures.first_error {
            writeln!(out, "  the first: {error}")?;
        }
        for Cost { pid, cpu_seconds, resident_bytes } in &self.processes {
            let resident = HumanBytes(*resident_bytes);
            writeln!(out, "process {pid}: {cpu_seconds:.2} s processor time, {resident} resident")?;
        }
        match self.client_cpu_seconds {
            Some(seconds) => writeln!(out, "this client: {seconds:.2} s processor time"),
            None => Ok(()),
        }
    }
}
