//! A member that was away for longer than the log reaches back is brought up by comparing, and costs what it missed.

use hyper::StatusCode;

use crate::harness::http;
use crate::harness::process::Cluster;
use crate::harness::until;

const RECORDS: u64 = 4_000;
const CHANGED: u64 = 300;
const CHANGED_FROM: u64 = 2_100;
const LOG_ENTRIES_MAX: u64 = 100;

async fn put_all(cluster: &Cluster, keys: std::ops::Range<u64>, value: &str) {
    let writes: Vec<_> = keys
        .map(|key| {
            serde_json::json!({
                "namespace": "test", "key": format!("k{key:05}"), "value": value, "timeout": "30s",
            })
        })
        .collect();
    for group in writes.chunks(1_000) {
        let body = serde_json::json!({ "writes": group }).to_string();
        let http = cluster.nodes[0].http;
        let answer =
            http::send(http, hyper::Method::POST, "/v1/batch", &[], body.into()).await.answer();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let results = answer.json()["results"].as_array().expect("results").clone();
        assert!(results.iter().all(|result| result["outcome"] == "committed"), "{results:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_away_for_longer_than_the_log_costs_what_it_missed() {
    let bound = format!("repair.log_entries_max={LOG_ENTRIES_MAX}");
    let mut cluster = Cluster::start(3, &[&bound]).await;
    put_all(&cluster, 0..RECORDS, "before").await;
    cluster.converged().await;
    cluster.nodes[2].kill();
    // One place in the order of the keys, so that most ranges are alike; at the end of a page of them.
    put_all(&cluster, CHANGED_FROM..CHANGED_FROM + CHANGED, "while it was away").await;
    for node in 0..2 {
        until("the log is no longer than it may be", async || {
            let status = cluster.nodes[node].json("/v1/status").await;
            status["log_entries"].as_u64() <= Some(LOG_ENTRIES_MAX)
        })
        .await;
    }
    cluster.nodes[2].start();
    cluster.linked().await;
    cluster.converged().await;
    let logs = format!("{}{}", cluster.nodes[0].log(), cluster.nodes[1].log());
    assert!(logs.contains("comparing everything"), "{logs}");
    let mut sent = 0;
    for node in 0..2 {
        let peers = cluster.nodes[node].json("/v1/peers").await;
        let third = peers.as_array().expect("peers").iter().find(|peer| peer["node"] == "n3");
        sent += third.expect("the third")["repaired_records"].as_u64().expect("a number");
    }
    // Each of the two may have sent what the other did.
    assert!((CHANGED..=2 * CHANGED).contains(&sent), "{sent} records were sent of {RECORDS}");
}
