//! How the interface goes down.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::Fixture;

/// A request whose second half is missing.
async fn half_a_write(node: &Fixture, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.address()).await.expect("connected");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // That the node asks for the body shows that the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

async fn read_all(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a whole answer");
    answer
}

#[tokio::test]
async fn a_request_under_way_gets_its_answer_while_the_node_goes_down() {
    let mut node = Fixture::start().await;
    let address = node.address();
    let mut waiting = half_a_write(&node, "/v1/kv/ns/k").await;
    let answer = async {
        // Once nobody is let in any more, the node is going down.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        waiting.write_all(b"late").await.expect("sent");
        read_all(waiting).await
    };
    let ((), answer) = tokio::join!(node.mesh.stop(0), answer);
    // No write is begun any more, and that is said properly.
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("urn:quorum:problem:shutting-down"), "{answer}");
    assert!(answer.contains("\"outcome\":\"not_applied\""), "{answer}");
}

#[tokio::test]
async fn a_write_under_way_gets_its_verdict_while_the_node_goes_down() {
    let mut node = Fixture::with(3, |_| {}).await;
    node.mesh.stop(2).await;
    node.mesh.stop(1).await;
    let address = node.address();
    let mut stream = half_a_write(&node, "/v1/kv/ns/k?timeout=1s").await;
    stream.write_all(b"body").await.expect("sent");
    // It is under way once it can be read here.
    while node.ask("GET /v1/kv/ns/k", "").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let ((), answer) = tokio::join!(node.mesh.stop(0), read_all(stream));
    assert!(answer.contains("\"outcome\":\"indeterminate\""), "{answer}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_client_that_never_finishes_does_not_keep_a_node_from_stopping() {
    let mut node =
        Fixture::with(1, |config| config.node.shutdown_grace = Duration::from_millis(200)).await;
    let idle = TcpStream::connect(node.address()).await.expect("connected");
    let stuck = half_a_write(&node, "/v1/kv/ns/k").await;
    node.mesh.stop(0).await;
    assert_eq!(read_all(stuck).await, "");
    assert_eq!(read_all(idle).await, "");
}
