//! A network that loses, delays, reorders, duplicates, corrupts and cuts.

use std::time::Duration;

use quorum_core::ReplicaStore;
use quorum_transport::testing::{Faults, Loopback, Relay, eventually};

use crate::support::{Node, all, converged};

/// Every directed pair through a relay of its own.
async fn relayed(n: usize, seed: u64) -> (Loopback, Vec<Relay>) {
    eprintln!("seed {seed}");
    let mut mesh = Loopback::new(n).expect("loopback sockets");
    let mut relays = Vec::new();
    for from in 0..n {
        for to in (0..n).filter(|to| *to != from) {
            let relay = Relay::start(mesh.address(to), seed ^ relays.len() as u64).await;
            let relay = relay.expect("a relay");
            mesh.route(from, to, relay.address());
            relays.push(relay);
        }
    }
    (mesh, relays)
}

#[tokio::test]
async fn all_nodes_converge_over_a_bad_network() {
    let (mesh, relays) = relayed(3, 0x5eed).await;
    let nodes = all(&mesh, 3).await;
    relays.iter().for_each(|relay| {
        relay.set(Faults {
            lost_percent: 20,
            duplicated_percent: 10,
            corrupted_percent: 5,
            late_percent: 20,
            late_by: Duration::from_millis(30),
            delay: Duration::from_millis(1),
            ..Faults::NONE
        });
    });
    for number in 0..60 {
        let node = &nodes[number % 3];
        let key = format!("k{}", number % 20);
        let _either_way_it_spreads =
            node.commit_within(&key, format!("v{number}"), 2, Duration::from_secs(20)).await;
    }
    converged(&nodes).await;
    for number in 0..20 {
        let key = format!("k{number}");
        let value = nodes[0].store.value(&key);
        assert!(value.is_some());
        assert!(nodes.iter().all(|node| node.store.value(&key) == value), "{key}");
    }
}

#[tokio::test]
async fn a_cut_link_comes_back_with_what_was_missed() {
    let (mesh, relays) = relayed(2, 7).await;
    let nodes = all(&mesh, 2).await;
    for faults in [
        Faults::CUT,
        Faults { cut_forth: true, ..Faults::NONE },
        Faults { cut_back: true, ..Faults::NONE },
    ] {
        relays.iter().for_each(|relay| relay.set(faults));
        let key = format!("{faults:?}");
        nodes[0].commit_within(&key, "v", 1, Duration::from_secs(10)).await.expect("one copy");
        eventually("both links are down", || {
            !nodes[0].is_linked_to(mesh.name(1)) && !nodes[1].is_linked_to(mesh.name(0))
        })
        .await;
        assert!(!nodes[1].store.has(&key) || faults.cut_back && !faults.cut_forth);
        relays.iter().for_each(|relay| relay.set(Faults::NONE));
        converged(&nodes).await;
        nodes[0].linked_to(mesh.name(1)).await;
        nodes[1].linked_to(mesh.name(0)).await;
    }
}

#[tokio::test]
async fn a_link_that_works_one_way_only_still_delivers_that_way() {
    let (mesh, relays) = relayed(2, 11).await;
    // The second node cannot dial the first; the first can dial the second.
    relays[1].set(Faults::CUT);
    let (first, second) = (Node::start(&mesh, 0, 2), Node::start(&mesh, 1, 2));
    first.commit("k", "v", 2).await.expect("committed over the link that works");
    second.store.write("back", "v");
    assert!(!second.is_linked_to(&first.name));
    relays[1].set(Faults::NONE);
    eventually("the other way works again", || first.store.has("back")).await;
    assert!(first.store.frontier().covers(&second.store.frontier()));
}
