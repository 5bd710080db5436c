//! Whatever happens meanwhile, members that can talk to each other again hold the same, within seconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorum_core::Clock;
use quorum_transport::TokioClock;

use crate::clock::SteppedClock;
use crate::harness::http;
use crate::harness::load::{Load, check};
use crate::harness::mesh::Mesh;
use crate::harness::process::{Cluster, export};
use crate::harness::random::Seeded;
use crate::harness::until;
use crate::harness::wires::Wires;

/// Clients write the same keys through all members while members are cut off and killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_end_identical_after_partitions_and_crashes_under_concurrent_writes() {
    let mut random = Seeded::announced("partitions and crashes");
    let mut cluster = Cluster::init(3, &[]);
    let wires = Wires::between(&cluster, random.below(1 << 30) as u64).await;
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.linked().await;
    let targets: Vec<_> = cluster.nodes.iter().map(|node| node.http).collect();
    let load = Load::start(6, targets, 100, "?timeout=500ms");
    for _ in 0..4 {
        let victim = random.below(3);
        load.commits(1 + random.below(80)).await;
        match random.below(3) {
            0 => wires.isolate(victim),
            1 => wires.cut(victim, (victim + 1) % 3),
            _ => cluster.nodes[victim].kill(),
        }
        load.commits(1 + random.below(80)).await;
        wires.heal();
        if !cluster.nodes[victim].is_running() {
            cluster.nodes[victim].start();
        }
    }
    let written = load.finish().await;
    cluster.linked().await;
    cluster.converged().await;
    for node in &cluster.nodes {
        check(&written, &node.export().await);
    }
}

/// Clients write the same keys through all members while the clock of one is stepped by ten minutes, both ways. That
/// member takes no writes and says why; nobody loses one, and all end identical.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_end_identical_after_a_clock_was_stepped_under_concurrent_writes() {
    let stepped = Arc::new(SteppedClock::default());
    let clock_of = |index| -> Arc<dyn Clock> {
        if index == 1 { stepped.clone() } else { Arc::new(TokioClock::new()) }
    };
    let mesh = Mesh::start_on(3, |_| {}, clock_of).await;
    let targets: Vec<_> = (0..3).map(|index| mesh.http_addr(index)).collect();
    let distrusted = mesh.service(1);
    let load = Load::start(6, targets.clone(), 100, "?timeout=5s");
    for seconds in [600, -600] {
        load.commits(50).await;
        stepped.step_to(seconds);
        until("the step is noticed", async || {
            distrusted.not_ready().iter().any(|reason| reason.starts_with("clock"))
        })
        .await;
        let answer = http::put(targets[1], "/v1/kv/test/late", "1").await.answer();
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.json()["outcome"], "not_applied", "{}", answer.text());
        load.commits(50).await;
        stepped.step_to(0);
        until("the clock is trusted again", async || distrusted.not_ready().is_empty()).await;
    }
    load.commits(50).await;
    let written = load.finish().await;
    mesh.converged().await;
    for target in targets {
        let held: BTreeMap<String, String> = export(target).await;
        check(&written, &held);
    }
    mesh.stop_all().await;
}
