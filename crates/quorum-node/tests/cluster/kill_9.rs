//! `kill -9` at any moment, of any member, loses no write that was acknowledged.

use crate::harness::load::{Load, check};
use crate::harness::process::Cluster;
use crate::harness::random::Seeded;

/// Short enough that a client whose node lost its quorum soon tries another.
const PARAMETERS: &str = "?timeout=5s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_members_are_killed_under_load() {
    let mut random = Seeded::announced("kill members one at a time");
    let mut cluster = Cluster::start(3, &[]).await;
    let targets: Vec<_> = cluster.nodes.iter().map(|node| node.http).collect();
    let load = Load::start(6, targets, 200, PARAMETERS);
    for _ in 0..5 {
        load.commits(1 + random.below(150)).await;
        // Every client writes through every node in turn, so this is a coordinator and a peer at once.
        let victim = random.below(3);
        cluster.nodes[victim].kill();
        // The other two are a quorum.
        load.commits(1 + random.below(50)).await;
        cluster.nodes[victim].start();
    }
    load.commits(20).await;
    let written = load.finish().await;
    cluster.linked().await;
    cluster.converged().await;
    for node in &cluster.nodes {
        check(&written, &node.export().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_all_members_are_killed_at_once() {
    let mut random = Seeded::announced("kill all members");
    let mut cluster = Cluster::start(3, &[]).await;
    let mut written = Vec::new();
    for _ in 0..2 {
        let targets: Vec<_> = cluster.nodes.iter().map(|node| node.http).collect();
        let load = Load::start(6, targets, 200, PARAMETERS);
        load.commits(1 + random.below(200)).await;
        cluster.nodes.iter_mut().for_each(|node| node.kill());
        written.extend(load.finish().await);
        cluster.nodes.iter_mut().for_each(|node| node.start());
        cluster.linked().await;
    }
    cluster.converged().await;
    for node in &cluster.nodes {
        check(&written, &node.export().await);
    }
}
