//! Which writes have too few copies is known exactly, and for how long.

use serde_json::Value;

use crate::harness::http;
use crate::harness::process::Cluster;
use crate::harness::until;

async fn exposure(cluster: &Cluster, node: usize) -> Value {
    cluster.nodes[node].json("/v1/status").await["exposure"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_with_too_few_copies_are_counted_exactly() {
    let mut cluster = Cluster::start(3, &[]).await;
    for index in 0..10 {
        let path = format!("/v1/kv/test/before{index}?w=all&timeout=30s");
        assert_eq!(http::put(cluster.nodes[0].http, &path, "v").await.answer().status, 200);
    }
    for node in [0, 1] {
        until("nothing is exposed", async || exposure(&cluster, node).await["below_n"] == 0).await;
    }
    cluster.nodes[2].kill();
    for index in 0..7 {
        let path = format!("/v1/kv/test/during{index}?timeout=30s");
        assert_eq!(http::put(cluster.nodes[0].http, &path, "v").await.answer().status, 200);
    }
    // The other node, which coordinated none of them, knows as well.
    for node in [0, 1] {
        until("the seven writes are exposed", async || {
            let exposure = exposure(&cluster, node).await;
            exposure["below_n"] == 7 && exposure["below_w"] == 0
        })
        .await;
        let exposure = exposure(&cluster, node).await;
        assert_eq!(exposure["by_copies"][1], 7, "{exposure}");
        assert_eq!(exposure["exact"], true, "{exposure}");
        let age = exposure["oldest_below_n_seconds"].as_f64().expect("an age");
        assert!(age > 0.0, "{exposure}");
        let peers = cluster.nodes[node].json("/v1/peers").await;
        let away = peers.as_array().expect("peers").iter().find(|peer| peer["node"] == "n3");
        assert_eq!(away.expect("the third")["missing_writes"], 7, "{peers}");
        // A later look finds it older.
        until("it ages", async || {
            self::exposure(&cluster, node).await["oldest_below_n_seconds"].as_f64() > Some(age)
        })
        .await;
    }
    until("the metrics say so", async || {
        let metrics = cluster.nodes[0].metrics().await;
        metrics.contains("replication_under_replicated_writes{copies=\"n\"} 7")
    })
    .await;

    // Two are down: what is written now is on one member only.
    cluster.nodes[1].kill();
    let path = "/v1/kv/test/alone?timeout=200ms";
    assert_eq!(http::put(cluster.nodes[0].http, path, "v").await.answer().status, 503);
    until("one write is below W", async || {
        let exposure = exposure(&cluster, 0).await;
        exposure["below_w"] == 1 && exposure["below_n"] == 8
    })
    .await;
    cluster.nodes[1].start();
    cluster.nodes[2].start();
    for node in 0..3 {
        until("everything is everywhere", async || exposure(&cluster, node).await["below_n"] == 0)
            .await;
    }
}
