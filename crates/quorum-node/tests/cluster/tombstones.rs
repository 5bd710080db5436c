//! Tombstones go once everybody has them, wait for a member that is away, and no longer for one that is forgotten; what
//! such a member brings back is not merged.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, StatusCode};

use crate::harness::http::{self, Outcome};
use crate::harness::metrics::sample;
use crate::harness::process::{Cluster, copy_directory};
use crate::harness::until;

/// Tombstones come of age at once.
const SETTINGS: [&str; 1] = ["repair.tombstone_grace=0s"];

async fn put(cluster: &Cluster, node: usize, key: &str, query: &str) -> http::Answer {
    let path = format!("/v1/kv/test/{key}?{query}");
    http::put(cluster.nodes[node].http, &path, format!("value of {key}")).await.answer()
}

async fn delete(cluster: &Cluster, node: usize, key: &str) {
    let path = format!("/v1/kv/test/{key}?w=2&timeout=30s");
    let answer = http::send(cluster.nodes[node].http, Method::DELETE, &path, &[], Bytes::new())
        .await
        .answer();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

async fn forget(cluster: &Cluster, node: usize, member: &str, confirm: &str) -> http::Answer {
    let path = format!("/v1/peers/{member}/forget");
    let body = format!("{{\"confirm\":\"{confirm}\"}}");
    http::send(cluster.nodes[node].http, Method::POST, &path, &[], body.into()).await.answer()
}

async fn purged(cluster: &Cluster, node: usize) -> f64 {
    let metrics = cluster.nodes[node].metrics().await;
    sample(&metrics, "replication_tombstones_purged_total").unwrap_or(0.0)
}

/// The first two members close their clocks and hear of each other again and again, and purge less than so many tombstones.
/// Where nothing stands against it, purging takes a second or two.
async fn nothing_goes(cluster: &Cluster, less_than: f64) {
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(5) {
        round += 1;
        for node in 0..2 {
            let answer = put(cluster, node, &format!("r{round}"), "w=2&timeout=30s").await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert!(purged(cluster, node).await < less_than, "the third member lacks it");
        }
    }
}

/// Starts the first two members, and waits until they commit a write without the third.
async fn start_two(cluster: &mut Cluster) {
    for node in 0..2 {
        cluster.nodes[node].start();
    }
    until("two are up", async || {
        put(cluster, 0, "ready", "w=2&timeout=1s").await.status == StatusCode::OK
    })
    .await;
}

/// Whether the data of a former life lies aside in this data directory.
fn is_set_aside(data: &Path) -> bool {
    let entries = std::fs::read_dir(data).expect("a directory").flatten();
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.any(|name| name.starts_with("forgotten-"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_wait_for_a_member_that_is_away() {
    let mut cluster = Cluster::start(3, &SETTINGS).await;
    for key in ["first", "second"] {
        let answer = put(&cluster, 0, key, "w=3&timeout=30s").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    delete(&cluster, 1, "first").await;
    for node in 0..3 {
        until("everybody has it, so it goes", async || purged(&cluster, node).await >= 1.0).await;
    }
    cluster.nodes[2].kill();
    delete(&cluster, 0, "second").await;
    nothing_goes(&cluster, 2.0).await;
    cluster.nodes[2].start();
    for node in 0..2 {
        until("it has come back", async || purged(&cluster, node).await >= 2.0).await;
    }
    cluster.linked().await;
    cluster.converged().await;
}

/// The third member holds a value of a key that is deleted meanwhile, and a write that nobody else has. It is forgotten,
/// the tombstone is purged, and it comes back: in systems that purge by the clock, its old value would spread again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_member_that_returns_begins_anew_and_brings_nothing_back() {
    let mut cluster = Cluster::start(3, &SETTINGS).await;
    let answer = put(&cluster, 2, "zombie", "w=3&timeout=30s").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    cluster.converged().await;
    for node in 0..2 {
        cluster.nodes[node].kill();
    }
    let alone = put(&cluster, 2, "only-mine", "w=2&timeout=100ms").await;
    assert_eq!(alone.json()["outcome"], "indeterminate", "{}", alone.text());
    cluster.nodes[2].kill();
    start_two(&mut cluster).await;
    delete(&cluster, 0, "zombie").await;

    let n3 = "n3";
    let unconfirmed = forget(&cluster, 0, n3, "n2").await;
    assert_eq!(unconfirmed.status, StatusCode::BAD_REQUEST, "{}", unconfirmed.text());
    assert_eq!(unconfirmed.json()["field"], "confirm");
    let connected = forget(&cluster, 0, "n2", "n2").await;
    assert_eq!(connected.status, StatusCode::CONFLICT, "{}", connected.text());
    let stranger = forget(&cluster, 0, "n9", "n9").await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND, "{}", stranger.text());
    let done = forget(&cluster, 0, n3, n3).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    for node in 0..2 {
        until("nobody waits for n3, at either node", async || purged(&cluster, node).await >= 1.0)
            .await;
    }

    cluster.nodes[2].start();
    let rescued = || {
        let entries = std::fs::read_dir(cluster.nodes[2].data_dir()).expect("a directory");
        let names = entries.flatten().map(|entry| entry.path());
        let is_rescued = |path: &std::path::PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("rescued-") && name.ends_with(".jsonl"))
        };
        names.filter(is_rescued).collect::<Vec<_>>()
    };
    until("it has begun anew and looked through its old data", async || rescued().len() == 1).await;
    let text = std::fs::read_to_string(&rescued()[0]).expect("a file");
    let line = serde_json::from_str::<serde_json::Value>(&text).expect("one line of JSON");
    assert_eq!(line["key"], "only-mine", "{text}");
    assert_eq!(line["value"], "value of only-mine");

    cluster.linked().await;
    cluster.converged().await;
    for node in &cluster.nodes {
        let held = node.export().await;
        assert!(!held.contains_key("zombie") && !held.contains_key("only-mine"), "{held:?}");
        assert!(held.contains_key("ready"));
    }
    let status = cluster.nodes[2].json("/v1/status").await;
    assert_eq!(status["recovery"], "complete", "{status}");
    let answer = put(&cluster, 2, "alive", "w=3&timeout=30s").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    delete(&cluster, 2, "alive").await;
    for node in 0..3 {
        let before = if node == 2 { 0.0 } else { 1.0 };
        until("its new life counts", async || purged(&cluster, node).await > before).await;
    }
}

/// A member that was forgotten has come back and taken a value over, and is away again. Whoever met its new life waits for it,
/// restarted or not: it would bring back what was deleted meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_life_of_a_forgotten_member_is_waited_for_over_restarts() {
    let mut cluster = Cluster::start(3, &SETTINGS).await;
    let answer = put(&cluster, 0, "zombie", "w=3&timeout=30s").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    cluster.converged().await;
    cluster.nodes[2].kill();
    until("it is seen to be away", async || {
        forget(&cluster, 0, "n3", "n3").await.status == StatusCode::OK
    })
    .await;
    until("the second hears of it", async || {
        cluster.nodes[1].json("/v1/status").await["forgotten"] == serde_json::json!(["n3"])
    })
    .await;
    // It meets the first member only, which is too few for it to count.
    cluster.nodes[1].kill();
    cluster.nodes[2].start();
    until("its new life has the value", async || {
        // Meanwhile it may not be listening.
        let local = http::get(cluster.nodes[2].http, "/v1/kv/test/zombie").await;
        let is_there =
            matches!(local, Outcome::Answered(answer) if answer.status == StatusCode::OK);
        is_there && is_set_aside(&cluster.nodes[2].data_dir())
    })
    .await;
    cluster.nodes[2].kill();
    cluster.nodes[0].kill();
    start_two(&mut cluster).await;
    delete(&cluster, 0, "zombie").await;
    nothing_goes(&cluster, 1.0).await;
    cluster.nodes[2].start();
    for node in 0..3 {
        until("all have it, so it goes", async || purged(&cluster, node).await >= 1.0).await;
    }
    cluster.linked().await;
    cluster.converged().await;
    for node in &cluster.nodes {
        assert!(!node.export().await.contains_key("zombie"));
    }
}

/// The disk of the third member goes back to before a delete whose tombstone is purged. It takes no part with that data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_went_back_to_before_a_purge_is_not_used() {
    let mut cluster = Cluster::start(3, &SETTINGS).await;
    let answer = put(&cluster, 0, "zombie", "w=3&timeout=30s").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    // A first tombstone goes everywhere: from now on each member has claimed what it holds.
    let answer = put(&cluster, 0, "first", "w=3&timeout=30s").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    delete(&cluster, 0, "first").await;
    for node in 0..3 {
        until("it goes", async || purged(&cluster, node).await >= 1.0).await;
    }
    cluster.nodes[2].stop();
    let (disk, copy) = (cluster.nodes[2].data_dir(), cluster.nodes[2].directory.join("backup"));
    copy_directory(&disk, &copy);
    cluster.nodes[2].start();
    cluster.linked().await;
    delete(&cluster, 0, "zombie").await;
    for node in 0..2 {
        until("it goes, too", async || purged(&cluster, node).await >= 2.0).await;
    }
    cluster.nodes[2].kill();
    std::fs::remove_dir_all(&disk).expect("a directory");
    copy_directory(&copy, &disk);
    cluster.nodes[2].start();
    until("its data is set aside and taken over anew", async || {
        is_set_aside(&disk) && cluster.nodes[2].log().contains("recovered")
    })
    .await;
    cluster.linked().await;
    cluster.converged().await;
    for node in &cluster.nodes {
        assert!(!node.export().await.contains_key("zombie"));
    }
}
