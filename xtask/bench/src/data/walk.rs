//! Reads everything from one node, and looks at its memory meanwhile.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::fill::Data;
use crate::usage::{mib, resident_bytes};

/// How often the memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One way to read everything.
#[derive(Debug, Serialize)]
pub(super) struct Walk {
    name: &'static str,
    records: u64,
    /// What was sent of them: keys and values, or lines.
    sent_mib: f64,
    seconds: f64,
    /// Memory of the node before, and how much more it was at most.
    resident_mib: f64,
    growth_mib: f64,
}

/// All ways.
pub(super) async fn all(data: &Data) -> Result<Vec<Walk>> {
    let mut walks = Vec::new();
    for name in ["listing of keys", "listing with values", "export"] {
        eprintln!("{name}");
        walks.push(one(data, name).await?);
    }
    Ok(walks)
}

async fn one(data: &Data, name: &'static str) -> Result<Walk> {
    let (pid, mut client) = (data.mesh.pid(0)?, data.mesh.client(0).await?);
    let before = resident_bytes(pid)?;
    let began = Instant::now();
    let (mut records, mut bytes) = (0, 0);
    let reading = async {
        if name == "export" {
            let take = |piece: &[u8]| {
                records += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
                bytes += piece.len() as u64;
            };
            client.export(take).await
        } else {
            let take = |key: String, value: String| {
                records += 1;
                bytes += (key.len() + value.len()) as u64;
            };
            client.list(name == "listing with values", take).await
        }
    };
    let highest = highest_memory(pid, before, reading).await?;
    Ok(Walk {
        name,
        records,
        sent_mib: mib(bytes),
        seconds: began.elapsed().as_secs_f64(),
        resident_mib: mib(before),
        growth_mib: mib(highest - before),
    })
}

/// The most memory that a process has until something is done, at least `highest`.
async fn highest_memory(
    pid: u32,
    mut highest: u64,
    doing: impl Future<Output = Result<()>>,
) -> Result<u64> {
    let mut doing = pin!(doing);
    loop {
        tokio::select! {
            done = &mut doing => return done.map(|()| highest),
            () = sleep(LOOK_EVERY) => highest = highest.max(resident_bytes(pid)?),
        }
    }
}

impl Walk {
    pub(super) fn table(walks: &[Self], out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:20} {:>10} {:>8} {:>10} {:>8} {:>11} {:>11}",
            "read from one node", "records", "s", "records/s", "MiB/s", "memory MiB", "growth MiB"
        )?;
        for Self { name, records, sent_mib, seconds, resident_mib, growth_mib } in walks {
            writeln!(
                out,
                "{name:20} {records:10} {seconds:8.2} {:10.0} {:8.1} {resident_mib:11.0} {growth_mib:11.0}",
                *records as f64 / seconds,
                sent_mib / seconds
            )?;
        }
        writeln!(out)
    }
}
