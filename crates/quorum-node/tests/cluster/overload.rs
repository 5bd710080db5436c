//! More writes than a node may have under way are turned away before any work, and nothing is left of them.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use quorum_node::WriteFailed;

use crate::harness::http;
use crate::harness::mesh::{Mesh, put, value};
use crate::harness::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_turns_writes_away_and_recovers() {
    let mut mesh = Mesh::start_with(3, |config| config.quorum.in_flight_writes_max = 2).await;
    let writer = mesh.service(0);
    mesh.stop(1).await;
    mesh.stop(2).await;
    // Without a quorum they wait, and take up every place.
    let waiting = ["a", "b"].map(|key| {
        let writer = mesh.service(0);
        tokio::spawn(async move { writer.write(put(key, "1")).await })
    });
    until("both places are taken", async || {
        value(&writer, "a").is_some() && value(&writer, "b").is_some()
    })
    .await;

    let outcome = writer.write(put("c", "1")).await;
    assert!(matches!(outcome, Err(WriteFailed::Overloaded)), "{outcome:?}");
    let answer = http::put(mesh.http_addr(0), "/v1/kv/test/d", Bytes::from_static(b"1")).await;
    let answer = answer.answer();
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers.contains_key(RETRY_AFTER), "{:?}", answer.headers);
    assert_eq!(answer.json()["outcome"], "not_applied");

    mesh.restart(1).await;
    for write in waiting {
        write.await.expect("no panic").expect("the quorum is back");
    }
    writer.write(put("e", "1")).await.expect("there is room again");
    mesh.restart(2).await;
    mesh.converged().await;
    for index in 0..3 {
        let held = ["a", "b", "c", "d", "e"].map(|key| value(&mesh.service(index), key).is_some());
        assert_eq!(held, [true, true, false, false, true], "n{}", index + 1);
    }
    mesh.stop_all().await;
}
