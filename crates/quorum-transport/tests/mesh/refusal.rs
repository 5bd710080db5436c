//! What a peer does not take: sent again if it may be taken later, a gap if not; nothing waits behind it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quorum_core::{Busy, Refusal, ReplicaStore, Reply, Standing, WriteError};
use quorum_transport::testing::{Loopback, eventually};

use crate::support::{Levers, Node, all, converged, running};

#[tokio::test]
async fn a_busy_peer_is_asked_again_and_its_copy_counts() {
    let (_mesh, nodes) = running(2).await;
    nodes[1].store.answer("k", Some(Reply::Busy { reason: Busy::Overload }));
    let (receipt, ()) = tokio::join!(nodes[0].commit("k", "v", 2), async {
        eventually("it was put off", || nodes[0].peer(&nodes[1].name).deferred == 1).await;
        nodes[1].store.answer("k", None);
    });
    assert_eq!(receipt.expect("committed in the end").got, 2);
    converged(&nodes).await;
}

#[tokio::test]
async fn a_refused_record_stays_a_gap_and_later_ones_go_on() {
    let (_mesh, nodes) = running(2).await;
    nodes[1].store.answer("bad", Some(Reply::Refused { reason: Refusal::Policy }));
    let refused = nodes[0].commit("bad", "v", 2).await.expect_err("refused");
    let WriteError::Indeterminate { receipt, .. } = refused else { panic!("{refused}") };
    assert!(
        receipt
            .missing()
            .any(|(_, standing)| { *standing == Standing::Refused { reason: Refusal::Policy } })
    );
    for number in 0..20 {
        nodes[0].commit(&format!("k{number}"), "v", 2).await.expect("what is behind goes on");
    }
    assert!(!nodes[1].store.has("bad"));
    let gaps = nodes[1].store.frontier();
    assert!(!gaps.covers(&nodes[0].store.frontier()));
    nodes[1].store.answer("bad", None);
    converged(&nodes).await;
}

#[tokio::test]
async fn a_record_larger_than_a_frame_is_refused_and_blocks_nothing() {
    let mut mesh = Loopback::new(2).expect("loopback sockets");
    mesh.config.frame_bytes_max = 64 << 10;
    let nodes = all(&mesh, 2).await;
    let refused = nodes[0].commit("large", vec![0; 65 << 10], 2).await.expect_err("too large");
    let WriteError::Indeterminate { receipt, .. } = refused else { panic!("{refused}") };
    assert!(
        receipt
            .missing()
            .any(|(_, standing)| { *standing == Standing::Refused { reason: Refusal::TooLarge } })
    );
    nodes[0].commit("small", "v", 2).await.expect("what is behind goes on");
    assert!(nodes[0].is_linked_to(&nodes[1].name), "the link survives");
}

#[tokio::test]
async fn a_full_list_of_put_off_records_empties_again() {
    let mut mesh = Loopback::new(2).expect("loopback sockets");
    mesh.config.retries_max = 4;
    let store = Levers::new(mesh.name(0));
    let second = Node::start(&mesh, 1, 2);
    for number in 0..20 {
        let key = format!("k{number}");
        store.write(&key, "v");
        second.store.answer(&key, Some(Reply::Busy { reason: Busy::Disk }));
    }
    let first = Node::over(&mesh, 0, 2, store);
    eventually("the list is full", || first.peer(&second.name).deferred >= 4).await;
    (0..20).for_each(|number| second.store.answer(&format!("k{number}"), None));
    converged(&[first, second]).await;
}

#[tokio::test]
async fn drift_is_final_and_counted() {
    let (_mesh, nodes) = running(2).await;
    nodes[1].store.answer("k", Some(Reply::Drift));
    let missed = nodes[0].commit("k", "v", 2).await.expect_err("drift is no ack");
    assert!(missed.to_string().contains("id_drift"), "{missed}");
    assert_eq!(nodes[0].heard.acks_of(&nodes[1].name), 0);
    assert!(nodes[1].store.offered.load(Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn a_store_that_panics_costs_one_connection_and_no_record() {
    let (_mesh, nodes) = running(2).await;
    nodes[1].store.panics.store(true, Ordering::Relaxed);
    let receipt = nodes[0].commit_within("k", "v", 2, Duration::from_secs(60)).await;
    assert_eq!(receipt.expect("asked again on the next connection").got, 2);
}
