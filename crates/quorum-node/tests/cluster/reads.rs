//! What a read promises beyond the node that is asked.

use hyper::{Method, StatusCode};

use crate::harness::http::{self, Answer};
use crate::harness::process::Cluster;

const STRICT: &str = "[[namespaces]]\nname = \"strict\"\nconsistency = \"linearizable\"";

async fn put(cluster: &Cluster, node: usize, path: &str, value: &str) -> Answer {
    http::put(cluster.nodes[node].http, path, value.to_owned()).await.answer()
}

async fn get(cluster: &Cluster, node: usize, path: &str) -> Answer {
    http::get(cluster.nodes[node].http, path).await.answer()
}

/// The member that is asked was away while the value changed. It may not have it yet; a quorum has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_read_shows_what_the_node_that_is_asked_has_missed() {
    let mut cluster = Cluster::start(3, &[]).await;
    for round in 0..5 {
        cluster.nodes[2].kill();
        let value = format!("v{round}");
        let written = put(&cluster, 0, "/v1/kv/test/k?timeout=30s", &value).await;
        assert_eq!(written.status, StatusCode::OK, "{}", written.text());
        cluster.nodes[2].start();
        // Not before it can ask anybody.
        let answer = loop {
            let answer = get(&cluster, 2, "/v1/kv/test/k?consistency=quorum&timeout=5s").await;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                break answer;
            }
            let problem = answer.json();
            assert_eq!(problem["reason"], "read_quorum_not_met", "{problem}");
        };
        assert_eq!(answer.text(), value);
        assert_eq!(answer.headers["quorum-overlapping"], "true");
        cluster.linked().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_without_a_quorum_says_who_is_missing() {
    let mut cluster = Cluster::start(3, &[]).await;
    put(&cluster, 0, "/v1/kv/test/k?w=all&timeout=30s", "v").await;
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let answer = get(&cluster, 0, "/v1/kv/test/k?consistency=quorum&timeout=1s").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
    let problem = answer.json();
    assert_eq!((&problem["got"], &problem["needed"]), (&1.into(), &2.into()), "{problem}");
    assert_eq!(problem["members"][0]["standing"], "answered", "{problem}");
    assert_ne!(problem["members"][1]["standing"], "answered", "{problem}");
    assert_eq!(get(&cluster, 0, "/v1/kv/test/k").await.text(), "v", "a local read needs nobody");
}

/// The value is at one member, and the one that is asked cannot take it. Counting a copy that is not there would show a
/// value which a later read may miss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_cannot_be_written_back_is_not_shown() {
    let mut cluster = Cluster::init(3, &[]);
    cluster.nodes[0].set("http.body_bytes_max=16");
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.linked().await;
    cluster.nodes[1].kill();
    let written = put(&cluster, 2, "/v1/kv/test/k?w=1&timeout=30s", &"v".repeat(100)).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.text());
    let read = get(&cluster, 0, "/v1/kv/test/k?consistency=quorum&timeout=5s").await;
    assert_eq!(read.status, StatusCode::SERVICE_UNAVAILABLE, "{}", read.text());
    assert_eq!(read.json()["type"], "urn:quorum:problem:write-back-failed", "{}", read.text());
    cluster.nodes[1].start();
    crate::harness::until("two others hold it", async || {
        get(&cluster, 0, "/v1/kv/test/k?consistency=quorum&r=3&timeout=5s").await.status
            == StatusCode::OK
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linearizable_namespace_takes_no_weaker_write() {
    let mut cluster = Cluster::init(3, &[]);
    cluster.nodes.iter().for_each(|node| node.configure(STRICT));
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.linked().await;
    let refused = [
        ("w=1", "w"),
        ("durability=relaxed", "durability"),
        ("consistency=quorum", "consistency"),
        ("consistency=local", "consistency"),
    ];
    for (parameter, field) in refused {
        let answer = put(&cluster, 0, &format!("/v1/kv/strict/k?{parameter}"), "v").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{parameter}: {}", answer.text());
        assert_eq!(answer.json()["field"], field, "{parameter}");
    }
    let written = put(&cluster, 0, "/v1/kv/strict/k?consistency=linearizable", "v").await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.text());
    let read = get(&cluster, 1, "/v1/kv/strict/k").await;
    assert_eq!(
        (read.text(), &read.headers["quorum-consistency"]),
        ("v", &"linearizable".parse().expect("a value"))
    );

    // Without a majority nothing is even begun.
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let refused = put(&cluster, 0, "/v1/kv/strict/k?timeout=1s", "w").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json()["outcome"], "not_applied", "{}", refused.text());
    let deleted = http::send(
        cluster.nodes[0].http,
        Method::DELETE,
        "/v1/kv/strict/k?timeout=1s",
        &[],
        bytes::Bytes::new(),
    );
    assert_eq!(deleted.await.answer().json()["outcome"], "not_applied");
    assert_eq!(get(&cluster, 0, "/v1/kv/strict/k?consistency=local").await.text(), "v");
}

/// Two nodes that think differently of W would each promise what the other breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_different_policies_are_not_ready_and_say_so() {
    let mut cluster = Cluster::init(2, &[]);
    cluster.nodes[1].configure(STRICT);
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.linked().await;
    crate::harness::until("the difference is noticed", async || {
        let ready = get(&cluster, 0, "/readyz").await;
        ready.status == StatusCode::SERVICE_UNAVAILABLE && ready.text().contains("policies: n2")
    })
    .await;
    assert_eq!(get(&cluster, 0, "/v1/status").await.json()["policies_differ"][0], "n2");
}
