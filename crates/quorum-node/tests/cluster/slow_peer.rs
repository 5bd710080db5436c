//! One peer that stands still delays nobody, and what it misses waits on disk rather than in memory.

use serde_json::Value;

use crate::harness::load::{Load, Told, check};
use crate::harness::process::Cluster;

/// What may wait in memory for one peer.
const QUEUE_BYTES: u64 = 64 << 10;
/// Far more than the queue and everything that QUIC has under way for a peer.
const BACKLOG_WRITES: usize = 700;
const VALUE_BYTES: usize = 16 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stands_still_delays_nobody_and_takes_no_memory() {
    // The link must not be given up meanwhile: that would empty the queue.
    let settings = ["peer.live_queue_bytes=64KiB", "peer.idle_timeout=10m"];
    let cluster = Cluster::start(3, &settings).await;
    let (writer, slow) = (&cluster.nodes[0], &cluster.nodes[2]);
    slow.signal("STOP");
    let load = Load::start(4, vec![writer.http], VALUE_BYTES, "?timeout=60s");
    let mut queued_max = 0;
    while load.committed() < BACKLOG_WRITES {
        load.commits(20).await;
        let peers = writer.json("/v1/peers").await;
        let of_slow = |peer: &&Value| peer["node"] == "n3";
        let peer = peers.as_array().and_then(|peers| peers.iter().find(of_slow).cloned());
        let peer = peer.expect("n3 is a peer of n1");
        assert_eq!(peer["connected"], true, "{peer}");
        queued_max = queued_max.max(peer["queued_bytes"].as_u64().expect("a number"));
    }
    let written = load.finish().await;
    for written in &written {
        assert_eq!(written.told, Told::Committed, "{}; log:\n{}", written.key, writer.log());
    }
    assert!((1..=QUEUE_BYTES).contains(&queued_max), "{queued_max} bytes queued");

    slow.signal("CONT");
    cluster.linked().await;
    cluster.converged().await;
    check(&written, &slow.export().await);
}
