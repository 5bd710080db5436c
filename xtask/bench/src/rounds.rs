//! In which order everything is measured: all systems one after another, and that several times, so that whatever the
//! machine does in between hits all of them.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::Arguments;
use crate::load::{self, Measured, Work};
use crate::system::{Client, Cluster, Programs, System};
use crate::usage::Cost;
use crate::values::Values;

/// A measurement beside which something else used more of the machine than this is done again.
const FOREIGN_LOAD_MAX: f64 = 0.05;
/// So often, then it is kept and marked.
const ATTEMPTS: usize = 3;
/// Different keys that are written, chosen at random.
pub(crate) const KEYS: u64 = 100_000;

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) system: System,
    pub(crate) version: String,
    pub(crate) value_bytes: usize,
    pub(crate) clients: usize,
    /// Whether something else used the machine at every attempt.
    pub(crate) disturbed: bool,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// What one system did with so many clients.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// Records.
    pub(crate) writes_per_second: f64,
    /// Of calls.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) errors: u64,
    #[serde(flatten)]
    pub(crate) cost: Cost,
}

impl From<&Measured> for Figures {
    fn from(measured: &Measured) -> Self {
        Self {
            writes_per_second: measured.per_second(),
            p50_ms: measured.millis(0.5),
            p99_ms: measured.millis(0.99),
            p999_ms: measured.millis(0.999),
            errors: measured.errors,
            cost: measured.cost(),
        }
    }
}

/// Measures everything.
pub(crate) async fn run(arguments: &Arguments, programs: &Programs) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let (present, missing): (Vec<System>, Vec<System>) =
        arguments.systems.iter().partition(|system| programs.has(**system));
    for system in missing {
        eprintln!("{system}: not installed, left out");
    }
    for round in 1..=arguments.rounds {
        for &system in &present {
            for &bytes in &arguments.value_bytes {
                eprintln!("round {round} of {}: {system}, {bytes} bytes", arguments.rounds);
                match one(arguments, programs, round, system, bytes).await {
                    Ok(measured) => samples.extend(measured),
                    // The others are worth measuring all the same.
                    Err(error) => eprintln!("  {system} could not be measured: {error:#}"),
                }
            }
        }
    }
    Ok(samples)
}

async fn one(
    arguments: &Arguments,
    programs: &Programs,
    round: usize,
    system: System,
    value_bytes: usize,
) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(system, programs, &arguments.subject.folder).await?;
    let mut samples = Vec::new();
    for &clients in &arguments.clients {
        let mut attempt = 1;
        let figures = loop {
            let (warmup, duration) = (arguments.warmup, arguments.duration);
            let figures = figures(&cluster, clients, value_bytes, warmup, duration).await?;
            if figures.cost.foreign_load <= FOREIGN_LOAD_MAX || attempt == ATTEMPTS {
                break figures;
            }
            eprintln!("  disturbed by other load, once more");
            attempt += 1;
        };
        let disturbed = figures.cost.foreign_load > FOREIGN_LOAD_MAX;
        eprintln!(
            "  {clients:4} clients: {:8.0} writes/s, p50 {:.2} ms, p99 {:.2} ms, {:.3} CPU s per 1,000",
            figures.writes_per_second,
            figures.p50_ms,
            figures.p99_ms,
            figures.cost.cpu_seconds_per_1000
        );
        let version = cluster.version.clone();
        samples.push(Sample { round, system, version, value_bytes, clients, disturbed, figures });
    }
    Ok(samples)
}

/// What so many clients of a cluster do, spread over its nodes, and what its processes use.
pub(crate) async fn figures(
    cluster: &Cluster,
    clients: usize,
    value_bytes: usize,
    warmup: Duration,
    duration: Duration,
) -> Result<Figures> {
    let writers = writers(cluster, clients, value_bytes).await?;
    let measured = load::measure(writers, &cluster.pids(), warmup, duration).await?;
    Ok(Figures::from(&measured))
}

/// Clients of a cluster, spread over its nodes, that write keys at random.
async fn writers(cluster: &Cluster, count: usize, value_bytes: usize) -> Result<Vec<Writer>> {
    let mut writers = Vec::with_capacity(count);
    for index in 0..count {
        let client = cluster.client(index).await.context("a client cannot connect")?;
        let mut random = StdRng::seed_from_u64(index as u64);
        let values = Values::new(value_bytes, &mut random);
        let records = cluster.system.records_per_call();
        writers.push(Writer { client, random, values, records });
    }
    Ok(writers)
}

/// Writes keys at random, with values that were never written before.
pub(crate) struct Writer {
    client: Client,
    random: StdRng,
    values: Values,
    records: usize,
}

impl Work for Writer {
    async fn once(&mut self) -> Result<u64> {
        let Self { client, random, values, records } = self;
        let mut record = |_| {
            let key = format!("{:012}", random.random_range(0..KEYS));
            (key, values.next(random))
        };
        let records: Vec<(String, Bytes)> = (0..*records).map(&mut record).collect();
        client.write(&records).await?;
        Ok(records.len() as u64)
    }
}
