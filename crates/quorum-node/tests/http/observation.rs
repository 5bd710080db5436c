//! What operators and probes see.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use quorum_node::Config;
use quorum_node::config::ByteSize;

use crate::fixture::Fixture;

#[tokio::test]
async fn a_node_tells_its_state_and_digest() {
    let node = Fixture::start().await;
    node.put("ns/k", b"v").await;
    let status = node.ask("GET /v1/status", "").await.json();
    assert_eq!((&status["node"], &status["members"]), (&"n1".into(), &1.into()), "{status}");
    assert!(status["ready"] == true && status.get("content_digest").is_none(), "{status}");
    let with_digest = node.ask("GET /v1/status?digest=true", "").await.json();
    assert_eq!(with_digest["content_digest"].as_str().map(str::len), Some(64), "{with_digest}");
    assert_eq!(node.ask("GET /v1/peers", "").await.json(), serde_json::json!([]));
}

#[tokio::test]
async fn peers_are_listed_by_name() {
    let node = Fixture::with(3, |_| {}).await;
    let peers = node.ask("GET /v1/peers", "").await.json();
    let names: Vec<_> = peers.as_array().expect("peers").iter().map(|peer| &peer["node"]).collect();
    assert_eq!(names, ["n2", "n3"], "{peers}");
}

/// A probe that kills nodes because their peers are away turns one failure into an outage.
#[tokio::test]
async fn a_node_without_a_quorum_is_alive_but_not_ready() {
    let mut node = Fixture::with(3, |_| {}).await;
    node.mesh.stop(2).await;
    node.mesh.stop(1).await;
    for path in ["/healthz", "/livez"] {
        assert_eq!(node.ask(&format!("GET {path}"), "").await.status, 200);
    }
    // The links to stopped members are noticed as lost by themselves, a little later.
    let problem = loop {
        let answer = node.ask("GET /readyz", "").await;
        if answer.status != 200 {
            break answer.problem(503, "not-ready");
        }
        tokio::task::yield_now().await;
    };
    let reasons = problem["reasons"].as_array().expect("reasons");
    assert!(reasons[0].as_str().is_some_and(|reason| reason.starts_with("quorum")), "{problem}");
}

#[tokio::test]
async fn a_single_node_is_ready() {
    let node = Fixture::start().await;
    assert_eq!(node.ask("GET /readyz", "").await.json()["ready"], true);
    assert_eq!(node.ask("HEAD /readyz", "").await.status, 200);
}

/// Nothing is lost, so writes are taken all the same.
#[tokio::test]
async fn a_node_that_cannot_read_everything_and_compacts_no_more_says_so_and_goes_on() {
    // Each value fills a layer.
    let small = |config: &mut Config| config.store.memtable_bytes = ByteSize::new(4 << 10);
    let mut node = Fixture::with(1, small).await;
    let keys = ["ns/a", "ns/b", "ns/c", "ns/d", "ns/e"];
    for key in keys {
        node.put(key, &[b'v'; 4 << 10]).await;
    }
    assert_eq!(node.ask("GET /readyz", "").await.status, 200);
    node.mesh.stop(0).await;
    let data = node.mesh.data_dir(0).expect("a first node");
    for table in fs::read_dir(data.join("engine/tables/keyspaces/1/tables")).expect("readable") {
        let path = table.expect("readable").path();
        let table = OpenOptions::new().write(true).open(path).expect("writable");
        table.write_all_at(&[0; 64], 0).expect("writable");
    }
    node.mesh.restart(0).await.expect("it starts all the same");
    let reasons = serde_json::json!([
        "store: compaction has failed, look at the disk and restart",
        "store: a part of it cannot be read, replace the disk and rebuild the node",
    ]);
    let told = async {
        for key in keys.into_iter().cycle() {
            node.put(key, &[b'w'; 4 << 10]).await;
            let ready = node.ask("GET /readyz", "").await;
            if ready.status != 200 && ready.problem(503, "not-ready")["reasons"] == reasons {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("both are noticed");
    let metrics = node.ask("GET /metrics", "").await;
    for gauge in ["replication_store_compacting 0", "replication_store_readable 0"] {
        assert!(metrics.text().contains(gauge), "{}", metrics.text());
    }
    node.put("ns/a", b"and on").await;
}

#[tokio::test]
async fn metrics_count_the_writes() {
    let node = Fixture::start().await;
    node.put("ns/k", b"v").await;
    let metrics = node.ask("GET /metrics", "").await;
    assert_eq!(metrics.header("content-type"), quorum_metrics::PROMETHEUS_CONTENT_TYPE);
    let line = r#"replication_quorum_ack_total{result="committed"} 1"#;
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[tokio::test]
async fn the_status_page_loads_nothing_from_elsewhere() {
    let node = Fixture::start().await;
    let page = node.ask("GET /", "").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(!page.text().contains("http:") && !page.text().contains("https:"));
}

#[tokio::test]
async fn a_trace_that_a_client_began_does_not_disturb_its_write() {
    let node = Fixture::start().await;
    for parent in ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "nonsense"] {
        let answer = node.ask_with("PUT /v1/kv/ns/k", &[("traceparent", parent)], "v").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
