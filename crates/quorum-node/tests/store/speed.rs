//! How fast and how large the store is: figures to read, not to assert. Run by hand with `cargo test --release -p
//! quorum-node --test store speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use quorum_core::LocalStore;
use quorum_node::store::Store;

use crate::harness::{on_disk, op};

const RUN: Duration = Duration::from_secs(5);

/// Resident memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

async fn run(store: &Store, writers: usize) -> (usize, Duration) {
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut count, value) = (0, "v".repeat(300));
                while started.elapsed() < RUN {
                    let op = op(&format!("{writers}-{writer}-{count}"), &value);
                    store.stage(op).await.expect("staged").durable.await.expect("durable");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut written = 0;
    for task in tasks {
        written += task.await.expect("no panic");
    }
    (written, started.elapsed())
}

#[test]
#[ignore = "measures; takes a minute"]
fn writes_per_second() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = on_disk(directory.path());
        println!("idle: {} MiB resident", resident() >> 20);
        for writers in [1, 16, 64, 256] {
            let before = store.stats();
            let (written, took) = run(&store, writers).await;
            let after = store.stats();
            let syncs = after.syncs - before.syncs;
            println!(
                "{writers} writers: {:.0} writes/s, {:.1} records a sync, {:.0} µs a sync",
                written as f64 / took.as_secs_f64(),
                written as f64 / syncs as f64,
                took.as_micros() as f64 / syncs as f64,
            );
        }
    });
}

#[test]
#[ignore = "measures; takes a minute"]
fn a_million_records() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = on_disk(directory.path());
        let (started, value) = (Instant::now(), "v".repeat(300));
        for chunk in 0..1_000 {
            let mut waiting = Vec::with_capacity(1_000);
            for at in 0..1_000 {
                let op = op(&format!("{:016x}", (chunk * 1_000 + at) * 2_654_435_761_u64), &value);
                waiting.push(store.stage(op).await.expect("staged").durable);
            }
            for durable in waiting {
                durable.await.expect("durable");
            }
        }
        println!("loaded in {:?}, {} MiB resident", started.elapsed(), resident() >> 20);
        println!("{:?}", store.stats());
        store.close().await;
        drop(store);
        let started = Instant::now();
        let store = on_disk(directory.path());
        println!("opened in {:?}, {} MiB resident", started.elapsed(), resident() >> 20);
        let started = Instant::now();
        store.content_digest().expect("readable");
        println!("digest in {:?}, {} MiB resident", started.elapsed(), resident() >> 20);
    });
}
