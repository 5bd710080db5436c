//! A write under the same write id and with the same content is one write, however often it is asked for.

use std::time::Duration;

use quorum_node::store::StoreError;
use quorum_node::{Service, WriteFailed};

use crate::harness::mesh::{Mesh, missed, named, put, value, within};

async fn issued(service: &Service) -> u64 {
    service.status(false).await.expect("a readable store").writes_issued
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_write_is_executed_once() {
    let mesh = Mesh::start(3).await;
    let writer = mesh.service(0);
    let first = writer.write(named(1, put("a", "1"))).await.expect("committed");
    let again = writer.write(named(1, put("a", "1"))).await.expect("committed");
    assert_eq!((&first.version, &first.dot), (&again.version, &again.dot));
    assert_eq!(issued(&writer).await, 1);

    // Overwritten since: the retry must not bring the old value back.
    writer.write(named(2, put("a", "2"))).await.expect("committed");
    let late = writer.write(named(1, put("a", "1"))).await.expect("committed");
    assert_eq!(first.version, late.version);
    assert_eq!((value(&writer, "a").as_deref(), issued(&writer).await), (Some("2"), 2));
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_repeated_at_the_same_time_are_executed_once() {
    let mesh = Mesh::start(3).await;
    let writer = mesh.service(0);
    for round in 1..=5 {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let writer = writer.clone();
            all.spawn(
                async move { writer.write(named(round, put("a", &round.to_string()))).await },
            );
        }
        let receipts = all.join_all().await;
        let versions: Vec<_> =
            receipts.into_iter().map(|receipt| receipt.expect("committed").version).collect();
        assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "{versions:?}");
        assert_eq!(issued(&writer).await, u64::from(round));
    }
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_repeated_after_a_restart_is_executed_once() {
    let mut mesh = Mesh::start(3).await;
    let first = mesh.service(0).write(named(1, put("a", "1"))).await.expect("committed");
    mesh.stop(0).await;
    mesh.restart(0).await;
    mesh.linked().await;
    let writer = mesh.service(0);
    let again = writer.write(named(1, put("a", "1"))).await.expect("committed");
    assert_eq!(first.version, again.version);
    assert_eq!(issued(&writer).await, 0, "nothing was numbered since the start");
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_missed_its_quorum_is_committed_by_its_retry() {
    let mut mesh = Mesh::start(3).await;
    mesh.stop(1).await;
    mesh.stop(2).await;
    let writer = mesh.service(0);
    let short = within(Duration::from_millis(200), named(1, put("a", "1")));
    let (missed, _) = missed(writer.write(short).await);
    mesh.restart(1).await;
    let receipt = writer.write(named(1, put("a", "1"))).await.expect("committed by now");
    assert_eq!(receipt.version, missed.version);
    assert_eq!(issued(&writer).await, 1);
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_id_names_one_content() {
    let mut mesh = Mesh::start(3).await;
    let writer = mesh.service(0);
    writer.write(named(1, put("a", "1"))).await.expect("committed");
    for other in [put("a", "2"), put("b", "1")] {
        let outcome = writer.write(named(1, other)).await;
        let conflict = matches!(outcome, Err(WriteFailed::Refused(StoreError::IdConflict { .. })));
        assert!(conflict, "{outcome:?}");
    }
    // A handle on a stopped node keeps its socket.
    drop(writer);
    mesh.stop(0).await;
    mesh.restart(0).await;
    let writer = mesh.service(0);
    let outcome = writer.write(named(1, put("a", "2"))).await;
    let conflict = matches!(outcome, Err(WriteFailed::Refused(StoreError::IdConflict { .. })));
    assert!(conflict, "also after a restart: {outcome:?}");
    assert_eq!((value(&writer, "a").as_deref(), value(&writer, "b")), (Some("1"), None));
    mesh.stop_all().await;
}
