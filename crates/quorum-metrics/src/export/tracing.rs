//! Spans on their way to the collector.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use quorum_core::PeerId;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::otlp::Otlp;
use super::{TelemetryError, flush_within, resource};

/// Exports the spans of this process. One process has one, as it has one log.
///
/// Spans wait in a bounded queue (2048 unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise) and are dropped when it is
/// full: a collector that is slow or away delays no write.
#[derive(Debug)]
pub struct Tracing {
    provider: SdkTracerProvider,
}

impl Tracing {
    /// Starts a thread that pushes finished spans in batches. `None` if `otlp` pushes metrics only.
    ///
    /// # Errors
    ///
    /// [`TelemetryError`] if the exporter cannot be built. A collector that does not answer is no error.
    pub fn new(node: &PeerId, otlp: &Otlp) -> Result<Option<Self>, TelemetryError> {
        let Some(exporter) = otlp.span_exporter()? else { return Ok(None) };
        let mut provider = SdkTracerProvider::builder()
            .with_resource(resource(node))
            .with_batch_exporter(exporter);
        if let Some(ratio) = otlp.sampling_ratio() {
            // A trace that began elsewhere keeps the decision made there, or it would have holes.
            let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
            provider = provider.with_sampler(sampler);
        }
        Ok(Some(Self { provider: provider.build() }))
    }

    /// The layer that turns `tracing` spans into OpenTelemetry spans.
    ///
    /// It takes the spans of this workspace's crates down to `DEBUG`, and their warnings as span events, whatever the
    /// log filter says: whoever turns the log down does not lose the trace.
    #[must_use]
    pub fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let tracer = self.provider.tracer("quorum");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_filter(filter_fn(is_ours).with_max_level_hint(LevelFilter::DEBUG))
            .boxed()
    }

    /// Pushes the spans that have ended and stops, waiting at most `bound`.
    ///
    /// Blocks: from async code call it through `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Flush`] or [`TelemetryError::FlushTimeout`] if the collector did not take them: worth a log
    /// line, not an exit code.
    pub fn shutdown(&self, bound: Duration) -> Result<(), TelemetryError> {
        let provider = self.provider.clone();
        flush_within(bound, move || provider.shutdown_with_timeout(bound))
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    let finest = if metadata.is_span() { Level::DEBUG } else { Level::WARN };
    metadata.target().starts_with("quorum") && *metadata.level() <= finest
}
