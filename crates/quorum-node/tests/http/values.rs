//! One value: written, read, deleted.

use crate::fixture::Fixture;

#[tokio::test]
async fn a_value_comes_back_byte_for_byte() {
    let node = Fixture::start().await;
    for (key, value) in [
        ("plain", &b"hello"[..]),
        ("a/b//c/", b"slashes"),
        ("%00%ff%2F", b"\x00\xff"),
        ("empty", b""),
        ("caf%C3%A9+%25", b"text"),
    ] {
        node.put(&format!("ns/{key}"), value).await;
        let read = node.ask(&format!("GET /v1/kv/ns/{key}"), "").await;
        assert_eq!((read.status.as_u16(), read.body.as_ref()), (200, value), "{key}");
        assert_eq!(read.header("content-type"), "application/octet-stream");
    }
}

#[tokio::test]
async fn a_value_says_which_version_and_write_it_is() {
    let node = Fixture::start().await;
    let receipt = node.put("ns/k", b"v").await;
    let read = node.ask("GET /v1/kv/ns/k", "").await;
    assert_eq!(read.header("etag"), format!("\"{}\"", receipt["version"].as_str().expect("text")));
    assert_eq!(read.header("quorum-write-id"), receipt["write_id"]);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let node = Fixture::start().await;
    node.put("ns/k", b"value").await;
    let head = node.ask("HEAD /v1/kv/ns/k", "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "5"));
    assert!(head.body.is_empty() && !head.header("etag").is_empty());
    assert_eq!(node.ask("HEAD /v1/kv/ns/absent", "").await.status, 404);
}

#[tokio::test]
async fn what_is_absent_or_deleted_is_not_found() {
    let node = Fixture::start().await;
    node.ask("GET /v1/kv/ns/k", "").await.problem(404, "key-not-found");
    node.put("ns/k", b"v").await;
    assert_eq!(node.ask("DELETE /v1/kv/ns/k", "").await.json()["outcome"], "committed");
    node.ask("GET /v1/kv/ns/k", "").await.problem(404, "key-not-found");
    // Deleting what is not there is a write like any other.
    assert_eq!(node.ask("DELETE /v1/kv/ns/never", "").await.status, 200);
}

#[tokio::test]
async fn namespaces_do_not_share_keys() {
    let node = Fixture::start().await;
    node.put("one/k", b"1").await;
    node.put("two/k", b"2").await;
    assert_eq!(node.ask("GET /v1/kv/one/k", "").await.body.as_ref(), b"1");
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_changes_nothing() {
    let node = Fixture::start().await;
    let long = format!("PUT /v1/kv/ns/{}", "k".repeat(1_025));
    let bad = [
        ("PUT /v1/kv/UPPER/k", "namespace"),
        ("PUT /v1/kv//k", "namespace"),
        ("PUT /v1/kv/a%2Fb/k", "namespace"),
        ("PUT /v1/kv/ns/", "key"),
        ("PUT /v1/kv/ns/100%", "key"),
        (long.as_str(), "key"),
        ("PUT /v1/kv/ns/k?w=0", "w"),
        ("PUT /v1/kv/ns/k?w=2", "w"),
        ("PUT /v1/kv/ns/k?w=some", "w"),
        ("PUT /v1/kv/ns/k?timeout=0s", "timeout"),
        ("PUT /v1/kv/ns/k?timeout=10", "timeout"),
        ("PUT /v1/kv/ns/k?durability=maybe", "durability"),
        ("DELETE /v1/kv/ns/k?w=9", "w"),
        ("GET /v1/kv/NS/k", "namespace"),
    ];
    for (line, field) in bad {
        let problem = node.ask(line, "v").await.problem(400, "invalid-request");
        assert_eq!(problem["field"], field, "{line}");
        assert_eq!(problem["outcome"], "not_applied", "{line}");
    }
    let problem = node.ask("PUT /v1/kv/ns/k?w=2", "v").await.json();
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("1..=1")), "{problem}");
    node.ask("GET /v1/kv/ns/k", "").await.problem(404, "key-not-found");
}

#[tokio::test]
async fn an_unknown_parameter_is_named_everywhere() {
    let node = Fixture::start().await;
    for line in [
        "PUT /v1/kv/ns/k?timeuot=2s",
        "DELETE /v1/kv/ns/k?timeuot=2s",
        "GET /v1/kv/ns/k?timeuot=2s",
        "GET /v1/kv/ns?timeuot=2s",
        "GET /v1/status?timeuot=2s",
        "GET /v1/peers?timeuot=2s",
        "GET /v1/export?timeuot=2s",
    ] {
        let problem = node.ask(line, "").await.problem(400, "unknown-parameter");
        assert_eq!(problem["field"], "timeuot", "{line}");
    }
}

#[tokio::test]
async fn a_read_says_what_it_promises() {
    let node = Fixture::start().await;
    node.put("ns/k", b"v").await;
    for consistency in ["local", "quorum"] {
        let answer = node.ask(&format!("GET /v1/kv/ns/k?consistency={consistency}"), "").await;
        assert_eq!(answer.body.as_ref(), b"v");
        assert_eq!(answer.headers["quorum-consistency"], consistency);
        assert_eq!(answer.headers["quorum-overlapping"], "true");
        assert_eq!(answer.headers["quorum-answers"], "1/1");
    }
    let absent = node.ask("GET /v1/kv/ns/absent?consistency=quorum", "").await;
    assert_eq!(absent.headers["quorum-answers"], "1/1");
    absent.problem(404, "key-not-found");
}

#[tokio::test]
async fn linearizable_is_a_property_of_a_namespace_and_not_of_a_request() {
    let node = Fixture::start().await;
    for line in
        ["GET /v1/kv/ns/k?consistency=linearizable", "PUT /v1/kv/ns/k?consistency=linearizable"]
    {
        let problem = node.ask(line, "").await.problem(400, "invalid-request");
        assert_eq!(problem["field"], "consistency", "{line}");
    }
    let problem = node.ask("GET /v1/kv/ns/k?consistency=quorum&r=9", "").await;
    assert_eq!(problem.problem(400, "invalid-request")["field"], "r");
}

#[tokio::test]
async fn a_conditional_write_is_refused_rather_than_done_blindly() {
    let node = Fixture::start().await;
    let condition = [("if-none-match", "*")];
    let answer = node.ask_with("PUT /v1/kv/ns/k", &condition, "v").await;
    assert_eq!(answer.problem(400, "not-supported")["field"], "If-None-Match");
    node.ask("GET /v1/kv/ns/k", "").await.problem(404, "key-not-found");
}
