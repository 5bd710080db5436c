//! Start, skew probes, shutdown.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorum_core::{Clock, Sleep};
use quorum_transport::testing::{Loopback, eventually};
use quorum_transport::{Endpoint, TokioClock, TransportError};

use crate::support::{GRACE, Heard, Levers, Node, running};

/// A clock whose wall is ten minutes ahead.
struct Ahead;

const AHEAD: Duration = Duration::from_secs(600);

impl Clock for Ahead {
    fn now(&self) -> Instant {
        TokioClock::new().now()
    }

    fn wall(&self) -> Duration {
        TokioClock::new().wall() + AHEAD
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        TokioClock::new().sleep_until(at)
    }
}

#[tokio::test]
async fn a_peer_whose_clock_is_ahead_is_measured_so() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let first = Node::start(&mesh, 0, 2);
    let (store, heard) = (Levers::new(mesh.name(1)), Arc::new(Heard::default()));
    let mut seams = mesh.seams(1, heard.clone()).expect("a socket");
    seams.clock = Arc::new(Ahead);
    let identity = mesh.authority.issue("n2").identity(&[&mesh.authority]).expect("usable");
    let endpoint =
        Endpoint::start(mesh.roster(1), &identity, mesh.config.clone(), seams, store.clone());
    let second = Node::around(&mesh, 1, 2, store, heard, endpoint.expect("the node starts"));
    let offset = |of: &Node, to: &Node| of.peer(&to.name).clock_offset;
    eventually("both have measured", || {
        offset(&first, &second).is_some() && offset(&second, &first).is_some()
    })
    .await;
    let (there, back) = (offset(&first, &second), offset(&second, &first));
    let (there, back) = (there.expect("measured"), back.expect("measured"));
    assert!(there.is_ahead() && !back.is_ahead());
    for offset in [there, back] {
        // Wrong by at most half of a round trip, however slow the machine.
        assert!(offset.magnitude().abs_diff(AHEAD) < Duration::from_secs(30), "{offset:?}");
    }
}

#[tokio::test]
async fn a_graceful_shutdown_answers_what_is_being_applied() {
    let (_mesh, nodes) = running(2).await;
    let (first, second) = (&nodes[0], &nodes[1]);
    second.store.blocked.send_replace(true);
    let (receipt, (), ()) = tokio::join!(
        first.commit("k", "v", 2),
        async {
            eventually("the batch is with the store", || {
                second.store.waiting.load(Ordering::Relaxed) == 1
            })
            .await;
            second.endpoint.shutdown(GRACE).await;
        },
        async {
            let waiting = || second.store.waiting.load(Ordering::Relaxed) == 1;
            eventually("the batch is with the store", waiting).await;
            // By then the second node has begun to stop: its own links are down.
            eventually("it is stopping", || !second.is_linked_to(&first.name)).await;
            second.store.blocked.send_replace(false);
        },
    );
    assert_eq!(receipt.expect("answered before the goodbye").got, 2);
}

#[tokio::test]
async fn a_store_that_hangs_does_not_hold_shutdown_up() {
    let (_mesh, nodes) = running(2).await;
    let (first, second) = (&nodes[0], &nodes[1]);
    second.store.blocked.send_replace(true);
    first.commit("k", "v", 1).await.expect("one copy is enough");
    eventually("the batch is with the store", || second.store.waiting.load(Ordering::Relaxed) == 1)
        .await;
    let stopping = second.endpoint.shutdown(Duration::from_millis(100));
    tokio::time::timeout(Duration::from_secs(30), stopping).await.expect("it ends all the same");
    eventually("the peer has noticed", || !first.is_linked_to(&second.name)).await;
}

#[tokio::test]
async fn dropping_an_endpoint_cuts_its_connections_and_ends_its_tasks() {
    let (mesh, mut nodes) = running(2).await;
    let second = nodes.remove(1);
    let store = Arc::downgrade(&second.store);
    drop(second);
    eventually("the peer has noticed", || !nodes[0].is_linked_to(mesh.name(1))).await;
    eventually("no task holds the store", || store.strong_count() == 0).await;
}

#[tokio::test]
async fn a_node_does_not_start_with_the_certificate_of_another() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let identity = mesh.authority.issue("n2").identity(&[&mesh.authority]).expect("usable");
    let seams = mesh.seams(0, Arc::new(Heard::default())).expect("a socket");
    let store = Levers::new(mesh.name(0));
    let refused = Endpoint::start(mesh.roster(0), &identity, mesh.config, seams, store);
    assert!(matches!(refused, Err(TransportError::IdentityName { .. })));
}

/// What it says that it holds may be less than what it finds when it is started again.
#[tokio::test]
async fn a_member_whose_store_has_failed_is_linked_to_nobody() {
    let (_mesh, nodes) = running(2).await;
    let (first, second) = (&nodes[0], &nodes[1]);
    let says_so = |of: &Node, to: &Node| {
        let error = of.peer(&to.name).last_error;
        error.is_some_and(|error| error.contains("store has failed"))
    };
    first.linked_to(&second.name).await;
    second.store.failed.store(true, Ordering::Relaxed);
    eventually("the next probe is not answered", || says_so(first, second)).await;
    second.endpoint.reconnect();
    eventually("nor does it say hello", || says_so(second, first)).await;
    second.store.failed.store(false, Ordering::Relaxed);
    first.linked_to(&second.name).await;
    second.linked_to(&first.name).await;
}

#[tokio::test]
async fn a_member_whose_store_has_failed_welcomes_nobody() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let (first, second) = (Node::start(&mesh, 0, 2), Levers::new(mesh.name(1)));
    second.failed.store(true, Ordering::Relaxed);
    let second = Node::over(&mesh, 1, 2, second);
    eventually("it is told so", || {
        let error = first.peer(&second.name).last_error;
        error.is_some_and(|error| error.contains("store has failed"))
    })
    .await;
    assert!(first.peer(&second.name).frontier.is_none(), "nothing was said of what it holds");
    assert!(second.store.announced.lock().is_empty(), "nor is it told what it cannot remember");
}
