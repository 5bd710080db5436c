//! A node that is asked to stop finishes what it began, tells every client the truth, and loses nothing.

use std::time::{Duration, Instant};

use hyper::StatusCode;

use crate::harness::load::{Load, Told, check};
use crate::harness::process::Cluster;
use crate::harness::{http, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stopped_under_load_answers_what_it_admitted() {
    let grace = Duration::from_secs(20);
    let mut cluster = Cluster::start(3, &["node.shutdown_grace=20s"]).await;
    let load = Load::start(8, vec![cluster.nodes[0].http], 200, "?timeout=5s");
    load.commits(100).await;
    let asked = Instant::now();
    cluster.nodes[0].stop();
    assert!(asked.elapsed() < grace, "stopped only after {:?}", asked.elapsed());
    let mut written = load.finish().await;

    cluster.nodes[0].start();
    cluster.linked().await;
    cluster.converged().await;
    for node in &cluster.nodes {
        let held = node.export().await;
        check(&written, &held);
        // A connection that was still in the listener's queue breaks without an answer; then nothing was admitted.
        for unanswered in &mut written {
            if let Told::Nothing(why) = &unanswered.told {
                assert_ne!(held.get(&unanswered.key), Some(&unanswered.value), "not told: {why}");
            }
        }
    }
}

/// A mesh without a quorum whose node was stopped, within `grace`, while a write waited for up to `timeout`: what its
/// client was told.
async fn stopped_while_a_write_waits(grace: &str, timeout: &str) -> (Cluster, http::Answer) {
    let mut cluster = Cluster::start(3, &[&format!("node.shutdown_grace={grace}")]).await;
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let (to, path) = (cluster.nodes[0].http, format!("/v1/kv/test/a?timeout={timeout}"));
    let waiting = tokio::spawn(async move { http::put(to, &path, "1").await });
    until("the write is under way", async || {
        cluster.nodes[0].json("/v1/status").await["writes_in_flight"] == 1
    })
    .await;
    cluster.nodes[0].stop();
    let answer = waiting.await.expect("no panic").answer();
    (cluster, answer)
}

/// The quorum is gone, the write waits for it, and the node is asked to stop: the client hears the verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_waits_for_its_quorum_gets_its_verdict_before_the_node_ends() {
    let (_cluster, answer) = stopped_while_a_write_waits("30s", "4s").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["outcome"], "indeterminate", "{}", answer.text());
}

/// As above, but the verdict lies beyond the grace period: the client hears an early one rather than none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_would_outlast_the_grace_period_gets_an_early_verdict() {
    let (mut cluster, answer) = stopped_while_a_write_waits("4s", "10m").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let receipt = answer.json();
    assert_eq!(receipt["outcome"], "indeterminate", "{receipt}");
    assert_eq!((&receipt["got"], &receipt["needed"]), (&1.into(), &2.into()), "{receipt}");
    assert_eq!(receipt["members"].as_array().map(Vec::len), Some(3), "{receipt}");
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.linked().await;
    cluster.converged().await;
    assert_eq!(cluster.nodes[2].export().await.get("a").map(String::as_str), Some("1"));
}
