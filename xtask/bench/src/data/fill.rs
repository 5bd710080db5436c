//! Fills three nodes with records, and notes at each mark how fast they are written, and what the nodes need for them.

use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::load::{self, Measured, Work};
use crate::node::{Client, Mesh};
use crate::usage::{mib, resident_bytes};
use crate::values::Values;

/// Clients that fill the nodes, and records of one of their calls.
const FILLERS: usize = 8;
const BATCH_RECORDS: u64 = 100;
/// The rate is measured over the last tenth of the way to a mark, or over so many records if these are more.
const STRETCH_MIN: u64 = 10_000;
/// Single writes are made for so long before they are measured.
const WARMUP: Duration = Duration::from_secs(1);
/// How long members may take to have what others have.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(1_800);
/// How often something that is waited for is looked at, and told about; it must get on meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const TELL_EVERY: Duration = Duration::from_secs(15);

/// Three nodes, and how many records were written to them.
pub(super) struct Data {
    pub(super) mesh: Mesh,
    value_bytes: usize,
    /// The number of the next record.
    next: Rc<Cell<u64>>,
}

/// So many records are there.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    records: u64,
    /// In batches, over the last part of the way here.
    batch: Rate,
    /// After that, one by one.
    single: Rate,
    /// Of each node.
    resident_mib: Vec<f64>,
    data_mib: Vec<f64>,
}

/// How fast records are written.
#[derive(Debug, Serialize)]
pub(super) struct Rate {
    pub(super) records_per_second: f64,
    /// Of calls.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) cpu_seconds_per_1000: f64,
    pub(super) errors: u64,
}

impl From<&Measured> for Rate {
    fn from(measured: &Measured) -> Self {
        Self {
            records_per_second: measured.per_second(),
            p50_ms: measured.millis(0.5),
            p99_ms: measured.millis(0.99),
            cpu_seconds_per_1000: measured.cost().cpu_seconds_per_1000,
            errors: measured.errors,
        }
    }
}

impl Data {
    pub(super) async fn start(node: &Path, folder: &Path, value_bytes: usize) -> Result<Self> {
        let mesh = Mesh::start(node, folder, 3).await?;
        Ok(Self { mesh, value_bytes, next: Rc::default() })
    }

    /// Fills up to so many records, and measures there.
    pub(super) async fn mark(
        &mut self,
        records: u64,
        clients: usize,
        duration: Duration,
    ) -> Result<Mark> {
        let there = self.next.get();
        let stretch = (records.saturating_sub(there) / 10).max(STRETCH_MIN);
        // The single writes at the last mark may have gone beyond this one.
        let records = records.max(there + stretch);
        self.fill(&[0, 1, 2], records - stretch).await?;
        let batch = Rate::from(&self.fill(&[0, 1, 2], records).await?);
        eprintln!("{records} records; single writes of {clients} clients");
        let writers = self.writers(&[0, 1, 2], clients).await?;
        let single = load::measure(writers, &self.mesh.pids(), WARMUP, duration).await?;
        self.until_equal().await?;
        let mut mark = Mark {
            records,
            batch,
            single: Rate::from(&single),
            resident_mib: Vec::new(),
            data_mib: Vec::new(),
        };
        for index in 0..self.mesh.size() {
            mark.resident_mib.push(mib(resident_bytes(self.mesh.pid(index)?)?));
            mark.data_mib.push(mib(self.mesh.data_bytes(index)?));
        }
        Ok(mark)
    }

    /// Writes records in batches through some of the nodes, until there are so many.
    pub(super) async fn fill(&mut self, nodes: &[usize], until: u64) -> Result<Measured> {
        let mut writers = self.writers(nodes, FILLERS).await?;
        for writer in &mut writers {
            writer.records = BATCH_RECORDS;
            writer.until = until;
        }
        let (pids, next) = (self.mesh.pids(), &self.next);
        let filled = async {
            let (mut told, mut at) = (Instant::now(), next.get());
            while next.get() < until {
                sleep(LOOK_EVERY).await;
                self.mesh.check()?;
                if told.elapsed() >= TELL_EVERY {
                    eprintln!("  {} of {until} records", next.get());
                    ensure!(next.get() > at, "nothing was written for {TELL_EVERY:?}");
                    (told, at) = (Instant::now(), next.get());
                }
            }
            Ok(())
        };
        Ok(load::during(writers, &pids, Duration::ZERO, filled).await?.0)
    }

    /// Clients that write single records through some of the nodes.
    pub(super) async fn writers(&self, nodes: &[usize], count: usize) -> Result<Vec<Writer>> {
        let mut writers = Vec::with_capacity(count);
        for index in 0..count {
            let client = self.mesh.client(nodes[index % nodes.len()]).await?;
            let mut random = StdRng::seed_from_u64(index as u64);
            let values = Values::new(self.value_bytes, &mut random);
            let next = Rc::clone(&self.next);
            writers.push(Writer { client, next, until: u64::MAX, records: 1, random, values });
        }
        Ok(writers)
    }

    /// Returns once every node holds what any other holds.
    async fn until_equal(&mut self) -> Result<()> {
        self.mesh.converged(CONVERGENCE_TIMEOUT).await.map(drop)
    }

    /// The number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next.get()
    }
}

/// Writes new records, the numbers of which all writers share.
pub(super) struct Writer {
    client: Client,
    next: Rc<Cell<u64>>,
    until: u64,
    /// Of one call.
    records: u64,
    random: StdRng,
    values: Values,
}

impl Work for Writer {
    async fn once(&mut self) -> Result<u64> {
        let first = self.next.get();
        let count = self.records.min(self.until.saturating_sub(first));
        if count == 0 {
            sleep(LOOK_EVERY).await;
            return Ok(0);
        }
        self.next.set(first + count);
        if self.records == 1 {
            self.client.put(&key(first), self.values.next(&mut self.random)).await?;
            return Ok(1);
        }
        let writes: Vec<(String, Bytes)> = (first..first + count)
            .map(|number| (key(number), self.values.next(&mut self.random)))
            .collect();
        self.client.batch(&writes).await?;
        Ok(count)
    }
}

/// Keys are spread over all there could be, as if at random, and no two are alike: multiplying by an odd number can be
/// undone.
fn key(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Mark {
    pub(super) fn table(marks: &[Self], out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:>10} {:>9} {:>8} {:>9} {:>9} {:>8} {:>8} {:>9} {:>20} {:>20}",
            "records",
            "batch r/s",
            "p99 ms",
            "CPU s/1k",
            "single/s",
            "p50 ms",
            "p99 ms",
            "CPU s/1k",
            "memory MiB",
            "data MiB"
        )?;
        let each = |values: &[f64]| {
            values.iter().map(|value| format!("{value:.0}")).collect::<Vec<_>>().join(" ")
        };
        for Self { records, batch, single, resident_mib, data_mib } in marks {
            write!(
                out,
                "{records:10} {:9.0} {:8.2} {:9.3} {:9.0} {:8.2} {:8.2} {:9.3} {:>20} {:>20}",
                batch.records_per_second,
                batch.p99_ms,
                batch.cpu_seconds_per_1000,
                single.records_per_second,
                single.p50_ms,
                single.p99_ms,
                single.cpu_seconds_per_1000,
                each(resident_mib),
                each(data_mib)
            )?;
            match batch.errors + single.errors {
                0 => writeln!(out)?,
                errors => writeln!(out, "  {errors} errors")?,
            }
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_do_not_ascend() {
        let keys: Vec<String> = (0..1_000).map(key).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_ne!(keys, sorted);
        sorted.dedup();
        assert_eq!(sorted.len(), 1_000);
    }
}
