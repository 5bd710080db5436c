//! Numbers that were given out and lost in a crash are closed once all members are back, and the log behind them goes.

use quorum_node::config::NodeSection;

use crate::harness::load::{Load, check};
use crate::harness::metrics::sample;
use crate::harness::process::Cluster;
use crate::harness::random::Seeded;
use crate::harness::{store, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_crashes_again_and_again_leaves_no_gap_and_no_log_behind() {
    let mut random = Seeded::announced("crash the coordinator");
    let mut cluster = Cluster::start(3, &[]).await;
    let mut written = Vec::new();
    for _ in 0..8 {
        let load = Load::start(8, vec![cluster.nodes[0].http], 200, "?timeout=5s");
        load.commits(1 + random.below(60)).await;
        cluster.nodes[0].kill();
        written.extend(load.finish().await);
        cluster.nodes[0].start();
    }
    cluster.linked().await;
    cluster.converged().await;
    for node in &cluster.nodes {
        check(&written, &node.export().await);
        let mut others =
            ["n1", "n2", "n3"].into_iter().filter(|name| !node.directory.ends_with(name));
        let peers = [others.next(), others.next()].map(|name| name.expect("two peers"));
        until("no peer lacks anything", async || {
            let metrics = node.metrics().await;
            let lag = |peer| {
                sample(&metrics, &format!(r#"replication_frontier_lag_writes{{peer="{peer}"}}"#))
            };
            peers.into_iter().all(|peer| lag(peer) == Some(0.0))
        })
        .await;
    }

    let identity = NodeSection::new("n1".parse().expect("a name")).cluster_id();
    // Gaps are closed and the log is trimmed every few seconds, by what members told each other until then.
    const ROUNDS_SECONDS: u64 = 8;
    until("the gaps are closed and the log is trimmed", async || {
        until("a few rounds have passed", async || {
            let status = cluster.nodes[0].json("/v1/status").await;
            status["uptime_seconds"].as_u64().is_some_and(|uptime| uptime >= ROUNDS_SECONDS)
        })
        .await;
        cluster.nodes[0].stop();
        let found = store::inspect(&cluster.nodes[0].data_dir(), identity, "n1").await;
        let own = found.frontier.iter().filter(|(lineage, _)| lineage.origin.node.as_str() == "n1");
        let (lineages, gaps) = own.fold((0, 0), |(lineages, gaps), (_, held)| {
            (lineages + 1, gaps + held.gaps().interval_count())
        });
        assert!(lineages >= 8, "{lineages} starts wrote something");
        println!("{gaps} gaps; still in the log: {:?}", found.untrimmed);
        cluster.nodes[0].start();
        cluster.linked().await;
        gaps == 0 && found.untrimmed.is_empty()
    })
    .await;
}
