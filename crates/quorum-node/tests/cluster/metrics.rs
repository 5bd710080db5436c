//! What happened can be read off the metrics, under the names that dashboards are written against.

use std::time::Duration;

use quorum_core::QuorumFailureReason;
use quorum_metrics::names::METRICS;
use quorum_node::WriteRequest;
use quorum_node::config::WriteQuorum;

use crate::harness::mesh::{Mesh, missed, put, within};
use crate::harness::metrics::{has, sample};
use crate::harness::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_links_and_lag_show_in_the_metrics() {
    let mut mesh = Mesh::start(3).await;
    let writer = mesh.service(0);
    for key in ["a", "b", "c"] {
        writer.write(put(key, "1")).await.expect("committed");
    }
    let invalid = WriteRequest { copies: Some(WriteQuorum::Exactly(9)), ..put("d", "1") };
    writer.write(invalid).await.expect_err("out of range");

    let shows = |series: &str, value: f64| sample(&writer.metrics_text(), series) == Some(value);
    // What a peer lacks shows once it has said what it has.
    until("every metric has a series", async || {
        let text = writer.metrics_text();
        METRICS.into_iter().all(|metric| has(&text, metric))
    })
    .await;
    let text = writer.metrics_text();
    assert!(shows(r#"replication_quorum_ack_total{result="committed"}"#, 3.0), "{text}");
    assert!(shows(r#"replication_quorum_ack_total{result="not_applied"}"#, 1.0), "{text}");
    assert!(shows(r#"replication_quorum_ack_total{result="indeterminate"}"#, 0.0), "{text}");
    assert!(shows("replication_writes_in_flight", 0.0), "{text}");
    until("the links and the lag show", async || {
        ["n2", "n3"].iter().all(|peer| {
            shows(&format!(r#"replication_link_up{{peer="{peer}"}}"#), 1.0)
                && shows(&format!(r#"replication_frontier_lag_writes{{peer="{peer}"}}"#), 0.0)
                && shows(&format!(r#"replication_id_drift_total{{peer="{peer}"}}"#), 0.0)
        })
    })
    .await;

    mesh.stop(1).await;
    mesh.stop(2).await;
    let short = within(Duration::from_millis(200), put("e", "1"));
    let (_, reason) = missed(writer.write(short).await);
    assert_eq!(reason, QuorumFailureReason::Unreachable);
    assert!(shows(r#"replication_quorum_ack_total{result="indeterminate"}"#, 1.0));
    assert!(shows(r#"replication_quorum_failures_total{reason="unreachable"}"#, 1.0));
    until("the lost links and the lag show", async || {
        ["n2", "n3"].iter().all(|peer| {
            shows(&format!(r#"replication_link_up{{peer="{peer}"}}"#), 0.0)
                && shows(&format!(r#"replication_frontier_lag_writes{{peer="{peer}"}}"#), 1.0)
        })
    })
    .await;
    mesh.stop_all().await;
}
