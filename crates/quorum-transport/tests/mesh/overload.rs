//! A slow peer costs bounded memory: what does not fit into its queue waits in the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorum_core::{ReplicaStore, Reply};
use quorum_transport::testing::{Loopback, eventually};

use crate::support::{GRACE, all, converged, running};

#[tokio::test]
async fn the_live_queue_overflows_into_the_log() {
    const QUEUE: usize = 20_000;
    // One write at a time has a writer that still waits, so it goes again although there is no room.
    const AGAIN: usize = 1_200;
    let mut mesh = Loopback::new(2).expect("loopback sockets");
    mesh.config.live_queue_bytes_max = QUEUE;
    mesh.config.stream_window_bytes = 4_000;
    mesh.config.connection_window_bytes = 8_000;
    mesh.config.batch_bytes_max = 2_000;
    let nodes = all(&mesh, 2).await;
    let (first, second) = (&nodes[0], &nodes[1]);
    second.store.blocked.send_replace(true);
    let mut queued_max = 0;
    for number in 0..300 {
        let key = format!("k{number}");
        first.commit_within(&key, vec![b'x'; 1_000], 1, GRACE).await.expect("one copy is enough");
        queued_max = queued_max.max(first.peer(&second.name).queued_bytes);
    }
    assert!(queued_max <= QUEUE + AGAIN, "{queued_max} bytes were queued");
    assert!(queued_max > QUEUE / 2, "{queued_max} bytes: the queue was never full");
    second.store.blocked.send_replace(false);
    converged(&nodes).await;
    assert_eq!(first.peer(&second.name).queued_bytes, 0);
}

/// Writes of one key that did not fit into the queue, and were overwritten here before the log was read for the peer: nobody
/// sends them any more, and their writers must hear that, not wait for a word that never comes.
#[tokio::test]
async fn a_write_that_is_overwritten_before_it_is_sent_is_answered_all_the_same() {
    const WRITES: u64 = 60;
    let mut mesh = Loopback::new(2).expect("loopback sockets");
    mesh.config.live_queue_bytes_max = 20_000;
    mesh.config.stream_window_bytes = 4_000;
    mesh.config.connection_window_bytes = 8_000;
    mesh.config.batch_bytes_max = 2_000;
    let mut nodes = all(&mesh, 2).await;
    let second = nodes.pop().expect("two nodes");
    let first = Arc::new(nodes.pop().expect("two nodes"));
    second.store.blocked.send_replace(true);
    let mut writes = tokio::task::JoinSet::new();
    for _ in 0..WRITES {
        let first = Arc::clone(&first);
        writes.spawn(async move {
            first.commit_within("k", vec![b'x'; 1_000], 2, Duration::from_secs(30)).await
        });
    }
    eventually("all are durable here", || first.store.frontier().len() >= WRITES).await;
    second.store.blocked.send_replace(false);
    while let Some(written) = writes.join_next().await {
        written.expect("no panic").expect("the peer answers every write");
    }
}

#[tokio::test]
async fn one_blocked_peer_delays_nobody_who_has_enough_others() {
    let (_mesh, nodes) = running(3).await;
    nodes[2].store.blocked.send_replace(true);
    for number in 0..50 {
        nodes[0].commit(&format!("k{number}"), "v", 2).await.expect("two of three answer");
    }
    assert!(!nodes[2].store.has("k0"));
    nodes[2].store.blocked.send_replace(false);
    converged(&nodes).await;
}

#[tokio::test]
async fn writes_whose_writer_has_gone_are_not_kept_for_a_peer_that_is_down() {
    let mut mesh = Loopback::new(2).expect("loopback sockets");
    mesh.config.live_queue_bytes_max = 1 << 20;
    let first = crate::support::Node::start(&mesh, 0, 2);
    let before = resident_bytes();
    for number in 0..400 {
        // The same key over and over: the store itself keeps one value.
        let value = vec![number as u8; 256 << 10];
        first.commit_within("k", value, 1, Duration::from_secs(10)).await.expect("one copy");
    }
    let grown = resident_bytes().saturating_sub(before);
    eprintln!("100 MiB written to a mesh whose peer is down: {} KiB grown", grown >> 10);
    assert!(grown < 60 << 20, "{grown} bytes grown");
}

#[tokio::test]
async fn a_reply_counts_only_on_the_connection_on_which_the_record_was_sent() {
    let (_mesh, nodes) = running(2).await;
    let (first, second) = (&nodes[0], &nodes[1]);
    second.store.blocked.send_replace(true);
    let (receipt, ()) = tokio::join!(first.commit("k", "v", 2), async {
        eventually("the batch is with the store", || {
            second.store.waiting.load(Ordering::Relaxed) == 1
        })
        .await;
        // A new connection: what the old one still applies is not answered there.
        first.endpoint.reconnect();
        eventually("the old link is down", || !first.is_linked_to(&second.name)).await;
        assert_eq!(first.heard.acks_of(&second.name), 0);
        // Not welcomed anew before the batch of the old connection has ended.
        eventually("the next welcome is waited for", || {
            first.peer(&second.name).last_error.is_some_and(|error| error.contains("no answer"))
        })
        .await;
        assert!(!second.store.has("k"));
        second.store.answer("other", Some(Reply::Stored));
        second.store.blocked.send_replace(false);
    });
    assert_eq!(receipt.expect("asked again").got, 2);
    assert_eq!(first.heard.acks_of(&second.name), 1, "once, on the new connection");
    assert!(second.store.frontier().covers(&first.store.frontier()));
}

/// Pages of 4 KiB, as the kernel counts them.
pub(crate) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split_whitespace().nth(1).expect("resident pages");
    pages.parse::<usize>().expect("a number") * 4_096
}
