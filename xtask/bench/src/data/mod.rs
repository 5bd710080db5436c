//! Three nodes that hold much: how fast they still write, what memory they take, how long a restart takes, and how soon a
//! member that was away has what it missed.
//!
//! - [`fill`]: so many records, and the rates at which they are written.
//! - [`walk`]: everything is read, by listing and by export.
//! - [`absence`]: a member is stopped, and comes back.
//! - [`mixed`]: large values beside small ones.

mod absence;
mod fill;
mod mixed;
mod walk;

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::Subject;
use crate::about::About;
use absence::Absence;
use fill::{Data, Mark};
use mixed::Mixed;
use walk::Walk;

/// Arguments of `data`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) subject: Subject,
    /// Numbers of records at which rates, memory and disk are noted, ascending; in full 1000000,5000000,10000000
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 200_000])]
    records: Vec<u64>,
    /// Records that are written while a member is away; in full 1000000
    #[arg(long, default_value_t = 50_000)]
    missing: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 300)]
    value_bytes: usize,
    /// Clients that write single records at the same time
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long single writes are measured
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
}

/// A node is started again, with everything it holds.
#[derive(Debug, Serialize)]
struct Restart {
    after: &'static str,
    /// From the start of the process until it took writes.
    ready_seconds: f64,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    about: About,
    marks: Vec<Mark>,
    walks: Vec<Walk>,
    absences: Vec<Absence>,
    mixed: Mixed,
    restarts: Vec<Restart>,
}

/// Measures everything, in the order of the report.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Report> {
    let Arguments { subject, missing, value_bytes, clients, duration, .. } = arguments;
    let mut data = Data::start(&subject.node, &subject.folder, *value_bytes).await?;
    let mut marks = Vec::new();
    for &records in &arguments.records {
        marks.push(data.mark(records, *clients, *duration).await?);
    }
    let walks = walk::all(&data).await?;
    let mut absences = Vec::new();
    for live_clients in [0, *clients] {
        absences.push(absence::one(&mut data, *missing, live_clients, *duration).await?);
    }
    let mixed = mixed::measure(&data, *duration).await?;
    let restarts = restarts(&mut data).await?;
    let settings = format!(
        "defaults: W = 2 of 3, fsync before each ack, mutual TLS between nodes; values of {value_bytes} bytes, keys in no order, \
         written in batches of 100 by 8 clients and one by one by {clients}, these for {} s",
        duration.as_secs_f64()
    );
    let about = About::new(data.mesh.version.clone(), settings);
    Ok(Report { about, marks, walks, absences, mixed, restarts })
}

async fn restarts(data: &mut Data) -> Result<Vec<Restart>> {
    let mut restarts = Vec::new();
    for after in ["stop", "kill"] {
        eprintln!("restart of a node after a {after}");
        if after == "stop" {
            data.mesh.stop(0).await?;
        } else {
            data.mesh.kill(0);
        }
        let ready_seconds = data.mesh.start_again(0).await?.as_secs_f64();
        restarts.push(Restart { after, ready_seconds });
    }
    Ok(restarts)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.about)?;
        Mark::table(&self.marks, out)?;
        Walk::table(&self.walks, out)?;
        Absence::table(&self.absences, out)?;
        writeln!(out, "{}", self.mixed)?;
        for Restart { after, ready_seconds } in &self.restarts {
            writeln!(out, "restart after a {after}: ready for writes after {ready_seconds:.2} s")?;
        }
        Ok(())
    }
}
