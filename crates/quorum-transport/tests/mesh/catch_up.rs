//! A peer that was away gets what it missed: from the log, or everything if the log has been trimmed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorum_core::testing::block_on;
use quorum_core::{LogSource, Refusal, ReplicaStore, Reply};
use quorum_transport::testing::{Loopback, eventually};

use crate::support::{GRACE, Levers, Node, all, converged, empty, running};

#[tokio::test]
async fn a_record_written_while_a_peer_was_down_reaches_it_from_the_log() {
    let mesh = Loopback::new(3).expect("loopback sockets");
    let (first, second) = (Node::start(&mesh, 0, 3), Node::start(&mesh, 1, 3));
    first.linked_to(&second.name).await;
    first.commit("early", "v", 2).await.expect("two of three are up");
    let third = Node::start(&mesh, 2, 3);
    eventually("the late node has the early record", || third.store.has("early")).await;
    converged(&[first, second, third]).await;
}

#[tokio::test]
async fn a_peer_that_comes_back_is_used_soon_and_asked_for_what_is_undecided() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let first = Node::start(&mesh, 0, 2);
    // Nobody answers yet: the write waits for its quorum, and gets it from the peer that appears.
    let started = Instant::now();
    let (receipt, second) = tokio::join!(first.commit("k", "v", 2), async {
        eventually("the link has failed at least once", || {
            first.peer(mesh.name(1)).last_error.is_some()
        })
        .await;
        Node::start(&mesh, 1, 2)
    });
    assert_eq!(receipt.expect("committed").got, 2);
    eprintln!("committed {:?} after the first attempt began", started.elapsed());
    assert!(second.store.has("k"));
}

#[tokio::test]
async fn the_dialling_side_may_restart() {
    let (mesh, mut nodes) = running(2).await;
    nodes[0].commit("before", "v", 2).await.expect("committed");
    let store = nodes.remove(0).stop().await;
    store.inner().crash();
    store.write("between", "v");
    let first = Node::over(&mesh, 0, 2, store);
    first.commit("after", "v", 2).await.expect("committed");
    let second = &nodes[0].store;
    eventually("everything is there", || {
        ["before", "between", "after"].iter().all(|key| second.has(key))
    })
    .await;
}

#[tokio::test]
async fn a_trimmed_log_is_replaced_by_everything() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let store = Levers::new(mesh.name(0));
    for number in 0..50 {
        store.write(&format!("k{number}"), "v");
    }
    store.trimmed.store(true, Ordering::Relaxed);
    let (first, second) = (Node::over(&mesh, 0, 2, store), Node::start(&mesh, 1, 2));
    eventually("the frontier has been claimed", || {
        second.store.frontier().covers(&first.store.frontier())
    })
    .await;
    assert!((0..50).all(|number| second.store.has(&format!("k{number}"))));
    assert!(first.store.snapshot_pages.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_frontier_is_not_claimed_over_a_record_that_was_refused() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let store = Levers::new(mesh.name(0));
    for key in ["good", "bad"] {
        store.write(key, "v");
    }
    store.trimmed.store(true, Ordering::Relaxed);
    let second = Node::start(&mesh, 1, 2);
    second.store.answer("bad", Some(Reply::Refused { reason: Refusal::Policy }));
    let first = Node::over(&mesh, 0, 2, store);
    // Tried again and again, with pauses, and never claimed.
    let pages = || first.store.snapshot_pages.load(Ordering::Relaxed);
    eventually("the snapshot was tried three times", || pages() >= 3).await;
    assert!(second.store.has("good") && !second.store.has("bad"));
    assert!(!second.store.frontier().covers(&first.store.frontier()));
    assert!(pages() < 20, "{} snapshots: the pause is missing", pages());
    second.store.answer("bad", None);
    eventually("it is claimed once all is there", || {
        second.store.frontier().covers(&first.store.frontier())
    })
    .await;
}

/// The one that may send everything cannot read it. It must not keep the place for that, nor spin.
#[tokio::test]
async fn whoever_cannot_read_what_it_should_send_makes_room_for_another() {
    let mesh = Loopback::new(3).expect("loopback sockets");
    let stores = [Levers::new(mesh.name(0)), Levers::new(mesh.name(1))];
    for number in 0..50 {
        stores.iter().for_each(|store| drop(store.write(&format!("k{number}"), "v")));
    }
    for store in &stores {
        store.trimmed.store(true, Ordering::Relaxed);
    }
    stores[0].unreadable.store(true, Ordering::Relaxed);
    let [damaged, sound] = stores;
    let first = Node::over(&mesh, 0, 3, damaged);
    let third = Node::start(&mesh, 2, 3);
    let pages = || first.store.snapshot_pages.load(Ordering::Relaxed);
    eventually("it tries", || pages() > 0).await;
    let second = Node::over(&mesh, 1, 3, sound);
    eventually("the other one brings what it has", || {
        third.store.frontier().covers(&second.store.frontier())
    })
    .await;
    assert!(pages() < 20, "{} attempts: the pause is missing", pages());
    first.store.unreadable.store(false, Ordering::Relaxed);
    eventually("it goes on once it can read", || {
        third.store.frontier().covers(&first.store.frontier())
    })
    .await;
}

#[tokio::test]
async fn an_origin_takes_back_its_own_tail() {
    let mut mesh = Loopback::new(2).expect("loopback sockets");
    // It never says of its own writes that they are durable: to say so and lose them would be a disk that went back.
    mesh.config.probe_interval = Duration::from_secs(3_600);
    let mut nodes = all(&mesh, 2).await;
    let is_probed =
        |one: usize, other: usize| nodes[one].peer(mesh.name(other)).round_trip.is_some();
    eventually("the first probes are answered", || is_probed(0, 1) && is_probed(1, 0)).await;
    for number in 0..10 {
        nodes[0].commit(&format!("k{number}"), "v", 2).await.expect("committed");
    }
    let first = nodes.remove(0);
    let before = first.store.frontier();
    first.stop().await;
    // The disk that comes back has lost the end of its log, and knows that it was started before.
    let disk = empty(mesh.name(0), 1);
    disk.crash();
    let lost = Levers::new(mesh.name(0));
    lost.swap(disk);
    let first = Node::over(&mesh, 0, 2, lost);
    eventually("the tail is back", || first.store.frontier().covers(&before)).await;
    assert!(first.store.has("k9"));
}

#[tokio::test]
async fn an_overwritten_record_is_replaced_by_its_successor_even_if_refused_for_a_while() {
    let mesh = Loopback::new(3).expect("loopback sockets");
    let third = Node::start(&mesh, 2, 3);
    third.store.answer("k", Some(Reply::Refused { reason: Refusal::Policy }));
    let (one, two) = (Levers::new(mesh.name(0)), Levers::new(mesh.name(1)));
    one.write("k", "old");
    let newer = two.write("k", "new");
    // The first node knows its own record only as overwritten by the other's.
    let item = quorum_core::Incoming { record: Some(newer), ..quorum_core::Incoming::default() };
    block_on(one.apply(mesh.name(1), vec![item]));
    let (first, second) = (Node::over(&mesh, 0, 3, one), Node::over(&mesh, 1, 3, two));
    let offered = || third.store.offered.load(Ordering::Relaxed);
    eventually("both have offered it, twice", || offered() >= 4).await;
    let (before, started) = (offered(), Instant::now());
    eventually("half a second has passed", || started.elapsed().as_millis() > 500).await;
    let more = offered() - before;
    assert!(more < 50, "{more} offers of a refused record in half a second");
    third.store.answer("k", None);
    converged(&[first, second, third]).await;
}

#[tokio::test]
async fn a_relaxed_copy_is_not_sent_again_and_again() {
    let (_mesh, nodes) = running(2).await;
    let store = &nodes[1].store;
    store.unsynced.store(true, Ordering::Relaxed);
    nodes[0].commit("k", "v", 2).await.expect("a relaxed copy counts as it was asked for");
    let held = nodes[0].store.frontier();
    eventually("the peer's frontier was told", || {
        let known = nodes[0].peer(&nodes[1].name).frontier;
        known.is_some_and(|known| known.covers(&held))
    })
    .await;
    assert_eq!(store.offered.load(Ordering::Relaxed), 1);
    // Nothing is under way any more, so shutdown does not use up its grace.
    let started = Instant::now();
    nodes[0].endpoint.shutdown(GRACE).await;
    assert!(started.elapsed() < GRACE);
}

#[tokio::test]
async fn a_page_at_a_time_is_enough() {
    let mesh = {
        let mut mesh = Loopback::new(2).expect("loopback sockets");
        mesh.config.catch_up_chunk_bytes = 64;
        mesh
    };
    let store = Levers::new(mesh.name(0));
    for number in 0..200 {
        store.write(&format!("k{number}"), "some value");
    }
    let whole = store.inner().snapshot(None, usize::MAX).await.0.len();
    assert_eq!(whole, 200);
    converged(&[Node::over(&mesh, 0, 2, store), Node::start(&mesh, 1, 2)]).await;
}
