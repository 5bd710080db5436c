//! What Prometheus reads: exact names, series at zero, closed labels, one registry per node.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use quorum_core::{
    Busy, CommitResult, HandshakeRefusal, Observer, PeerId, QuorumFailureReason, Refusal,
    ScrubFinding,
};
use quorum_metrics::{Metrics, names};

fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

fn metrics() -> Metrics {
    Metrics::new(&peer("n1"), &[peer("n2"), peer("n3")], None).unwrap()
}

/// Everything that can happen, once, with `n2`.
fn live_through_everything(metrics: &Metrics) {
    let (n2, observer) = (peer("n2"), metrics.observer());
    observer.write_ended(CommitResult::Committed, Duration::from_millis(3));
    observer.write_ended(CommitResult::Indeterminate, Duration::from_secs(2));
    observer.quorum_missed(QuorumFailureReason::Timeout);
    observer.writes_in_flight(7);
    observer.peer_ack(&n2, Duration::from_millis(2));
    observer.peer_superseded(&n2);
    observer.peer_refusal(&n2, Refusal::TooOld);
    observer.peer_busy(&n2, Busy::Disk);
    observer.id_drift(&n2);
    observer.clock_skew(&n2, Duration::from_secs(31), false);
    observer.link(&n2, true);
    observer.handshake_refused(HandshakeRefusal::Stranger);
    observer.store_synced(16, Duration::from_micros(300));
    observer.repaired(&n2, 3, 400);
    observer.tombstones_purged(9);
    observer.scrubbed(ScrubFinding::Corrupt);
    metrics.gauges().set_missing_writes(&n2, 7);
    metrics.gauges().set_exposed("w", 2, 1.5);
    metrics.gauges().set_frontier_lag(&n2, 5);
    metrics.gauges().set_clock_healthy(true);
    metrics.gauges().set_store_bytes(4096);
    metrics.gauges().set_store_records(12);
    metrics.gauges().set_store_compacting(true);
    metrics.gauges().set_store_readable(true);
    metrics.gauges().set_certificate_expiry(UNIX_EPOCH + Duration::from_secs(2_000_000_000));
}

/// The metric families of a text, from their `# TYPE` lines.
fn families(text: &str) -> BTreeSet<&str> {
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    typed.filter_map(|line| line.split(' ').next()).collect()
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
}

#[test]
fn the_names_are_exactly_those_of_the_contract() {
    let metrics = metrics();
    live_through_everything(&metrics);
    let text = metrics.prometheus_text();
    assert_eq!(families(&text), BTreeSet::from(names::METRICS));
    assert!(!text.contains("otel_scope"), "{text}");
}

#[test]
fn what_is_recorded_is_what_is_read() {
    let metrics = metrics();
    live_through_everything(&metrics);
    let text = metrics.prometheus_text();
    for line in [
        r#"replication_repaired_records_total{peer="n2"} 3"#,
        r#"replication_repaired_bytes_total{peer="n2"} 400"#,
        r#"replication_tombstones_purged_total 9"#,
        r#"replication_scrub_findings_total{finding="corrupt"} 1"#,
        r#"replication_scrub_findings_total{finding="repaired"} 0"#,
        r#"replication_peer_missing_writes{peer="n2"} 7"#,
        r#"replication_under_replicated_writes{copies="w"} 2"#,
        r#"replication_under_replicated_age_seconds{copies="w"} 1.5"#,
        r#"replication_quorum_ack_total{result="committed"} 1"#,
        r#"replication_quorum_ack_total{result="indeterminate"} 1"#,
        r#"replication_quorum_failures_total{reason="timeout"} 1"#,
        r#"replication_commit_duration_seconds_bucket{result="committed",le="0.0025"} 0"#,
        r#"replication_commit_duration_seconds_bucket{result="committed",le="0.005"} 1"#,
        r#"replication_peer_ack_duration_seconds_count{peer="n2"} 1"#,
        r#"replication_peer_superseded_total{peer="n2"} 1"#,
        r#"replication_peer_refused_total{peer="n2",reason="too_old"} 1"#,
        r#"replication_peer_busy_total{peer="n2",reason="disk"} 1"#,
        r#"replication_id_drift_total{peer="n2"} 1"#,
        r#"replication_clock_skew_seconds_bucket{peer="n2",le="30"} 0"#,
        r#"replication_clock_skew_seconds_sum{peer="n2"} 31"#,
        r#"replication_link_up{peer="n2"} 1"#,
        r#"replication_link_up{peer="n3"} 0"#,
        r#"replication_handshakes_refused_total{reason="stranger"} 1"#,
        r#"replication_frontier_lag_writes{peer="n2"} 5"#,
        "replication_writes_in_flight 7",
        "replication_store_synced_records_total 16",
        "replication_store_sync_duration_seconds_count 1",
        "replication_store_bytes 4096",
        "replication_store_records 12",
        "replication_store_compacting 1",
        "replication_store_readable 1",
        "replication_clock_healthy 1",
        "replication_certificate_expiry_seconds 2000000000",
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn counters_exist_at_zero_for_every_closed_label_value() {
    let text = metrics().prometheus_text();
    let mut expected = vec!["replication_store_synced_records_total 0".to_owned()];
    for result in CommitResult::ALL {
        expected.push(format!("replication_quorum_ack_total{{result=\"{}\"}} 0", result.as_str()));
    }
    for why in QuorumFailureReason::ALL {
        expected.push(format!("replication_quorum_failures_total{{reason=\"{why}\"}} 0"));
    }
    for why in HandshakeRefusal::ALL {
        expected.push(format!("replication_handshakes_refused_total{{reason=\"{why}\"}} 0"));
    }
    for peer in ["n2", "n3"] {
        expected.push(format!("replication_id_drift_total{{peer=\"{peer}\"}} 0"));
        expected.push(format!("replication_peer_superseded_total{{peer=\"{peer}\"}} 0"));
        expected.push(format!("replication_link_up{{peer=\"{peer}\"}} 0"));
        for why in ["overload", "disk", "clock", "gaps", "recovering", "kept"] {
            expected
                .push(format!("replication_peer_busy_total{{peer=\"{peer}\",reason=\"{why}\"}} 0"));
        }
        for why in ["corrupt", "malformed", "too_large", "too_old", "policy"] {
            expected.push(format!(
                "replication_peer_refused_total{{peer=\"{peer}\",reason=\"{why}\"}} 0"
            ));
        }
    }
    for line in expected {
        assert_line(&text, &line);
    }
}

/// A gauge says something about the node; before the node has looked there is nothing to say.
#[test]
fn a_gauge_that_nobody_set_has_no_series() {
    let text = metrics().prometheus_text();
    for unset in [
        names::FRONTIER_LAG_WRITES,
        names::CLOCK_HEALTHY,
        names::STORE_BYTES,
        names::STORE_RECORDS,
        names::STORE_COMPACTING,
        names::STORE_READABLE,
        names::CERTIFICATE_EXPIRY_SECONDS,
    ] {
        assert!(!families(&text).contains(unset), "{unset}");
    }
    assert_line(&text, "replication_writes_in_flight 0");
}

/// Exponential histograms would vanish from the text without a word.
#[test]
fn every_histogram_has_explicit_boundaries() {
    let metrics = metrics();
    live_through_everything(&metrics);
    let text = metrics.prometheus_text();
    for histogram in names::METRICS.iter().filter(|name| name.ends_with("duration_seconds")) {
        let buckets = text.lines().filter(|line| line.starts_with(&format!("{histogram}_bucket")));
        assert!(buckets.count() >= 17, "{histogram}");
        assert_line(&text, &format!("# TYPE {histogram} histogram"));
    }
    assert_line(&text, "# TYPE replication_clock_skew_seconds histogram");
}

#[test]
fn a_stranger_gets_no_series() {
    let metrics = metrics();
    let before = metrics.prometheus_text();
    let (stranger, observer) = (peer("mallory"), metrics.observer());
    observer.peer_ack(&stranger, Duration::from_millis(1));
    observer.peer_superseded(&stranger);
    observer.peer_refusal(&stranger, Refusal::Corrupt);
    observer.peer_busy(&stranger, Busy::Overload);
    observer.id_drift(&stranger);
    observer.clock_skew(&stranger, Duration::from_secs(1), true);
    observer.link(&stranger, true);
    metrics.gauges().set_frontier_lag(&stranger, 9);
    assert_eq!(metrics.prometheus_text(), before);
}

#[test]
fn two_nodes_in_one_process_do_not_mix() {
    let (one, other) = (metrics(), metrics());
    one.observer().write_ended(CommitResult::Committed, Duration::ZERO);
    assert_line(&one.prometheus_text(), r#"replication_quorum_ack_total{result="committed"} 1"#);
    assert_line(&other.prometheus_text(), r#"replication_quorum_ack_total{result="committed"} 0"#);
}

#[test]
fn without_a_collector_shutdown_has_nothing_to_wait_for() {
    metrics().shutdown(Duration::ZERO).unwrap();
}

/// The text of a node that has lived, for `promtool check metrics`: see `tests/collector.sh`.
#[test]
#[ignore = "prints for promtool"]
fn text_for_promtool() {
    use std::io::Write;
    let metrics = metrics();
    live_through_everything(&metrics);
    let path = std::env::var_os("QUORUM_METRICS_TEXT").expect("QUORUM_METRICS_TEXT names a file");
    std::fs::File::create(path).unwrap().write_all(metrics.prometheus_text().as_bytes()).unwrap();
}
