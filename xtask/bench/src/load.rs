//! Clients in closed loops: each sends its next write when the last one was answered.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::system::{Client, Cluster};
use crate::usage::{Cost, Snapshot};

/// Different keys that are written, chosen at random.
const KEYS: u64 = 100_000;
/// A write without an answer for so long is an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one system did with so many clients.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) writes_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) errors: u64,
    #[serde(flatten)]
    pub(crate) cost: Cost,
}

struct Tally {
    latencies: Histogram<u64>,
    errors: u64,
}

/// Runs `count` clients, spread over the nodes, and measures for `duration` after `warmup`.
pub(crate) async fn run(
    cluster: &Cluster,
    count: usize,
    value_bytes: usize,
    warmup: Duration,
    duration: Duration,
) -> Result<Figures> {
    let mut clients = Vec::with_capacity(count);
    for index in 0..count {
        clients.push(cluster.client(index).await.context("a client cannot connect")?);
    }
    let measured_from = Instant::now() + warmup;
    let until = measured_from + duration;
    // In microseconds, up to a minute.
    let latencies = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let tally = Rc::new(RefCell::new(Tally { latencies, errors: 0 }));
    let running = LocalSet::new();
    for (index, client) in clients.into_iter().enumerate() {
        let tally = Rc::clone(&tally);
        running.spawn_local(write_on(
            client,
            index as u64,
            value_bytes,
            measured_from,
            until,
            tally,
        ));
    }
    let cost = running.run_until(async {
        tokio::time::sleep_until(measured_from).await;
        let before = Snapshot::take(&cluster.pids())?;
        tokio::time::sleep_until(until).await;
        anyhow::Ok((before, Snapshot::take(&cluster.pids())?))
    });
    let (before, after) = cost.await?;
    running.await;
    let tally = tally.borrow();
    let writes = tally.latencies.len();
    ensure!(writes > 0, "not one write was committed ({} errors)", tally.errors);
    let millis = |quantile| tally.latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Figures {
        writes_per_second: writes as f64 / duration.as_secs_f64(),
        p50_ms: millis(0.5),
        p99_ms: millis(0.99),
        p999_ms: millis(0.999),
        errors: tally.errors,
        cost: Cost::between(&before, &after, writes),
    })
}

async fn write_on(
    mut client: Client,
    seed: u64,
    value_bytes: usize,
    measured_from: Instant,
    until: Instant,
    tally: Rc<RefCell<Tally>>,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut value = vec![0; value_bytes];
    random.fill(value.as_mut_slice());
    loop {
        let key = format!("{:012}", random.random_range(0..KEYS));
        let fresh = random.random::<[u8; 8]>();
        let changed = value.len().min(fresh.len());
        value[..changed].copy_from_slice(&fresh[..changed]);
        let began = Instant::now();
        let written =
            tokio::time::timeout(PATIENCE, client.put(&key, Bytes::copy_from_slice(&value))).await;
        let ended = Instant::now();
        if ended >= until {
            return;
        }
        if ended < measured_from {
            continue;
        }
        let mut tally = tally.borrow_mut();
        match written {
            Ok(Ok(())) => {
                let micros = u64::try_from((ended - began).as_micros()).unwrap_or(u64::MAX);
                tally.latencies.saturating_record(micros.max(1));
            }
            Ok(Err(_)) | Err(_) => tally.errors += 1,
        }
    }
}
