//! In which order everything is measured: all systems one after another, and that several times, so that whatever the
//! machine does in between hits all of them.

use anyhow::Result;
use serde::Serialize;

use crate::Arguments;
use crate::load::{self, Figures};
use crate::system::{Cluster, Programs, System};

/// A measurement beside which something else used more of the machine than this is done again.
const FOREIGN_LOAD_MAX: f64 = 0.05;
/// So often, then it is kept and marked.
const ATTEMPTS: usize = 3;

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) system: System,
    pub(crate) version: String,
    pub(crate) clients: usize,
    /// Whether something else used the machine at every attempt.
    pub(crate) disturbed: bool,
    #[serde(flatten)]
    pub(crate) figures: Figures,
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
            eprintln!("round {round} of {}: {system}", arguments.rounds);
            match one(arguments, programs, round, system).await {
                Ok(measured) => samples.extend(measured),
                // The others are worth measuring all the same.
                Err(error) => eprintln!("  {system} could not be measured: {error:#}"),
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
) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(system, programs).await?;
    let mut samples = Vec::new();
    for &clients in &arguments.clients {
        let mut attempt = 1;
        let figures = loop {
            let figures = load::run(
                &cluster,
                clients,
                arguments.value_bytes,
                arguments.warmup,
                arguments.duration,
            )
            .await?;
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
        samples.push(Sample { round, system, version, clients, disturbed, figures });
    }
    Ok(samples)
}
