//! What operators see of quorum writes: metrics, traces and the log.
//!
//! [`OtelObserver`] implements [`quorum_core::Observer`] with OpenTelemetry instruments. One [`Metrics`] belongs to one
//! node; nothing is global, so several nodes in one process do not mix. Metrics are always there to be scraped as
//! Prometheus text, under the exact names in [`names`], and are pushed over OTLP (http/protobuf) together with traces
//! if an endpoint is named, in [`OtlpConfig`] or in the standard `OTEL_EXPORTER_OTLP_*` variables.
//!
//! ```
//! use std::time::Duration;
//!
//! use quorum_core::{CommitResult, Observer, PeerId};
//! use quorum_metrics::{LogConfig, Metrics, Otlp, OtlpConfig, Tracing, init_logging};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = PeerId::new("n1")?;
//! let peers = [PeerId::new("n2")?, PeerId::new("n3")?];
//!
//! // Nothing is pushed unless somebody names a collector.
//! let otlp = Otlp::from_environment(OtlpConfig::default())?;
//! let tracing = otlp.as_ref().map(|otlp| Tracing::new(&node, otlp)).transpose()?.flatten();
//! init_logging(&LogConfig::default(), tracing.as_ref())?;
//! let metrics = Metrics::new(&node, &peers, otlp.as_ref())?;
//!
//! // Hand `metrics.observer()` to the writer, the links and the store; they tell it what happens.
//! let observer = metrics.observer();
//! observer.peer_ack(&peers[0], Duration::from_millis(2));
//! observer.write_ended(CommitResult::Committed, Duration::from_millis(3));
//! metrics.gauges().set_frontier_lag(&peers[1], 1);
//!
//! let text = metrics.prometheus_text();
//! assert!(text.contains(r#"replication_quorum_ack_total{result="committed"} 1"#));
//! assert!(text.contains(r#"replication_frontier_lag_writes{peer="n3"} 1"#));
//!
//! // At the end: push the rest, but do not wait for ever, and do not fail because of it.
//! let bound = Duration::from_secs(3);
//! if let Err(error) = metrics.shutdown(bound) {
//!     tracing::warn!(%error, "metrics were not flushed");
//! }
//! if let Some(tracing) = tracing {
//!     let _ = tracing.shutdown(bound);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - **Recording touches memory only.** A collector that is slow or away delays no write, is logged once when it goes
//!   and once when it comes back, and at the end is waited for no longer than the caller says.
//! - **Label values are closed.** They come from enums of the core or from the member list; a stranger's name never
//!   becomes a series.
//! - **Counters exist at zero** for every such value, so a rate sees the first failure. Gauges appear when they are
//!   first set, since any number before would be a claim; a histogram appears with its first value.
//! - **One trace spans coordinator and peers**: [`current_trace_parent`] on one side, [`adopt_remote_parent`] on the
//!   other, 25 bytes between them, and none when the trace is not sampled. Give spans the names in [`names`] and the
//!   level `DEBUG`: they are then exported whenever tracing is on and cost next to nothing when it is off.
//!
//! # Threads
//!
//! Without OTLP none is started. With it the SDK runs one to push metrics, one to push traces and, for each, the HTTP
//! client's own; a shutdown adds one for as long as it takes.
//!
//! # Checking against a real collector
//!
//! The tests bring their own small receiver. `tests/collector.sh` runs the ignored test `a_real_collector_takes_it`
//! against the `rotel` collector, and checks the scraped text with `promtool check metrics` where that is installed.

mod export;
mod gauges;
mod logging;
mod metrics;
pub mod names;
mod observer;
mod peer_labels;
mod trace_context;

pub use export::otlp::{Otlp, OtlpConfig};
pub use export::prometheus::PROMETHEUS_CONTENT_TYPE;
pub use export::tracing::Tracing;
pub use export::{SERVICE_NAME_DEFAULT, TelemetryError};
pub use gauges::Gauges;
pub use logging::{LogConfig, LogFormat, init_logging};
pub use metrics::Metrics;
pub use observer::OtelObserver;
pub use trace_context::{adopt_remote_parent, current_trace_parent, trace_parent_of};
