//! A committed write reaches every member although its coordinator never comes back.

use crate::harness::http;
use crate::harness::process::Cluster;
use crate::harness::until;
use crate::harness::wires::Wires;

/// The coordinator cannot reach the third member, commits with the second, and dies for good. Without anti-entropy
/// between third parties the third member would never hear of the write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_coordinators_writes_spread_from_whoever_has_them() {
    let mut cluster = Cluster::init(3, &[]);
    let wires = Wires::between(&cluster, 1).await;
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.linked().await;
    wires.cut(0, 2);
    let (coordinator, third) = (cluster.nodes[0].http, cluster.nodes[2].http);
    for index in 0..20 {
        let path = format!("/v1/kv/test/k{index}?w=2&timeout=30s");
        let answer = http::put(coordinator, &path, format!("v{index}")).await.answer();
        assert_eq!(answer.json()["outcome"], "committed", "{}", answer.text());
    }
    cluster.nodes[0].kill();
    for index in 0..20 {
        until("the third member gets the write", async || {
            let answer = http::get(third, &format!("/v1/kv/test/k{index}")).await.answer();
            answer.status.is_success() && answer.text() == format!("v{index}")
        })
        .await;
    }
}
