//! One node's metrics, from instruments to readers.
//!
//! Nothing here is global: several nodes in one process each have their own, and none sees another's numbers.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use quorum_core::PeerId;

use crate::export::otlp::Otlp;
use crate::export::prometheus::Scrape;
use crate::export::{TelemetryError, flush_within, resource};
use crate::gauges::Gauges;
use crate::observer::OtelObserver;
use crate::peer_labels::PeerLabels;

/// The metrics of one node: scraped as Prometheus text always, pushed over OTLP when asked for.
///
/// Call [`shutdown`](Self::shutdown) before the process ends, or what was recorded since the last push is pushed
/// while dropping, which can block for up to five seconds if the collector does not answer.
#[derive(Debug)]
pub struct Metrics {
    provider: SdkMeterProvider,
    scrape: Scrape,
    observer: Arc<OtelObserver>,
    gauges: Gauges,
    pushes: bool,
}

impl Metrics {
    /// Builds the instruments of `node` and starts pushing if `otlp` says so.
    ///
    /// `peers` are the other members: the only names that appear as `peer` label.
    ///
    /// # Errors
    ///
    /// [`TelemetryError`] if an exporter cannot be built. A collector that does not answer is no error.
    pub fn new(
        node: &PeerId,
        peers: &[PeerId],
        otlp: Option<&Otlp>,
    ) -> Result<Self, TelemetryError> {
        let (scrape, pull) = Scrape::new()?;
        let push = otlp.map(Otlp::metric_reader).transpose()?.flatten();
        let pushes = push.is_some();
        let mut provider =
            SdkMeterProvider::builder().with_resource(resource(node)).with_reader(pull);
        if let Some(push) = push {
            provider = provider.with_reader(push);
        }
        let provider = provider.build();
        let meter = provider.meter("quorum");
        let labels = Arc::new(PeerLabels::new(peers));
        let gauges = Gauges::new(&meter, labels.clone());
        let observer = Arc::new(OtelObserver::new(&meter, labels, gauges.clone()));
        Ok(Self { provider, scrape, observer, gauges, pushes })
    }

    /// The observer to hand to writers, links and the store.
    #[must_use]
    pub fn observer(&self) -> Arc<OtelObserver> {
        self.observer.clone()
    }

    /// The gauges that the node keeps up to date itself.
    #[must_use]
    pub const fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Everything as Prometheus text, of the type [`PROMETHEUS_CONTENT_TYPE`](crate::PROMETHEUS_CONTENT_TYPE).
    ///
    /// Empty after [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn prometheus_text(&self) -> String {
        self.scrape.text()
    }

    /// Pushes what was recorded since the last push and stops, waiting at most `bound`.
    ///
    /// Blocks: from async code call it through `spawn_blocking`. Without OTLP it returns at once.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Flush`] or [`TelemetryError::FlushTimeout`] if the collector did not take the rest: worth a
    /// log line, not an exit code.
    pub fn shutdown(&self, bound: Duration) -> Result<(), TelemetryError> {
        let provider = self.provider.clone();
        if self.pushes {
            flush_within(bound, move || provider.shutdown())
        } else {
            provider.shutdown().map_err(TelemetryError::Flush)
        }
    }
}
