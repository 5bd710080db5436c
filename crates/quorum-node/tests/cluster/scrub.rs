//! What a disk has damaged or lost is found, never served, never passed on, and replaced from a member that has it intact.

use std::process::Command;

use hyper::StatusCode;
use quorum_node::record::{Key, Namespace};
use quorum_node::store::{damage, lose};
use serde_json::Value;

use crate::harness::http;
use crate::harness::metrics::sample;
use crate::harness::process::{Cluster, PROGRAM};
use crate::harness::until;

const RECORDS: usize = 300;
/// A pass every second, as fast as the disk allows.
const SCRUBBED: [&str; 2] = ["repair.scrub_interval=1s", "repair.scrub_bytes_per_second=0"];

fn namespace() -> Namespace {
    Namespace::new("test").expect("a name")
}

fn key(index: usize) -> Key {
    Key::new(format!("k{index:03}")).expect("a key")
}

async fn filled(settings: &[&str]) -> Cluster {
    let cluster = Cluster::start(3, settings).await;
    for index in 0..RECORDS {
        let path = format!("/v1/kv/test/k{index:03}?timeout=30s");
        let value = format!("value {index}");
        let answer = http::put(cluster.nodes[index % 3].http, &path, value).await.answer();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    cluster.converged().await;
    cluster
}

async fn read(cluster: &Cluster, node: usize, index: usize, query: &str) -> http::Answer {
    let path = format!("/v1/kv/test/k{index:03}?{query}");
    http::get(cluster.nodes[node].http, &path).await.answer()
}

async fn findings(cluster: &Cluster, node: usize, finding: &str) -> f64 {
    let series = format!("replication_scrub_findings_total{{finding=\"{finding}\"}}");
    sample(&cluster.nodes[node].metrics().await, &series).expect("a counter")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_disk_damaged_or_lost_is_found_and_put_right() {
    let mut cluster = filled(&SCRUBBED).await;
    cluster.nodes[2].stop();
    let directory = cluster.nodes[2].data_dir();
    damage(&directory, &namespace(), &key(5)).expect("damaged");
    lose(&directory, &namespace(), &key(7)).expect("lost");
    let verified = Command::new(PROGRAM)
        .args(["verify", "--json", "--data-dir"])
        .arg(&directory)
        .output()
        .expect("the program runs");
    assert!(!verified.status.success(), "{verified:?}");
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(said.contains("does not hash to its digest"), "{said}");
    assert!(said.contains("has no record"), "{said}");

    cluster.nodes[2].start();
    for index in [5, 7] {
        until("it is put right", async || {
            let answer = read(&cluster, 2, index, "").await;
            let is_right = answer.status == StatusCode::OK;
            assert!(!is_right || answer.text() == format!("value {index}"), "{}", answer.text());
            is_right
        })
        .await;
    }
    cluster.linked().await;
    cluster.converged().await;
    assert!(findings(&cluster, 2, "corrupt").await >= 1.0);
    assert!(findings(&cluster, 2, "missing").await >= 1.0);
    assert!(findings(&cluster, 2, "repaired").await >= 2.0);
    until("a pass that finds nothing more ends", async || {
        let scrub = cluster.nodes[2].json("/v1/status").await["scrub"].clone();
        scrub["passes"].as_u64() >= Some(2) && scrub["unrepaired"] == 0
    })
    .await;
    for node in 0..2 {
        assert_eq!(findings(&cluster, node, "corrupt").await, 0.0, "the others are sound");
        assert_eq!(findings(&cluster, node, "drift").await, 0.0);
    }
    cluster.nodes[2].stop();
    let verified = Command::new(PROGRAM)
        .args(["verify", "--data-dir"])
        .arg(&directory)
        .output()
        .expect("the program runs");
    assert!(verified.status.success(), "{verified:?}");
}

/// The first member's copy is damaged, the second is away, and the third has lost everything and refills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_never_passed_on_and_never_served() {
    let mut cluster = filled(&["repair.scrub_interval=0s"]).await;
    cluster.nodes[0].stop();
    damage(&cluster.nodes[0].data_dir(), &namespace(), &key(5)).expect("damaged");
    cluster.nodes[1].stop();
    cluster.nodes[2].kill();
    std::fs::remove_dir_all(cluster.nodes[2].data_dir()).expect("a directory");
    cluster.nodes[0].start();
    cluster.nodes[2].start();
    until("the third has all that is sound", async || {
        cluster.nodes[2].export().await.len() == RECORDS - 1
    })
    .await;
    let answer = read(&cluster, 0, 5, "").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", answer.text());
    assert!(answer.text().contains("damaged"), "{}", answer.text());
    let listed = http::get(cluster.nodes[0].http, "/v1/kv/test?limit=1000").await.answer();
    assert_eq!(listed.status, StatusCode::INTERNAL_SERVER_ERROR, "no list without a word");
    assert_eq!(read(&cluster, 2, 5, "").await.status, StatusCode::NOT_FOUND);
    let status: Value = cluster.nodes[2].json("/v1/status").await;
    assert_eq!(status["recovery"], "recovering", "it does not claim to hold what it lacks");

    cluster.nodes[1].start();
    cluster.linked().await;
    // An export of the first breaks off as long as its copy is damaged.
    until("its copy is put right", async || {
        read(&cluster, 0, 5, "").await.status == StatusCode::OK
    })
    .await;
    cluster.converged().await;
    for node in 0..3 {
        let held = cluster.nodes[node].export().await;
        assert_eq!(held.len(), RECORDS);
        assert_eq!(held["k005"], "value 5");
    }
}

/// A quorum read passes over a damaged copy, here and at a peer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_read_answers_from_intact_copies() {
    let mut cluster = filled(&["repair.scrub_interval=0s"]).await;
    cluster.nodes[0].stop();
    damage(&cluster.nodes[0].data_dir(), &namespace(), &key(5)).expect("damaged");
    cluster.nodes[0].start();
    cluster.linked().await;
    for node in 0..3 {
        let answer = read(&cluster, node, 5, "consistency=quorum&timeout=30s").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.text(), "value 5");
    }
}
