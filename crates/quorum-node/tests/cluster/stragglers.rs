//! A record goes on to every member after its write has ended: well, badly, or with nobody left to hear it.

use std::time::Duration;

use bytes::Bytes;
use quorum_core::QuorumFailureReason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::mesh::{Mesh, holds, missed, put, value, within};
use crate::harness::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_gets_a_committed_record() {
    let mut mesh = Mesh::start(3).await;
    mesh.stop(2).await;
    mesh.service(0).write(put("a", "1")).await.expect("two of three are enough");
    mesh.restart(2).await;
    holds(&mesh.service(2), "a", "1").await;
    mesh.caught_up_with(0).await;
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_were_away_get_a_record_that_missed_its_quorum() {
    let mut mesh = Mesh::start(3).await;
    mesh.stop(1).await;
    mesh.stop(2).await;
    let short = Duration::from_millis(200);
    let (_, reason) = missed(mesh.service(0).write(within(short, put("a", "1"))).await);
    assert_eq!(reason, QuorumFailureReason::Unreachable);
    for index in [1, 2] {
        mesh.restart(index).await;
        holds(&mesh.service(index), "a", "1").await;
    }
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_caller_has_gone_goes_on_to_every_member() {
    let mut mesh = Mesh::start(3).await;
    mesh.stop(1).await;
    mesh.stop(2).await;
    let writer = mesh.service(0);
    let waiting = tokio::spawn(async move { writer.write(put("a", "1")).await });
    let writer = mesh.service(0);
    holds(&writer, "a", "1").await;
    assert!(!waiting.is_finished(), "there is no quorum to be had");
    waiting.abort();
    assert!(waiting.await.expect_err("it was dropped").is_cancelled());
    for index in [1, 2] {
        mesh.restart(index).await;
        holds(&mesh.service(index), "a", "1").await;
    }
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_http_client_hung_up_goes_on_to_every_member() {
    let mut mesh = Mesh::start(3).await;
    mesh.stop(1).await;
    mesh.stop(2).await;
    let writer = mesh.service(0);
    let mut client = TcpStream::connect(mesh.http_addr(0)).await.expect("a connection");
    let request = Bytes::from_static(
        b"PUT /v1/kv/test/a?timeout=60s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1",
    );
    client.write_all(&request).await.expect("a request");
    holds(&writer, "a", "1").await;
    drop(client);
    until("the abandoned write gives its place back", async || {
        writer.status(false).await.expect("a readable store").writes_in_flight == 0
    })
    .await;
    for index in [1, 2] {
        mesh.restart(index).await;
        holds(&mesh.service(index), "a", "1").await;
    }
    assert_eq!(value(&writer, "a").as_deref(), Some("1"));
    mesh.stop_all().await;
}
