//! A member that lost its data directory gets everything again, and counts for nothing until it has.

use hyper::StatusCode;
use quorum_node::WriteFailed;

use crate::harness::http;
use crate::harness::mesh::{self, Mesh};
use crate::harness::process::Cluster;
use crate::harness::until;

async fn put(cluster: &Cluster, node: usize, key: &str, timeout: &str) -> http::Answer {
    let path = format!("/v1/kv/test/{key}?timeout={timeout}");
    http::put(cluster.nodes[node].http, &path, "v").await.answer()
}

async fn is_ready(cluster: &Cluster, node: usize) -> bool {
    http::get(cluster.nodes[node].http, "/readyz").await.answer().status == StatusCode::OK
}

/// Writes to all, then takes the last member's data away while it is down.
async fn wiped() -> Cluster {
    let mut cluster = Cluster::start(3, &[]).await;
    for index in 0..50 {
        let answer = put(&cluster, index % 3, &format!("k{index}"), "30s").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    cluster.converged().await;
    cluster.nodes[2].kill();
    std::fs::remove_dir_all(cluster.nodes[2].data_dir()).expect("a data directory");
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_member_refills_from_its_peers() {
    let mut cluster = wiped().await;
    cluster.nodes[2].start();
    until("it is ready again", async || is_ready(&cluster, 2).await).await;
    assert_eq!(cluster.nodes[2].export().await.len(), 50, "it was not ready before it had all");
    let status = cluster.nodes[2].json("/v1/status").await;
    assert_eq!(status["recovery"], "complete", "{status}");
    cluster.linked().await;
    cluster.converged().await;
    // A further start of the same life is no recovery.
    cluster.nodes[2].kill();
    cluster.nodes[2].start();
    cluster.linked().await;
    assert_eq!(cluster.nodes[2].json("/v1/status").await["recovery"], "complete");
    let answer = put(&cluster, 2, "after", "30s").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

/// Of three members one is down and one was wiped. What the two that are left agree on may be less than what was once
/// committed, so they must not commit or answer anything together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_member_counts_for_nothing_until_it_has_everything_again() {
    let mut cluster = wiped().await;
    cluster.nodes[0].kill();
    cluster.nodes[2].start();
    until("it knows that it was wiped", async || {
        cluster.nodes[2].json("/v1/status").await["recovery"] == "recovering"
    })
    .await;
    until("it has what the one other member has", async || {
        cluster.nodes[2].export().await.len() == 50
    })
    .await;
    assert!(!is_ready(&cluster, 2).await, "one other member is not enough");
    let answer = put(&cluster, 1, "unsafe", "1s").await;
    assert_eq!(answer.json()["outcome"], "indeterminate", "{}", answer.text());
    assert!(answer.text().contains("busy:recovering"), "{}", answer.text());
    // Nor may it coordinate: it has forgotten versions that it must stay above.
    let answer = put(&cluster, 2, "unsafe", "1s").await;
    assert_eq!(answer.json()["outcome"], "not_applied", "{}", answer.text());
    assert_eq!(answer.json()["type"], "urn:quorum:problem:recovering", "{}", answer.text());
    let path = "/v1/kv/test/k1?consistency=quorum&timeout=1s";
    let read = http::get(cluster.nodes[1].http, path).await.answer();
    assert_eq!(read.status, StatusCode::SERVICE_UNAVAILABLE, "{}", read.text());

    cluster.nodes[0].start();
    until("it counts once it has everything", async || is_ready(&cluster, 2).await).await;
    cluster.linked().await;
    until("its acks count", async || put(&cluster, 1, "safe", "1s").await.status == StatusCode::OK)
        .await;
    cluster.converged().await;
}

/// It may have been wiped, and does not know above which version its writes must lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_data_is_new_takes_no_write_before_it_has_reached_a_peer() {
    let mut mesh = Mesh::start(3).await;
    for index in 0..3 {
        mesh.stop(index).await;
    }
    std::fs::remove_dir_all(mesh.data_dir(2)).expect("its data directory");
    mesh.restart(2).await;
    let outcome = mesh.service(2).write(mesh::put("k", "v")).await;
    assert!(matches!(outcome, Err(WriteFailed::NoContact)), "{outcome:?}");
    assert_eq!(mesh::value(&mesh.service(2), "k"), None);
    mesh.restart(0).await;
    mesh.restart(1).await;
    mesh::commit(&mesh.service(2), mesh::put("k", "v")).await;
    mesh.linked().await;
    mesh.stop_all().await;
}

/// Of three members that begin with nothing, one has not been met: it may have lived with one of the others, whose disk
/// was lost since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_takes_its_first_write_once_its_members_have_met() {
    let mut mesh = Mesh::start(3).await;
    for index in 0..3 {
        mesh.stop(index).await;
        std::fs::remove_dir_all(mesh.data_dir(index)).expect("its data directory");
    }
    mesh.restart(0).await;
    mesh.restart(1).await;
    let service = mesh.service(0);
    until("the other one vouches for it", async || {
        service.not_ready().iter().any(|reason| reason.contains("1 of 2 needed peers"))
    })
    .await;
    let outcome = service.write(mesh::put("k", "v")).await;
    assert!(matches!(outcome, Err(WriteFailed::NoContact)), "{outcome:?}");
    mesh.restart(2).await;
    mesh::commit(&service, mesh::put("k", "v")).await;
    drop(service);
    // From then on, two of them do.
    mesh.linked().await;
    mesh.stop(2).await;
    mesh.stop(0).await;
    mesh.restart(0).await;
    mesh::commit(&mesh.service(0), mesh::put("k", "w")).await;
    mesh.stop_all().await;
}
