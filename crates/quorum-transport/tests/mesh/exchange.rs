//! Whatever one member holds and another lacks gets there, also if whoever wrote it is gone; and it gets there once.

use quorum_core::{Busy, HandshakeRefusal, Recovery, ReplicaStore, Standing};
use quorum_transport::testing::{Faults, Loopback, Relay, eventually};

use crate::support::{GRACE, Levers, Node, converged, empty};

/// Records that this member has sent to others because they lacked them.
fn sent(node: &Node) -> u64 {
    node.endpoint.peers().iter().map(|peer| peer.repaired_records).sum()
}

/// Three members of which the first, which writes, cannot talk to the third.
async fn first_cut_off_from_third() -> (Loopback, [Node; 2], Relay) {
    let mut mesh = Loopback::new(3).expect("loopback sockets");
    let cut = Relay::start(mesh.address(2), 1).await.expect("a relay");
    cut.set(Faults::CUT);
    mesh.route(0, 2, cut.address());
    mesh.route(2, 0, cut.address());
    let (first, second) = (Node::start(&mesh, 0, 3), Node::start(&mesh, 1, 3));
    first.linked_to(&second.name).await;
    second.linked_to(&first.name).await;
    (mesh, [first, second], cut)
}

/// Without anti-entropy between third parties the third member would never hear of it.
#[tokio::test]
async fn the_writes_of_a_member_that_is_gone_for_good_spread_from_another() {
    let (mesh, [first, second], _cut) = first_cut_off_from_third().await;
    for index in 0..20 {
        first.commit(&format!("k{index}"), "v", 2).await.expect("committed with the second");
    }
    first.endpoint.shutdown(GRACE).await;
    let third = Node::start(&mesh, 2, 3);
    eventually("the third has everything", || {
        (0..20).all(|index| third.store.has(&format!("k{index}")))
    })
    .await;
    assert_eq!(sent(&second), 20, "each record once");
}

/// The coordinator lives and reaches the second only: nobody else would bring the third its writes.
#[tokio::test]
async fn what_its_coordinator_cannot_bring_is_asked_of_another() {
    let (mesh, [first, second], _cut) = first_cut_off_from_third().await;
    let third = Node::start(&mesh, 2, 3);
    first.commit("k", "v", 2).await.expect("committed with the second");
    eventually("the third has it", || third.store.has("k")).await;
    drop(second);
}

/// Two hold what a third lacks: both sending it would double the traffic of every repair.
#[tokio::test]
async fn what_two_hold_is_sent_by_one() {
    let mesh = Loopback::new(4).expect("loopback sockets");
    let nodes: Vec<Node> = (0..3).map(|index| Node::start(&mesh, index, 4)).collect();
    for index in 0..50 {
        nodes[0].commit(&format!("k{index}"), "v", 3).await.expect("committed");
    }
    let [first, second, third] = nodes.try_into().unwrap_or_else(|_| unreachable!("three nodes"));
    first.endpoint.shutdown(GRACE).await;
    let before = sent(&second) + sent(&third);
    let fourth = Node::start(&mesh, 3, 4);
    eventually("the fourth has everything", || {
        (0..50).all(|index| fourth.store.has(&format!("k{index}")))
    })
    .await;
    assert_eq!(sent(&second) + sent(&third) - before, 50, "each record once");
}

/// Of a key that was overwritten meanwhile only what it is now.
#[tokio::test]
async fn a_key_overwritten_a_hundred_times_is_sent_once() {
    let (mesh, [first, second], _cut) = first_cut_off_from_third().await;
    for index in 0..100 {
        first.commit("k", format!("v{index}"), 2).await.expect("committed with the second");
    }
    first.endpoint.shutdown(GRACE).await;
    let third = Node::start(&mesh, 2, 3);
    let held = second.store.frontier();
    eventually("the third has everything", || third.store.frontier().covers(&held)).await;
    assert_eq!(third.store.value("k").as_deref(), Some("v99"));
    assert_eq!(sent(&second), 1);
}

/// A member that lost its disk comes back as another incarnation and gets everything again, from one member.
#[tokio::test]
async fn a_wiped_member_is_refilled_once_and_not_by_everybody() {
    let (mesh, mut nodes) = crate::support::running(3).await;
    for index in 0..60 {
        let writer = &nodes[index % 3];
        writer.commit(&format!("k{index}"), "v", 3).await.expect("committed");
    }
    converged(&nodes).await;
    let third = nodes.pop().expect("three nodes");
    let before: u64 = nodes.iter().map(sent).sum();
    // What everybody has is no longer in the log.
    for node in &nodes {
        node.store.trimmed.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    third.stop().await;
    let third = Node::over(&mesh, 2, 3, Levers::with_incarnation(mesh.name(2), 2));
    let held = nodes[0].store.frontier();
    eventually("it has everything again", || third.store.frontier().covers(&held)).await;
    assert!((0..60).all(|index| third.store.has(&format!("k{index}"))));
    let after: u64 = nodes.iter().map(sent).sum();
    assert_eq!(after - before, 60, "one snapshot, from one member");
}

/// A connection that breaks in the middle of an exchange leaves no gap that anybody forgets.
#[tokio::test]
async fn an_interrupted_exchange_goes_on_where_it_was() {
    let mut mesh = Loopback::new(3).expect("loopback sockets");
    (mesh.config.catch_up_bytes_per_second, mesh.config.catch_up_chunk_bytes) = (20_000, 4_000);
    mesh.config.idle_timeout = std::time::Duration::from_millis(300);
    mesh.config.keep_alive = std::time::Duration::from_millis(100);
    let wire = Relay::start(mesh.address(2), 1).await.expect("a relay");
    mesh.route(1, 2, wire.address());
    let (first, second) = (Node::start(&mesh, 0, 3), Node::start(&mesh, 1, 3));
    for index in 0..60 {
        first.commit(&format!("k{index}"), vec![7; 1_000], 2).await.expect("committed");
    }
    first.endpoint.shutdown(GRACE).await;
    let third = Node::start(&mesh, 2, 3);
    let has = |count: usize| {
        (0..60).filter(|index| third.store.has(&format!("k{index}"))).count() >= count
    };
    eventually("a part is there", || has(10)).await;
    wire.set(Faults::CUT);
    eventually("the link breaks", || !second.is_linked_to(&third.name)).await;
    assert!(!has(60), "not everything came before");
    wire.set(Faults::NONE);
    eventually("the rest comes", || has(60)).await;
    assert!(third.store.frontier().covers(&second.store.frontier()));
}

/// A copy on a member that has lost what it acknowledged is a copy, but it does not count: the quorum it would complete
/// is one that no reader can rely on.
#[tokio::test]
async fn a_member_that_is_recovering_does_not_count() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let (first, second) = (Node::start(&mesh, 0, 2), Levers::new(mesh.name(1)));
    second.announcement.lock().recovery = Recovery::Recovering;
    let second = Node::over(&mesh, 1, 2, second);
    first.linked_to(&second.name).await;
    let short = std::time::Duration::from_millis(300);
    let error = first.commit_within("k", "v", 2, short).await.expect_err("no quorum");
    let quorum_core::WriteError::Indeterminate { receipt, .. } = error else { panic!("{error}") };
    let standing = receipt.members.iter().find(|member| member.node == second.name);
    let standing = &standing.expect("a member").standing;
    assert!(matches!(standing, Standing::Busy { reason: Busy::Recovering, .. }), "{standing:?}");
    eventually("it has the record all the same", || second.store.has("k")).await;

    second.store.announcement.lock().recovery = Recovery::Complete;
    eventually("it counts again", || first.peer(&second.name).counts).await;
    first.commit("k", "w", 2).await.expect("committed");
}

/// It does not count before it is known whether it lived before, and its former acks are gone with its disk.
#[tokio::test]
async fn an_ack_is_withdrawn_when_its_member_comes_back_without_its_disk() {
    let (mesh, mut nodes) = crate::support::running(3).await;
    let third = nodes.pop().expect("three nodes");
    third.stop().await;
    let (first, second) = (&nodes[0], &nodes[1]);
    let timeout = std::time::Duration::from_secs(3);
    let write = first.commit_within("k", "v", 3, timeout);
    let wipe = async {
        eventually("the second has acknowledged", || first.heard.acks_of(&second.name) == 1).await;
        second.store.announcement.lock().recovery = Recovery::New;
        second.store.swap(empty(&second.name, 9));
        second.endpoint.reconnect();
    };
    let (outcome, ()) = tokio::join!(write, wipe);
    let quorum_core::WriteError::Indeterminate { receipt, .. } = outcome.expect_err("no quorum")
    else {
        panic!("indeterminate")
    };
    assert_eq!(receipt.got, 1, "the ack of the former life is taken back: {receipt:?}");
    drop(mesh);
}

/// The life of a member that an operator has declared gone is not let in, and told why.
#[tokio::test]
async fn a_forgotten_life_is_refused_and_told_so() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let (first, second) = (Levers::new(mesh.name(0)), Levers::new(mesh.name(1)));
    let forgotten = ReplicaStore::lineage(&*second).origin;
    first.announcement.lock().forgotten = vec![forgotten];
    let (first, second) = (Node::over(&mesh, 0, 2, first), Node::over(&mesh, 1, 2, second));
    second.store.write("zombie", "v");
    second.refused_by(&first.name, HandshakeRefusal::Forgotten).await;
    let mut told = second.endpoint.forgotten();
    told.wait_for(|forgotten| *forgotten).await.expect("the endpoint lives");
    assert!(!first.store.has("zombie"));
}
