//! A disk that went back in time is noticed, whoever dials, and a new incarnation is let in.

use quorum_core::{HandshakeRefusal, Incoming, ReplicaStore, Reply};
use quorum_transport::testing::{Loopback, Relay, eventually};

use crate::support::{Levers, Node, converged, empty};

/// Two nodes, the first in its second start and with records everywhere; then its disk goes back to its first start.
/// Relays let only the direction through that `dials` names.
async fn rolled_back(dials: usize) {
    let mut mesh = Loopback::new(2).expect("loopback sockets");
    let disk = empty(mesh.name(0), 1);
    disk.crash();
    let store = Levers::new(mesh.name(0));
    store.swap(disk);
    let (first, second) = (Node::over(&mesh, 0, 2, store), Node::start(&mesh, 1, 2));
    first.commit("k", "v", 2).await.expect("committed");
    first.stop().await;
    second.endpoint.shutdown(crate::support::GRACE).await;

    let nowhere = Relay::start(mesh.address(dials), 1).await.expect("a relay");
    nowhere.set(quorum_transport::testing::Faults::CUT);
    mesh.route(1 - dials, dials, nowhere.address());
    let first = Node::over(&mesh, 0, 2, Levers::new(mesh.name(0)));
    let second = Node::over(&mesh, 1, 2, second.store.clone());
    let mut told = first.endpoint.rolled_back();
    told.wait_for(|rolled_back| *rolled_back).await.expect("the endpoint lives");
    assert!(!*second.endpoint.rolled_back().borrow(), "the other disk is fine");
    if dials == 0 {
        first.refused_by(&second.name, HandshakeRefusal::RolledBack).await;
        assert!(second.heard.refusals(HandshakeRefusal::RolledBack) > 0);
    } else {
        second.refused_by(&first.name, HandshakeRefusal::RolledBack).await;
    }

    // Another incarnation, as its store says: let in, and brought up to date.
    first.store.swap(empty(mesh.name(0), 2));
    first.endpoint.reconnect();
    assert!(!*first.endpoint.rolled_back().borrow());
    if dials == 0 {
        first.commit("again", "v", 2).await.expect("committed");
    } else {
        // What it lacks it must ask for, and for that dial itself.
        nowhere.set(quorum_transport::testing::Faults::NONE);
        eventually("it has its record back", || first.store.has("k")).await;
    }
}

#[tokio::test]
async fn the_rolled_back_node_is_told_when_it_dials() {
    rolled_back(0).await;
}

#[tokio::test]
async fn the_rolled_back_node_is_told_when_it_is_dialled() {
    rolled_back(1).await;
}

/// A disk that went back to an earlier moment and was started anew: no start is missing, only records are.
#[tokio::test]
async fn a_node_that_lost_what_it_had_acknowledged_is_told() {
    let (mesh, mut nodes) = crate::support::running(2).await;
    nodes[0].commit("k", "v", 2).await.expect("committed");
    let second = nodes.pop().expect("two nodes");
    let first = nodes.pop().expect("two nodes");
    eventually("the ack is on record", || {
        let held = ReplicaStore::frontier(&*first.store);
        first.peer(&second.name).frontier.is_some_and(|known| known.covers(&held))
    })
    .await;
    let older = empty(&second.name, 1);
    older.crash();
    second.stop().await;

    let store = Levers::new(mesh.name(1));
    store.swap(older);
    let second = Node::over(&mesh, 1, 2, store);
    let mut told = second.endpoint.rolled_back();
    told.wait_for(|rolled_back| *rolled_back).await.expect("the endpoint lives");
    assert!(!*first.endpoint.rolled_back().borrow(), "the other disk is fine");

    second.store.swap(empty(&second.name, 2));
    second.endpoint.reconnect();
    eventually("it has its record back", || second.store.has("k")).await;
}

#[tokio::test]
async fn a_new_incarnation_replaces_the_old_one_on_every_link() {
    let (mesh, nodes) = crate::support::running(2).await;
    nodes[0].commit("old", "v", 2).await.expect("committed");
    nodes[0].store.swap(empty(mesh.name(0), 9));
    nodes[0].endpoint.reconnect();
    let expected = ReplicaStore::lineage(&*nodes[0].store);
    eventually("the peer has been told of the new lineage", || {
        nodes[1].peer(&nodes[0].name).lineage.as_ref() == Some(&expected)
    })
    .await;
    nodes[0].commit("new", "v", 2).await.expect("committed in the new lineage");
    converged(&nodes).await;
    assert!(nodes[0].store.has("old"));
}

/// Whoever remembers it was not there when the connection began: the peer hears of it later.
#[tokio::test]
async fn a_later_start_of_which_the_peer_learns_on_a_connection_that_stands_is_noticed() {
    let (mesh, nodes) = crate::support::running(2).await;
    let (first, second) = (&nodes[0], &nodes[1]);
    first.linked_to(&second.name).await;
    let (disk, later) = (empty(&first.name, 1), Levers::new(&first.name));
    disk.crash();
    later.swap(disk);
    let record = Some(later.write("k", "v"));
    let batch = vec![Incoming { record, ..Incoming::default() }];
    let applied = second.store.inner().apply(&first.name, batch).await;
    assert_eq!(applied.replies, [Reply::Stored]);
    let mut told = first.endpoint.rolled_back();
    told.wait_for(|rolled_back| *rolled_back).await.expect("the endpoint lives");
    assert!(!*second.endpoint.rolled_back().borrow(), "the other disk is fine");

    first.store.swap(empty(mesh.name(0), 2));
    first.endpoint.reconnect();
    eventually("it has its record back", || first.store.has("k")).await;
}
