//! What the author of a write is told.

use serde_json::json;

use crate::fixture::{Fixture, fields};

const ID: &str = "0190a3c8-7b1e-4c55-9d0e-4a4b6c1f2d3e";

#[tokio::test]
async fn a_receipt_has_exactly_its_fields() {
    let node = Fixture::start().await;
    let receipt = node.put("ns/k", b"v").await;
    let expected =
        ["acked", "digest", "durability", "missing", "needed", "outcome", "version", "write_id"];
    let mut found = fields(&receipt);
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(receipt["outcome"], "committed");
    assert_eq!((&receipt["durability"], &receipt["needed"]), (&json!("fsync"), &json!(1)));
    assert_eq!(receipt["missing"], json!([]));
    assert_eq!(receipt["acked"].as_array().map(Vec::len), Some(1));
    let ack = &receipt["acked"][0];
    assert_eq!(fields(ack), ["ms", "node"]);
    assert!(ack["node"] == "n1" && ack["ms"].is_f64(), "{ack}");
    assert_eq!(receipt["digest"].as_str().map(str::len), Some(64));
}

#[tokio::test]
async fn a_relaxed_write_says_so_in_its_receipt() {
    let node = Fixture::start().await;
    let receipt = node.ask("PUT /v1/kv/ns/k?durability=relaxed", "v").await.json();
    assert_eq!(receipt["durability"], "relaxed", "{receipt}");
}

#[tokio::test]
async fn a_retry_with_the_same_id_is_the_same_write() {
    let node = Fixture::start().await;
    let first = node.ask_with("PUT /v1/kv/ns/k", &[("idempotency-key", ID)], "v").await.json();
    assert_eq!(first["write_id"], ID);
    node.put("ns/k", b"newer").await;
    let plain = ID.replace('-', "");
    let again = node.ask_with("PUT /v1/kv/ns/k", &[("idempotency-key", &plain)], "v").await;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(again.json()["version"], first["version"]);
    assert_eq!(node.ask("GET /v1/kv/ns/k", "").await.body.as_ref(), b"newer");
}

#[tokio::test]
async fn an_id_that_names_another_write_is_a_conflict() {
    let node = Fixture::start().await;
    let id = [("idempotency-key", ID)];
    assert_eq!(node.ask_with("PUT /v1/kv/ns/k", &id, "v").await.status, 200);
    for (line, body) in
        [("PUT /v1/kv/ns/k", "other"), ("PUT /v1/kv/ns/l", "v"), ("DELETE /v1/kv/ns/k", "")]
    {
        let problem = node.ask_with(line, &id, body).await.problem(409, "id-conflict");
        assert_eq!(problem["outcome"], "not_applied", "{line}");
    }
    assert_eq!(node.ask("GET /v1/kv/ns/k", "").await.body.as_ref(), b"v");
}

#[tokio::test]
async fn a_malformed_id_is_refused() {
    let node = Fixture::start().await;
    for id in ["", "12", "not-a-uuid"] {
        let answer = node.ask_with("PUT /v1/kv/ns/k", &[("idempotency-key", id)], "v").await;
        assert_eq!(answer.problem(400, "invalid-request")["field"], "Idempotency-Key");
    }
}

/// The write is on the one node that is left. To call it failed would be a lie, and so would be to call it committed.
#[tokio::test]
async fn a_missed_quorum_is_indeterminate_and_names_every_member() {
    let mut node = Fixture::with(3, |_| {}).await;
    node.mesh.stop(2).await;
    node.mesh.stop(1).await;
    let answer =
        node.ask_with("PUT /v1/kv/ns/k?timeout=300ms", &[("idempotency-key", ID)], "v").await;
    assert_eq!(answer.header("retry-after"), "1");
    let problem = answer.problem(503, "quorum-not-met");
    assert_eq!(problem["outcome"], "indeterminate");
    assert_eq!((&problem["got"], &problem["needed"]), (&json!(1), &json!(2)));
    assert_eq!((&problem["reason"], &problem["write_id"]), (&json!("unreachable"), &json!(ID)));
    let members = problem["members"].as_array().expect("members");
    let standing = |at: usize| (members[at]["node"].as_str(), members[at]["standing"].as_str());
    assert_eq!(standing(0), (Some("n1"), Some("acked")));
    assert_eq!(standing(1), (Some("n2"), Some("silent")));
    assert_eq!(standing(2), (Some("n3"), Some("silent")));
    assert!(members[0]["ms"].is_f64() && members[1].get("ms").is_none(), "{problem}");
    assert_eq!(node.ask("GET /v1/kv/ns/k", "").await.body.as_ref(), b"v");

    let one_will_do = node.ask("PUT /v1/kv/ns/k?w=1&timeout=300ms", "v2").await;
    assert_eq!(one_will_do.status, 200, "{}", one_will_do.text());
}

#[tokio::test]
async fn too_much_under_way_is_refused_with_a_hint() {
    let node = Fixture::with(1, |config| {
        config.http.body_bytes_max = "150B".parse().expect("a size");
        config.quorum.in_flight_bytes_max = "150B".parse().expect("a size");
    })
    .await;
    // The key counts too.
    let answer = node.ask("PUT /v1/kv/ns/k", vec![0; 150]).await;
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.problem(429, "overloaded")["outcome"], "not_applied");
}
