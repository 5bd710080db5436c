//! Lists and exports.

use serde_json::{Value, json};

use crate::fixture::Fixture;

fn keys(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["key"].as_str().unwrap_or("(bytes)")).collect()
}

#[tokio::test]
async fn pages_follow_one_another_without_gaps_or_repeats() {
    let node = Fixture::start().await;
    for key in ["b", "a", "d", "c", "e"] {
        node.put(&format!("ns/{key}"), b"v").await;
    }
    node.put("other/x", b"v").await;
    node.ask("DELETE /v1/kv/ns/c", "").await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = node.ask(&format!("GET /v1/kv/ns?limit=2&after={after}"), "").await.json();
        assert!(keys(&page).len() <= 2, "{page}");
        seen.extend(keys(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "d", "e"]);
}

#[tokio::test]
async fn deleted_keys_do_not_make_an_empty_page_before_the_end() {
    let node = Fixture::start().await;
    for key in ["a", "b", "c", "d"] {
        node.put(&format!("ns/{key}"), b"v").await;
    }
    for key in ["a", "b", "c"] {
        node.ask(&format!("DELETE /v1/kv/ns/{key}"), "").await;
    }
    let page = node.ask("GET /v1/kv/ns?limit=1", "").await.json();
    assert_eq!(keys(&page), ["d"]);
}

#[tokio::test]
async fn a_prefix_selects_and_values_come_if_asked_for() {
    let node = Fixture::start().await;
    for key in ["user/1", "user/2", "usual"] {
        node.put(&format!("ns/{key}"), b"v").await;
    }
    let page = node.ask("GET /v1/kv/ns?prefix=user/&values=true", "").await.json();
    assert_eq!(keys(&page), ["user/1", "user/2"]);
    let item = &page["items"][0];
    assert_eq!((&item["value"], &item["value_bytes"]), (&json!("v"), &json!(1)));
    assert!(item["version"].is_string() && item["write_id"].is_string(), "{item}");
    let page = node.ask("GET /v1/kv/ns", "").await.json();
    assert!(page["items"][0].get("value").is_none() && page.get("next").is_none(), "{page}");
    assert_eq!(node.ask("GET /v1/kv/empty", "").await.json(), json!({ "items": [] }));
}

#[tokio::test]
async fn bytes_that_are_not_text_are_listed_as_base64() {
    let node = Fixture::start().await;
    node.put("ns/%ff", b"\xfe").await;
    node.put("ns/%ff%ff", b"text").await;
    let page = node.ask("GET /v1/kv/ns?values=true&limit=1", "").await.json();
    let item = &page["items"][0];
    assert_eq!((&item["key_base64"], &item["value_base64"]), (&json!("/w=="), &json!("/g==")));
    assert!(item.get("key").is_none() && item.get("value").is_none(), "{item}");
    assert_eq!(page["next_base64"], "/w==");
    let rest = node.ask("GET /v1/kv/ns?values=true&after=%ff", "").await.json();
    assert_eq!(rest["items"][0]["key_base64"], "//8=");
    assert_eq!(rest["items"][0]["value"], "text");
}

#[tokio::test]
async fn a_bad_page_is_refused_by_name() {
    let node = Fixture::start().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("values=yes", "values"),
        ("prefix=%f", "prefix"),
    ] {
        let answer = node.ask(&format!("GET /v1/kv/ns?{query}"), "").await;
        assert_eq!(answer.problem(400, "invalid-request")["field"], field, "{query}");
    }
    let answer = node.ask("GET /v1/kv/NS", "").await;
    assert_eq!(answer.problem(400, "invalid-request")["field"], "namespace");
}

/// Written in different orders, with other versions and leftovers: the same contents are the same bytes.
#[tokio::test]
async fn nodes_that_hold_the_same_export_the_same_bytes() {
    let (one, other) = (Fixture::start().await, Fixture::start().await);
    for path in ["b/k", "a/z", "a/%ff", "a/m/n"] {
        one.put(path, b"v\"\n").await;
    }
    other.put("c/gone", b"v").await;
    other.ask("DELETE /v1/kv/c/gone", "").await;
    for path in ["a/m/n", "a/%ff", "b/k", "a/z", "b/k"] {
        other.put(path, b"v\"\n").await;
    }
    let export = one.ask("GET /v1/export", "").await;
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    let expected = [
        r#"{"namespace":"a","key":"m/n","value":"v\"\n"}"#,
        r#"{"namespace":"a","key":"z","value":"v\"\n"}"#,
        r#"{"namespace":"a","key_base64":"/w==","value":"v\"\n"}"#,
        r#"{"namespace":"b","key":"k","value":"v\"\n"}"#,
        "",
    ];
    assert_eq!(export.text(), expected.join("\n"));
    assert_eq!(other.ask("GET /v1/export", "").await.text(), export.text());
    let only_b = one.ask("GET /v1/export?namespace=b", "").await.text();
    assert_eq!(only_b, format!("{}\n", expected[3]));
}

#[tokio::test]
async fn an_export_is_whole_over_many_pages() {
    let node = Fixture::start().await;
    let keys = 2_500;
    let write = |key: usize| {
        let node = &node;
        async move { node.put(&format!("ns/{key:05}"), b"v").await }
    };
    for first in (0..keys).step_by(100) {
        futures_util::future::join_all((first..first + 100).map(write)).await;
    }
    for query in ["", "?namespace=ns"] {
        let export = node.ask(&format!("GET /v1/export{query}"), "").await.text();
        let lines = (0..keys)
            .map(|key| format!("{{\"namespace\":\"ns\",\"key\":\"{key:05}\",\"value\":\"v\"}}\n"));
        assert!(export == lines.collect::<String>(), "{query}: {} lines", export.lines().count());
    }
}
