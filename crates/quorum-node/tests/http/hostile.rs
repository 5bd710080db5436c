//! Requests that are wrong, too large or never end.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use quorum_node::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::Fixture;

fn small_bodies(config: &mut Config) {
    config.http.body_bytes_max = "1KiB".parse().expect("a size");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let node = Fixture::start().await;
    for line in ["GET /nowhere", "PUT /v1/kv", "GET /v1/kv/", "GET /v1", "GET //"] {
        node.ask(line, "").await.problem(404, "unknown-path");
    }
    for (line, allowed) in [
        ("POST /v1/kv/ns/k", "GET,HEAD,PUT,DELETE"),
        ("PUT /v1/kv/ns", "GET,HEAD"),
        ("DELETE /v1/status", "GET,HEAD"),
        ("POST /healthz", "GET,HEAD"),
    ] {
        let answer = node.ask(line, "").await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allowed, "{line}");
    }
}

#[tokio::test]
async fn a_value_at_the_limit_is_taken_and_one_beyond_it_is_not() {
    let node = Fixture::with(1, small_bodies).await;
    assert_eq!(node.ask("PUT /v1/kv/ns/k", vec![7; 1_024]).await.status, 200);
    for len in [1_025, 5_000_000] {
        let problem = node.ask("PUT /v1/kv/ns/k", vec![7; len]).await.problem(413, "too-large");
        assert_eq!((&problem["bytes_max"], &problem["field"]), (&1_024.into(), &"value".into()));
        assert_eq!(problem["outcome"], "not_applied");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_as_well() {
    let node = Fixture::with(1, small_bodies).await;
    let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![7; 512]));
    let short = Body::from_stream(stream::iter((0..2).map(move |_| chunk())));
    assert_eq!(node.ask("PUT /v1/kv/ns/k", short).await.status, 200);
    let long = Body::from_stream(stream::iter((0..2_000).map(move |_| chunk())));
    node.ask("PUT /v1/kv/ns/k", long).await.problem(413, "too-large");
}

/// A client that asks before it sends is told no before it has sent anything.
#[tokio::test]
async fn a_body_that_is_announced_too_long_is_not_asked_for() {
    let node = Fixture::with(1, small_bodies).await;
    let head = "PUT /v1/kv/ns/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999999\r\n\
                expect: 100-continue\r\nconnection: close\r\n\r\n";
    let answer = converse(&node, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_that_breaks_off_writes_nothing() {
    let node = Fixture::start().await;
    let mut stream = TcpStream::connect(node.address()).await.expect("connected");
    let head = b"PUT /v1/kv/ns/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf";
    stream.write_all(head).await.expect("sent");
    stream.shutdown().await.expect("closed");
    let mut answer = Vec::new();
    // Whether an answer comes is the server's choice; that it lets go of the connection is not.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    node.ask("GET /v1/kv/ns/k", "").await.problem(404, "key-not-found");
}

#[tokio::test]
async fn garbage_and_endless_heads_are_cut_off_and_others_served() {
    let node = Fixture::start().await;
    let endless = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 200_000]].concat();
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500)).into_bytes();
    let garbage = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n".to_vec();
    for input in [endless, many, garbage] {
        let answer = converse(&node, &input).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(node.ask("GET /healthz", "").await.status, 200);
}

/// Sends bytes and reads until the server closes.
async fn converse(node: &Fixture, input: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.address()).await.expect("connected");
    // The server may close before it has read everything.
    let _ = stream.write_all(input).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
