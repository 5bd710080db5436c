//! Prometheus text: exact names, no scope labels, one registry per node.

use opentelemetry_prometheus::PrometheusExporter;
use prometheus::{Registry, TextEncoder};

use super::TelemetryError;

/// The `Content-Type` of [`Metrics::prometheus_text`](crate::Metrics::prometheus_text).
pub const PROMETHEUS_CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The scraped side of one node's metrics.
#[derive(Debug)]
pub(crate) struct Scrape(Registry);

impl Scrape {
    /// The registry and the reader that fills it when scraped.
    pub(crate) fn new() -> Result<(Self, PrometheusExporter), TelemetryError> {
        let registry = Registry::new();
        // The instruments already carry their full names; the exporter's own suffixes would double them.
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_counter_suffixes()
            .without_units()
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(TelemetryError::Prometheus)?;
        Ok((Self(registry), reader))
    }

    pub(crate) fn text(&self) -> String {
        // Encoding into memory fails only for a family without samples, which a reader never makes.
        TextEncoder::new().encode_to_string(&self.0.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics cannot be written as text");
            String::new()
        })
    }
}
