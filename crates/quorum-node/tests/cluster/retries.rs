//! A write that was asked for before is found wherever it is, and never executed a second time.

use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::harness::http::{self, Answer};
use crate::harness::process::Cluster;
use crate::harness::until;
use crate::harness::wires::Wires;

const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const FIRST: [(&str, &str); 1] = [("idempotency-key", ID)];
const RETRY: [(&str, &str); 2] = [("idempotency-key", ID), ("quorum-retry", "1")];

async fn put(
    cluster: &Cluster,
    node: usize,
    headers: &[(&str, &str)],
    value: &'static str,
) -> Answer {
    let (to, path) = (cluster.nodes[node].http, "/v1/kv/test/k?timeout=5s");
    http::send(to, Method::PUT, path, headers, value.into()).await.answer()
}

async fn status(cluster: &Cluster, node: usize, parameters: &str) -> Value {
    cluster.nodes[node].json(&format!("/v1/writes/{ID}{parameters}")).await
}

/// The coordinator commits and dies before its client hears of it. Without the lookup the retry would be a second write,
/// and would undo what another client wrote in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_through_another_node_is_the_same_write() {
    let mut cluster = Cluster::start(3, &[]).await;
    let first = put(&cluster, 0, &FIRST, "mine").await.json();
    assert_eq!(first["outcome"], "committed", "{first}");
    let theirs = http::put(cluster.nodes[1].http, "/v1/kv/test/k?timeout=30s", "theirs").await;
    assert_eq!(theirs.answer().status, StatusCode::OK);
    cluster.nodes[0].kill();
    for node in [1, 2] {
        let again = put(&cluster, node, &RETRY, "mine").await.json();
        assert_eq!(again["outcome"], "committed", "{again}");
        assert_eq!(again["version"], first["version"], "the very same write");
        let other = put(&cluster, node, &RETRY, "other").await;
        assert_eq!(other.status, StatusCode::CONFLICT, "{}", other.text());
        assert_eq!(other.json()["outcome"], "not_applied");
    }
    let value = http::get(cluster.nodes[1].http, "/v1/kv/test/k").await.answer();
    assert_eq!(value.text(), "theirs", "the retry brought nothing back");
}

/// A write that reached nobody is overwritten where it was made, and its copies elsewhere are covered by the later record of
/// its key. Once it is called committed after all, members that do not know it by its id would execute it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_overwritten_before_it_spread_is_known_wherever_it_counts() {
    let mut cluster = Cluster::init(3, &[]);
    let wires = Wires::between(&cluster, 1).await;
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.linked().await;
    wires.isolate(0);
    let path = "/v1/kv/test/k?timeout=100ms";
    for (headers, value) in [(&FIRST[..], "mine"), (&[][..], "theirs")] {
        let put = http::send(cluster.nodes[0].http, Method::PUT, path, headers, value.into());
        let answer = put.await.answer().json();
        assert_eq!(answer["outcome"], "indeterminate", "{answer}");
    }
    wires.heal();
    until("the later one has come", async || {
        let read = http::get(cluster.nodes[1].http, "/v1/kv/test/k").await.answer();
        read.status == StatusCode::OK && read.text() == "theirs"
    })
    .await;
    let again = put(&cluster, 0, &RETRY, "mine").await.json();
    assert_eq!(again["outcome"], "committed", "{again}");
    let others = status(&cluster, 0, "?copies=3&timeout=30s").await;
    cluster.nodes[0].kill();
    for node in [1, 2] {
        let retry = put(&cluster, node, &RETRY, "mine").await.json();
        assert_eq!(retry["outcome"], "committed", "{retry}; asked before: {others}");
        assert_eq!(retry["version"], again["version"], "the very same write");
        let value = http::get(cluster.nodes[node].http, "/v1/kv/test/k").await.answer();
        assert_eq!(value.text(), "theirs", "it brought nothing back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_cannot_be_looked_up_is_not_executed() {
    let mut cluster = Cluster::start(3, &[]).await;
    assert_eq!(put(&cluster, 0, &FIRST, "mine").await.json()["outcome"], "committed");
    // One that never heard of the write, and is alone.
    let stranger = "11111111-d9cb-469f-a165-70867728950e";
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    let headers = [("idempotency-key", stranger), ("quorum-retry", "1")];
    let answer = put(&cluster, 2, &headers, "mine").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem = answer.json();
    assert_eq!(problem["outcome"], "indeterminate", "{problem}");
    assert_eq!(problem["reason"], "lookup_unreachable", "{problem}");
    let issued = &cluster.nodes[2].json("/v1/status").await["writes_issued"];
    assert_eq!(*issued, 0, "nothing was executed");
}

/// A write that asked for fewer copies may be at fewer members, so its retry must hear more of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_retry_of_a_write_with_few_copies_asks_all_that_may_have_them() {
    let mut cluster = Cluster::init(3, &[]);
    let wires = Wires::between(&cluster, 1).await;
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.linked().await;
    wires.isolate(0);
    let path = "/v1/kv/test/k?w=1&timeout=30s";
    let first = http::send(cluster.nodes[0].http, Method::PUT, path, &FIRST, "mine".into()).await;
    assert_eq!(first.answer().json()["outcome"], "committed");
    let path = "/v1/kv/test/k?w=1&timeout=1s";
    let retry = http::send(cluster.nodes[1].http, Method::PUT, path, &RETRY, "mine".into()).await;
    let retry = retry.answer().json();
    assert_eq!(retry["outcome"], "indeterminate", "the only copy may be at the one that is silent");
    assert_eq!((&retry["needed"], &retry["write_id"]), (&3.into(), &ID.into()), "{retry}");
    wires.heal();
    until("it is found", async || {
        let path = "/v1/kv/test/k?w=1&timeout=5s";
        let retry = http::send(cluster.nodes[1].http, Method::PUT, path, &RETRY, "mine".into());
        retry.await.answer().status == StatusCode::OK
    })
    .await;
    let issued = &cluster.nodes[1].json("/v1/status").await["writes_issued"];
    assert_eq!(*issued, 0, "it was not executed a second time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_past_the_horizon_is_never_executed() {
    let cluster = Cluster::start(3, &["quorum.write_id_horizon=1s"]).await;
    let first = put(&cluster, 0, &FIRST, "mine").await.json();
    assert_eq!(first["outcome"], "committed", "{first}");
    for node in 0..3 {
        until("the write is too old to be told from a new one", async || {
            let answer = put(&cluster, node, &RETRY, "mine").await;
            let problem = answer.json();
            if answer.status == StatusCode::OK {
                assert_eq!(problem["version"], first["version"], "until then it is the same write");
                return false;
            }
            assert_eq!(answer.status, StatusCode::CONFLICT, "{problem}");
            problem["type"] == "urn:quorum:problem:retry-too-old"
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_write_can_be_asked_of_any_node() {
    let mut cluster = Cluster::start(3, &[]).await;
    let unknown = status(&cluster, 1, "").await;
    assert_eq!(unknown["outcome"], "not_applied", "{unknown}");
    put(&cluster, 0, &FIRST, "mine").await;
    let everywhere = status(&cluster, 1, "?copies=3&timeout=30s").await;
    assert_eq!(everywhere["outcome"], "committed", "{everywhere}");
    assert_eq!((&everywhere["copies"], &everywhere["reached"]), (&3.into(), &true.into()));
    assert_eq!((&everywhere["namespace"], &everywhere["key"]), (&"test".into(), &"k".into()));

    // With too few members to be heard nobody can say.
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    let alone = status(&cluster, 2, "?timeout=500ms").await;
    assert_eq!(
        (&alone["outcome"], &alone["copies"]),
        (&"indeterminate".into(), &1.into()),
        "{alone}"
    );
    let bad = http::get(cluster.nodes[2].http, "/v1/writes/nonsense").await.answer();
    assert_eq!((bad.status, &bad.json()["field"]), (StatusCode::BAD_REQUEST, &"write_id".into()));
    let bad = http::get(cluster.nodes[2].http, &format!("/v1/writes/{ID}?copies=4")).await.answer();
    assert_eq!((bad.status, &bad.json()["field"]), (StatusCode::BAD_REQUEST, &"copies".into()));
}
