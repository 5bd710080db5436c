//! What a collector gets over OTLP, and what happens when there is none.

mod collector;
mod outage;

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use collector::Collector;
use quorum_core::{CommitResult, Observer, PeerId, TraceParent};
use quorum_metrics::{
    Metrics, Otlp, OtlpConfig, TelemetryError, Tracing, adopt_remote_parent, current_trace_parent,
    names,
};
use tracing_subscriber::layer::SubscriberExt;

/// Far more than any of this takes; reached only when something is broken.
const GENEROUS: Duration = Duration::from_secs(30);

fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

fn otlp(config: OtlpConfig) -> Otlp {
    Otlp::new(config, |_| None).unwrap().expect("an endpoint is named")
}

fn pushing_to(endpoint: String) -> Otlp {
    otlp(OtlpConfig { endpoint: Some(endpoint), ..OtlpConfig::default() })
}

fn metrics(otlp: &Otlp) -> Metrics {
    Metrics::new(&peer("n1"), &[peer("n2")], Some(otlp)).unwrap()
}

/// A commit on one node and the apply it causes on another, with the returned 25 bytes between them.
fn one_write_on_two_nodes() -> TraceParent {
    let commit = tracing::debug_span!(target: "quorum_core", "quorum.commit");
    let parent = commit.in_scope(current_trace_parent).expect("every trace is sampled");
    let apply = tracing::debug_span!(target: "quorum_node", "quorum.apply");
    adopt_remote_parent(&apply, parent);
    apply.in_scope(|| ());
    parent
}

#[test]
fn the_span_names_are_those_of_the_contract() {
    assert_eq!([names::SPAN_COMMIT, names::SPAN_APPLY], ["quorum.commit", "quorum.apply"]);
    assert_eq!([names::SPAN_SEND, names::SPAN_FSYNC], ["quorum.send", "quorum.fsync"]);
}

#[test]
fn metrics_arrive_under_the_names_they_are_scraped_by() {
    let collector = Collector::answering(200);
    let metrics = metrics(&pushing_to(collector.endpoint()));
    metrics.observer().write_ended(CommitResult::Committed, Duration::from_millis(1));
    assert!(metrics.prometheus_text().contains("replication_quorum_ack_total"));
    metrics.shutdown(GENEROUS).unwrap();

    let arrived = collector.requests("/v1/metrics");
    let last = arrived.last().expect("shutdown pushes");
    for text in [names::QUORUM_ACK_TOTAL, names::COMMIT_DURATION_SECONDS, names::BUILD_INFO] {
        assert!(last.holds(text.as_bytes()), "{text}");
    }
    for text in ["service.name", "quorum-node", "service.instance.id", "n1", "committed"] {
        assert!(last.holds(text.as_bytes()), "{text}");
    }
    assert!(last.head.contains("application/x-protobuf"), "{}", last.head);
}

/// Protobuf holds ids verbatim: the trace id stands in both spans, the span id in its own and in its child's.
#[test]
fn one_trace_spans_two_nodes() {
    let collector = Collector::answering(200);
    let tracing = Tracing::new(&peer("n1"), &pushing_to(collector.endpoint())).unwrap().unwrap();
    let subscriber = tracing_subscriber::registry().with(tracing.layer());
    let parent = tracing::subscriber::with_default(subscriber, one_write_on_two_nodes);
    tracing.shutdown(GENEROUS).unwrap();

    let arrived = collector.requests("/v1/traces");
    let batch = arrived.last().expect("shutdown pushes");
    let (trace_id, rest) = parent.as_bytes().split_at(16);
    for (what, times) in
        [(&b"quorum.commit"[..], 1), (b"quorum.apply", 1), (trace_id, 2), (&rest[..8], 2)]
    {
        assert_eq!(batch.count(what), times, "{what:?}");
    }
}

#[test]
fn an_unsampled_trace_does_not_travel() {
    let collector = Collector::answering(200);
    let config = OtlpConfig {
        endpoint: Some(collector.endpoint()),
        sampling_ratio: Some(0.0),
        ..OtlpConfig::default()
    };
    let tracing = Tracing::new(&peer("n1"), &otlp(config)).unwrap().unwrap();
    let subscriber = tracing_subscriber::registry().with(tracing.layer());
    let parent = tracing::subscriber::with_default(subscriber, || {
        let commit = tracing::debug_span!(target: "quorum_core", "quorum.commit");
        commit.in_scope(current_trace_parent)
    });
    tracing.shutdown(GENEROUS).unwrap();
    assert_eq!(parent, None);
    assert!(collector.requests("/v1/traces").is_empty());
}

#[test]
fn configured_headers_are_sent() {
    let collector = Collector::answering(200);
    let config = OtlpConfig {
        endpoint: Some(collector.endpoint()),
        headers: vec![("x-token".into(), "hush".into())],
        ..OtlpConfig::default()
    };
    metrics(&otlp(config)).shutdown(GENEROUS).unwrap();
    let arrived = collector.requests("/v1/metrics");
    assert!(arrived.last().expect("shutdown pushes").head.contains("x-token: hush"));
}

/// The listener takes connections and never says a word: worse than a closed port, which at least refuses.
#[test]
fn a_collector_that_hangs_blocks_neither_recording_nor_shutdown() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let otlp = otlp(OtlpConfig {
        endpoint: Some(format!("http://{}", hanging.local_addr().unwrap())),
        interval: Some(Duration::from_millis(1)),
        timeout: Some(GENEROUS),
        ..OtlpConfig::default()
    });
    let metrics = metrics(&otlp);
    // Once a connection is here, a push is under way and will not come back.
    let _pushing = hanging.accept().unwrap();
    for _ in 0..10_000 {
        metrics.observer().write_ended(CommitResult::Committed, Duration::from_millis(1));
    }
    let counted = r#"replication_quorum_ack_total{result="committed"} 10000"#;
    assert!(metrics.prometheus_text().contains(counted));
    let gave_up = metrics.shutdown(Duration::from_millis(50));
    assert!(matches!(gave_up, Err(TelemetryError::FlushTimeout { .. })), "{gave_up:?}");
}

#[test]
fn a_collector_that_is_not_there_is_an_error_at_shutdown_only() {
    // The near end of a connection has a port that nobody listens on and nobody else can take.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let nobody = connection.local_addr().unwrap();
    let otlp = otlp(OtlpConfig {
        endpoint: Some(format!("http://{nobody}")),
        timeout: Some(Duration::from_millis(50)),
        ..OtlpConfig::default()
    });
    let metrics = metrics(&otlp);
    metrics.observer().write_ended(CommitResult::Committed, Duration::from_millis(1));
    let refused = metrics.shutdown(GENEROUS);
    assert!(matches!(refused, Err(TelemetryError::Flush(_))), "{refused:?}");
}

/// The HTTP client blocks and has a runtime of its own, which must neither start nor end inside another.
#[tokio::test]
async fn it_lives_inside_an_async_runtime() {
    let collector = Collector::answering(200);
    let otlp = pushing_to(collector.endpoint());
    let metrics = metrics(&otlp);
    let tracing = Tracing::new(&peer("n1"), &otlp).unwrap().unwrap();
    let flushed = tokio::task::spawn_blocking(move || {
        (metrics.shutdown(GENEROUS).is_ok(), tracing.shutdown(GENEROUS).is_ok())
    });
    assert_eq!(flushed.await.unwrap(), (true, true));
}

/// See `tests/collector.sh`, which starts the collector and reads its log.
#[test]
#[ignore = "needs a collector at OTEL_EXPORTER_OTLP_ENDPOINT"]
fn a_real_collector_takes_it() {
    let otlp = Otlp::from_environment(OtlpConfig::default()).unwrap();
    let otlp = otlp.expect("OTEL_EXPORTER_OTLP_ENDPOINT names a collector");
    let metrics = metrics(&otlp);
    let tracing = Tracing::new(&peer("n1"), &otlp).unwrap().unwrap();
    let subscriber = tracing_subscriber::registry().with(tracing.layer());
    let _ = tracing::subscriber::with_default(subscriber, one_write_on_two_nodes);
    metrics.observer().write_ended(CommitResult::Committed, Duration::from_millis(1));
    metrics.shutdown(GENEROUS).unwrap();
    tracing.shutdown(GENEROUS).unwrap();
}
