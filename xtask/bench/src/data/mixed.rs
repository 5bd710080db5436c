//! Small writes alone, and beside large values.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use super::fill::{Data, Rate};
use crate::load::{self, Work};
use crate::node::Client;
use crate::values::Values;

/// Clients that write small values.
const SMALL_CLIENTS: usize = 16;
/// Clients that write large ones, each the largest that is taken by default, again and again to a few keys.
const LARGE_CLIENTS: usize = 2;
const LARGE_BYTES: usize = 1 << 20;
const LARGE_KEYS: usize = 8;
/// Clients write for so long before they are measured.
const WARMUP: Duration = Duration::from_secs(1);

/// Small writes, without and with large ones.
#[derive(Debug, Serialize)]
pub(super) struct Mixed {
    small_alone: Rate,
    small_beside_large: Rate,
    large_per_second: f64,
    large_p99_ms: f64,
}

pub(super) async fn measure(data: &Data, duration: Duration) -> Result<Mixed> {
    eprintln!("small writes alone");
    let (nodes, pids) = ([0, 1, 2], data.mesh.pids());
    let small = data.writers(&nodes, SMALL_CLIENTS).await?;
    let small_alone = Rate::from(&load::measure(small, &pids, WARMUP, duration).await?);
    eprintln!("small writes beside values of a MiB");
    let small = data.writers(&nodes, SMALL_CLIENTS).await?;
    let mut large = Vec::with_capacity(LARGE_CLIENTS);
    for index in 0..LARGE_CLIENTS {
        let client = data.mesh.client(index).await?;
        let mut random = StdRng::seed_from_u64(index as u64);
        let values = Values::new(LARGE_BYTES, &mut random);
        large.push(Large { client, index, written: 0, random, values });
    }
    let writing_large = load::measure(large, &[], WARMUP, duration);
    let (small, large) = load::during(small, &pids, Duration::ZERO, writing_large).await?;
    Ok(Mixed {
        small_alone,
        small_beside_large: Rate::from(&small),
        large_per_second: large.per_second(),
        large_p99_ms: large.millis(0.99),
    })
}

struct Large {
    client: Client,
    index: usize,
    written: usize,
    random: StdRng,
    values: Values,
}

impl Work for Large {
    async fn once(&mut self) -> Result<u64> {
        let key = format!("large-{}-{}", self.index, self.written % LARGE_KEYS);
        self.written += 1;
        self.client.put(&key, self.values.next(&mut self.random)).await?;
        Ok(1)
    }
}

impl fmt::Display for Mixed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { small_alone, small_beside_large, large_per_second, large_p99_ms } = self;
        let line = |rate: &Rate| {
            let Rate { records_per_second, p50_ms, p99_ms, .. } = rate;
            format!("{records_per_second:8.0} writes/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms")
        };
        writeln!(out, "{SMALL_CLIENTS} clients alone:                   {}", line(small_alone))?;
        writeln!(
            out,
            "{SMALL_CLIENTS} clients beside values of a MiB: {}",
            line(small_beside_large)
        )?;
        writeln!(
            out,
            "{LARGE_CLIENTS} clients with values of a MiB:   {large_per_second:8.1} writes/s, p99 {large_p99_ms:.2} ms"
        )
    }
}
