//! Reads of three nodes: of what one node holds, and of a quorum; with all clients at one node, and spread.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::Subject;
use crate::about::About;
use crate::load::{self, Work};
use crate::node::{Client, Mesh};
use crate::usage::Cost;
use crate::values::Values;

/// Records of one call, as the nodes are filled.
const BATCH_RECORDS: u64 = 100;
/// How long all nodes may take to have all records.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(300);

/// Arguments of `reads`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) subject: Subject,
    /// Clients at the same time, each with a connection of its own
    #[arg(long, value_delimiter = ',', default_values_t = [16, 64, 256])]
    clients: Vec<usize>,
    /// Records that are there, of which one after the other is read at random
    #[arg(long, default_value_t = 100_000)]
    records: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 300)]
    value_bytes: usize,
    /// How long each measurement takes
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long clients read before it
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    warmup: Duration,
}

/// One measurement.
#[derive(Debug, Serialize)]
struct Line {
    consistency: &'static str,
    spread: bool,
    clients: usize,
    reads_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
    /// Of all servers, and of the driver, for a thousand reads.
    cpu_seconds_per_1000: f64,
    driver_cpu_seconds_per_1000: f64,
    /// Share of the machine that something else used.
    foreign_load: f64,
}

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    about: About,
    lines: Vec<Line>,
}

/// Measures everything.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Report> {
    let mut mesh = Mesh::start(&arguments.subject.node, &arguments.subject.folder, 3).await?;
    eprintln!("writing {} records", arguments.records);
    fill(&mut mesh, arguments).await?;
    let mut lines = Vec::new();
    for consistency in ["local", "quorum"] {
        for spread in [false, true] {
            for &clients in &arguments.clients {
                let line = one(&mesh, arguments, consistency, spread, clients).await?;
                eprintln!("{line}");
                lines.push(line);
            }
        }
    }
    let settings = format!(
        "defaults, three nodes; {} records of {} bytes, read at random; local: what the node holds; quorum: the newest of \
         R = 2; {} s each",
        arguments.records,
        arguments.value_bytes,
        arguments.duration.as_secs_f64()
    );
    Ok(Report { about: About::new(mesh.version.clone(), settings), lines })
}

/// Writes all records, and returns once every node holds them.
async fn fill(mesh: &mut Mesh, arguments: &Arguments) -> Result<()> {
    let mut client = mesh.client(0).await?;
    let mut random = StdRng::seed_from_u64(0);
    let mut values = Values::new(arguments.value_bytes, &mut random);
    let mut first = 0;
    while first < arguments.records {
        let until = arguments.records.min(first + BATCH_RECORDS);
        let writes: Vec<_> =
            (first..until).map(|number| (key(number), values.next(&mut random))).collect();
        client.batch(&writes).await?;
        first = until;
    }
    mesh.hold(arguments.records, CONVERGENCE_TIMEOUT).await
}

async fn one(
    mesh: &Mesh,
    arguments: &Arguments,
    consistency: &'static str,
    spread: bool,
    clients: usize,
) -> Result<Line> {
    let mut readers = Vec::with_capacity(clients);
    for index in 0..clients {
        readers.push(Reader {
            client: mesh.client(if spread { index } else { 0 }).await?,
            random: StdRng::seed_from_u64(index as u64),
            records: arguments.records,
            value_bytes: arguments.value_bytes,
            consistency,
        });
    }
    let (warmup, duration) = (arguments.warmup, arguments.duration);
    let measured = load::measure(readers, &mesh.pids(), warmup, duration).await?;
    let Cost { cpu_seconds_per_1000, driver_cpu_seconds_per_1000, foreign_load, .. } =
        measured.cost();
    Ok(Line {
        consistency,
        spread,
        clients,
        reads_per_second: measured.per_second(),
        p50_ms: measured.millis(0.5),
        p99_ms: measured.millis(0.99),
        errors: measured.errors,
        cpu_seconds_per_1000,
        driver_cpu_seconds_per_1000,
        foreign_load,
    })
}

fn key(number: u64) -> String {
    format!("{number:012}")
}

/// Reads records at random.
struct Reader {
    client: Client,
    random: StdRng,
    records: u64,
    value_bytes: usize,
    consistency: &'static str,
}

impl Work for Reader {
    async fn once(&mut self) -> Result<u64> {
        let key = key(self.random.random_range(0..self.records));
        let value = self.client.get(&key, self.consistency).await?;
        ensure!(value.len() == self.value_bytes, "{key} has {} bytes", value.len());
        Ok(1)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.spread { "all nodes" } else { "one node" };
        write!(
            out,
            "{:7} {at:9} {:7} {:9.0} {:8.2} {:8.2} {:9.3} {:13.3} {:7.2} {:6}",
            self.consistency,
            self.clients,
            self.reads_per_second,
            self.p50_ms,
            self.p99_ms,
            self.cpu_seconds_per_1000,
            self.driver_cpu_seconds_per_1000,
            self.foreign_load,
            self.errors
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.about)?;
        writeln!(
            out,
            "{:7} {:9} {:>7} {:>9} {:>8} {:>8} {:>9} {:>13} {:>7} {:>6}",
            "read",
            "at",
            "clients",
            "reads/s",
            "p50 ms",
            "p99 ms",
            "CPU s/1k",
            "driver's s/1k",
            "foreign",
            "errors"
        )?;
        self.lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}
