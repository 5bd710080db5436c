//! Many writes in one request, each with a verdict of its own.

use serde_json::{Value, json};

use crate::fixture::Fixture;

fn writes(items: &[Value]) -> String {
    json!({ "writes": items }).to_string()
}

#[tokio::test]
async fn every_item_has_its_own_receipt() {
    let node = Fixture::start().await;
    let batch = writes(&[
        json!({ "namespace": "ns", "key": "a", "value": "1" }),
        json!({ "namespace": "ns", "key_base64": "/w==", "value_base64": "gIE=", "w": 1 }),
        json!({ "namespace": "ns", "key": "a", "value": "2" }),
        json!({ "namespace": "ns", "key": "a", "value": null, "durability": "relaxed" }),
        json!({ "namespace": "ns", "key": "a", "value": "3", "timeout": "2s" }),
    ]);
    let answer = node.ask("POST /v1/batch", batch).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let body = answer.json();
    assert_eq!((&body["committed"], &body["not_applied"]), (&5.into(), &0.into()));
    let versions: Vec<&str> = [0, 2, 3, 4]
        .map(|index| body["results"][index]["version"].as_str().expect("a version"))
        .to_vec();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "in their order: {versions:?}");
    assert_eq!(node.ask("GET /v1/kv/ns/a", "").await.body.as_ref(), b"3");
    assert_eq!(node.ask("GET /v1/kv/ns/%ff", "").await.body.as_ref(), b"\x80\x81");
}

#[tokio::test]
async fn one_bad_item_leaves_all_unwritten_and_is_named() {
    let node = Fixture::start().await;
    let good = json!({ "namespace": "ns", "key": "a", "value": "1" });
    let bad = [
        (json!({ "namespace": "NS", "key": "a", "value": "1" }), "writes[1].namespace"),
        (json!({ "namespace": "ns", "value": "1" }), "writes[1].key"),
        (json!({ "namespace": "ns", "key": "", "value": "1" }), "writes[1].key"),
        (json!({ "namespace": "ns", "key": "a" }), "writes[1].value"),
        (json!({ "namespace": "ns", "key": "a", "value": "1", "w": 9 }), "writes[1].w"),
        (
            json!({ "namespace": "ns", "key": "a", "value": "1", "timeout": "soon" }),
            "writes[1].timeout",
        ),
        (
            json!({ "namespace": "ns", "key": "a", "value": "1", "write_id": "x" }),
            "writes[1].write_id",
        ),
        (json!({ "namespace": "ns", "key": "a", "value": "1", "valeu": "1" }), "writes[1]"),
        (json!(7), "writes[1]"),
    ];
    for (bad, field) in bad {
        let answer = node.ask("POST /v1/batch", writes(&[good.clone(), bad])).await;
        let problem = answer.problem(400, "invalid-request");
        assert_eq!(problem["field"], field, "{problem}");
        assert_eq!(problem["outcome"], "not_applied");
    }
    node.ask("GET /v1/kv/ns/a", "").await.problem(404, "key-not-found");
    let many = writes(&vec![good; 1_001]);
    assert_eq!(
        node.ask("POST /v1/batch", many).await.problem(400, "invalid-request")["field"],
        "writes"
    );
    node.ask("POST /v1/batch", "{").await.problem(400, "invalid-request");
}

#[tokio::test]
async fn a_batch_that_is_not_all_committed_is_not_called_ok() {
    let node = Fixture::start().await;
    let id = "30313233-3435-3637-3839-616263646566";
    let first = json!({ "namespace": "ns", "key": "a", "value": "1", "write_id": id });
    let other = json!({ "namespace": "ns", "key": "b", "value": "2", "write_id": id });
    let answer = node.ask("POST /v1/batch", writes(std::slice::from_ref(&first))).await;
    assert_eq!(answer.status, 200);
    let answer = node.ask("POST /v1/batch", writes(&[first, other])).await;
    assert_eq!(answer.status, 207);
    let body = answer.json();
    assert_eq!((&body["committed"], &body["not_applied"]), (&1.into(), &1.into()), "{body}");
    assert_eq!(body["results"][1]["status"], 409, "{body}");
    assert_eq!(body["results"][1]["outcome"], "not_applied", "{body}");
}

/// What a namespace does not allow, and what no node takes, shows before anything is written.
#[tokio::test]
async fn what_is_not_allowed_is_found_before_the_first_item_is_executed() {
    let adjust = |config: &mut quorum_node::Config| {
        config.quorum.min_w = 2;
        config.http.body_bytes_max = quorum_node::config::ByteSize::new(1_000);
    };
    let node = Fixture::with(2, adjust).await;
    let good = json!({ "namespace": "ns", "key": "a", "value": "1" });
    let bad = [
        (json!({ "namespace": "ns", "key": "b", "value": "1", "w": 1 }), "writes[1].w"),
        (json!({ "namespace": "ns", "key": "b", "value": "v".repeat(1_001) }), "writes[1].value"),
    ];
    for (bad, field) in bad {
        let answer = node.ask("POST /v1/batch", writes(&[good.clone(), bad])).await;
        assert_eq!(answer.problem(400, "invalid-request")["field"], field);
    }
    node.ask("GET /v1/kv/ns/a", "").await.problem(404, "key-not-found");
}

#[tokio::test]
async fn an_item_without_a_quorum_is_indeterminate_and_the_batch_is_no_success() {
    let mut node = Fixture::with(3, |_| {}).await;
    for index in [1, 2] {
        node.mesh.stop(index).await;
    }
    let alone = json!({ "namespace": "ns", "key": "a", "value": "1", "w": 1, "timeout": "30s" });
    let missed = json!({ "namespace": "ns", "key": "b", "value": "1", "timeout": "100ms" });
    let answer = node.ask("POST /v1/batch", writes(&[alone, missed])).await;
    assert_eq!(answer.status, 207);
    let body = answer.json();
    assert_eq!((&body["committed"], &body["indeterminate"]), (&1.into(), &1.into()), "{body}");
    assert_eq!(body["results"][1]["outcome"], "indeterminate", "{body}");
    assert!(body["results"][1]["write_id"].is_string(), "{body}");
}

#[tokio::test]
async fn a_batch_beyond_its_bound_is_refused_unread() {
    let node = Fixture::start().await;
    let length = ((16 << 20) + 1).to_string();
    let answer = node.ask_with("POST /v1/batch", &[("content-length", &length)], "{").await;
    answer.problem(413, "too-large");
}
