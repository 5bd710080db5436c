//! Says once that the collector does not answer, and once that it does again.
//!
//! The SDK logs every failed export, which for a collector that is down means a line per interval and signal for as
//! long as it is down. Here the exporters are wrapped, and metrics and traces share one memory of the outage; the log
//! composition drops the SDK's own lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// What is pushed, each with a bit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Signal {
    Metrics = 1,
    Traces = 2,
}

/// The signals that the collector did not take at the last try.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failing: AtomicU8,
}

/// What one more export result changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Began,
    Ended,
}

impl Outage {
    fn note(&self, signal: Signal, worked: bool) -> Change {
        let bit = signal as u8;
        if worked {
            let before = self.failing.fetch_and(!bit, Ordering::Relaxed);
            if before == bit { Change::Ended } else { Change::None }
        } else {
            let before = self.failing.fetch_or(bit, Ordering::Relaxed);
            if before == 0 { Change::Began } else { Change::None }
        }
    }

    fn heard(&self, signal: Signal, collector: &str, result: &OTelSdkResult) {
        match (self.note(signal, result.is_ok()), result) {
            (Change::Began, Err(error)) => tracing::warn!(
                collector, ?signal, %error,
                "the OTLP collector does not take telemetry; writes are not affected, and this is not logged \
                 again until it recovers"
            ),
            (Change::Ended, _) => {
                tracing::info!(collector, "the OTLP collector takes telemetry again")
            }
            _ => {}
        }
    }
}

/// An exporter whose failures are heard by an [`Outage`].
#[derive(Debug)]
pub(crate) struct Watched<E> {
    pub(super) exporter: E,
    /// Where it exports to, fit for a log line.
    pub(super) collector: String,
    pub(super) outage: Arc<Outage>,
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.outage.heard(Signal::Metrics, &self.collector, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        self.outage.heard(Signal::Traces, &self.collector, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_once_and_ends_once_however_many_exports_fail() {
        let outage = Outage::default();
        let steps = [
            (Signal::Metrics, true, Change::None),
            (Signal::Metrics, false, Change::Began),
            (Signal::Metrics, false, Change::None),
            (Signal::Traces, false, Change::None),
            (Signal::Metrics, true, Change::None),
            (Signal::Traces, true, Change::Ended),
            (Signal::Traces, true, Change::None),
            (Signal::Traces, false, Change::Began),
        ];
        for (step, (signal, worked, change)) in steps.into_iter().enumerate() {
            assert_eq!(outage.note(signal, worked), change, "step {step}");
        }
    }
}
