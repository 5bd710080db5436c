//! Push over OTLP, http/protobuf: whether, where to, how often.
//!
//! Off unless an endpoint is named, in [`OtlpConfig`] or in the standard `OTEL_EXPORTER_OTLP_*` variables. What the
//! config leaves open the variables decide, and what both leave open OpenTelemetry's own defaults.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::{
    MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::metrics::PeriodicReader;

use super::TelemetryError;
use super::outage::{Outage, Watched};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const METRICS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const METRICS_EXPORTER: &str = "OTEL_METRICS_EXPORTER";
const TRACES_EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
const PROTOCOLS: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
];

/// What an operator says about OTLP push. Everything may be left open.
#[derive(Clone, Default)]
pub struct OtlpConfig {
    /// The collector, e.g. `http://127.0.0.1:4318`; `/v1/metrics` and `/v1/traces` are added. Naming it turns push on.
    pub endpoint: Option<String>,
    /// HTTP headers to send along, for instance a token. Their values are secrets and never printed.
    pub headers: Vec<(String, String)>,
    /// Time between two pushes of metrics; 60 s if nobody says.
    pub interval: Option<Duration>,
    /// Longest time one push may take, its retries included; 10 s if nobody says.
    pub timeout: Option<Duration>,
    /// Share of traces begun here that are kept, 0 to 1. All if nobody says, which at high write rates costs CPU.
    pub sampling_ratio: Option<f64>,
}

impl fmt::Debug for OtlpConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        out.debug_struct("OtlpConfig")
            .field("endpoint", &self.endpoint)
            .field("headers", &headers)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("sampling_ratio", &self.sampling_ratio)
            .finish()
    }
}

/// A decision to push, checked. Metrics and traces that share one also share its memory of an outage.
#[derive(Debug, Clone)]
pub struct Otlp {
    config: OtlpConfig,
    targets: Targets,
    outage: Arc<Outage>,
}

/// Where each signal goes, if anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Targets {
    metrics: Option<String>,
    traces: Option<String>,
}

impl Otlp {
    /// Decides from the config and the process environment. `None`: nothing is pushed.
    ///
    /// # Errors
    ///
    /// [`TelemetryError`] if an endpoint, the protocol or the sampling ratio is invalid; its text names the value.
    pub fn from_environment(config: OtlpConfig) -> Result<Option<Self>, TelemetryError> {
        Self::new(config, |name| std::env::var(name).ok())
    }

    /// Decides from the config and a given environment.
    ///
    /// Headers, timeouts, compression, batch limits and the sampler are read from the process environment later, by
    /// the SDK, where the config leaves them open.
    ///
    /// # Errors
    ///
    /// As [`from_environment`](Self::from_environment).
    pub fn new(
        config: OtlpConfig,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, TelemetryError> {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let targets = targets(config.endpoint.as_deref(), &environment)?;
        if targets == Targets::default() {
            return Ok(None);
        }
        for variable in PROTOCOLS {
            if let Some(protocol) = environment(variable).filter(|value| value != "http/protobuf") {
                return Err(TelemetryError::Protocol { variable, protocol });
            }
        }
        if let Some(ratio) = config.sampling_ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
            return Err(TelemetryError::SamplingRatio { ratio });
        }
        Ok(Some(Self { config, targets, outage: Arc::default() }))
    }

    /// The share of traces to keep, if the config says.
    pub(super) const fn sampling_ratio(&self) -> Option<f64> {
        self.config.sampling_ratio
    }

    /// Starts a thread that pushes metrics at the interval. `None` if metrics are not pushed.
    pub(crate) fn metric_reader(
        &self,
    ) -> Result<Option<PeriodicReader<Watched<MetricExporter>>>, TelemetryError> {
        let Some(endpoint) = &self.targets.metrics else { return Ok(None) };
        let exporter = self.configured(MetricExporter::builder().with_http(), endpoint).build()?;
        let mut reader = PeriodicReader::builder(self.watched(exporter, endpoint));
        if let Some(interval) = self.config.interval {
            reader = reader.with_interval(interval);
        }
        Ok(Some(reader.build()))
    }

    /// The exporter of spans. `None` if traces are not pushed.
    pub(super) fn span_exporter(&self) -> Result<Option<Watched<SpanExporter>>, TelemetryError> {
        let Some(endpoint) = &self.targets.traces else { return Ok(None) };
        let exporter = self.configured(SpanExporter::builder().with_http(), endpoint).build()?;
        Ok(Some(self.watched(exporter, endpoint)))
    }

    fn configured<B: WithExportConfig + WithHttpConfig>(&self, builder: B, endpoint: &str) -> B {
        let mut builder = builder.with_endpoint(endpoint).with_protocol(Protocol::HttpBinary);
        if let Some(timeout) = self.config.timeout {
            builder = builder.with_timeout(timeout);
        }
        if !self.config.headers.is_empty() {
            let headers: HashMap<_, _> = self.config.headers.iter().cloned().collect();
            builder = builder.with_headers(headers);
        }
        builder
    }

    fn watched<E>(&self, exporter: E, endpoint: &str) -> Watched<E> {
        Watched { exporter, collector: host(endpoint).to_owned(), outage: self.outage.clone() }
    }
}

/// The part of a URL that may be logged: no user, no password, no path.
fn host(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// The rules of precedence: a switch that says off, the config's base, the signal's own variable, the common one.
fn targets(
    configured: Option<&str>,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Targets, TelemetryError> {
    if environment(SDK_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Targets::default());
    }
    let target = |exporter: &str, own: &str, path: &str| {
        if environment(exporter).is_some_and(|value| value == "none") {
            return Ok(None);
        }
        let below = |base: &str| format!("{}/{path}", base.trim_end_matches('/'));
        configured
            .map(below)
            .or_else(|| environment(own))
            .or_else(|| environment(ENDPOINT).as_deref().map(below))
            .map(checked)
            .transpose()
    };
    Ok(Targets {
        metrics: target(METRICS_EXPORTER, METRICS_ENDPOINT, "v1/metrics")?,
        traces: target(TRACES_EXPORTER, TRACES_ENDPOINT, "v1/traces")?,
    })
}

fn checked(endpoint: String) -> Result<String, TelemetryError> {
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let host_named = rest.is_some_and(|rest| !rest.starts_with(['/', ':']));
    if host_named { Ok(endpoint) } else { Err(TelemetryError::Endpoint { endpoint }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(
        endpoint: Option<&str>,
        environment: &[(&str, &str)],
    ) -> Result<Option<Targets>, TelemetryError> {
        let config = OtlpConfig { endpoint: endpoint.map(str::to_owned), ..OtlpConfig::default() };
        let variable = |name: &str| {
            environment
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Ok(Otlp::new(config, variable)?.map(|otlp| otlp.targets))
    }

    fn both(base: &str) -> Option<Targets> {
        Some(Targets {
            metrics: Some(format!("{base}/v1/metrics")),
            traces: Some(format!("{base}/v1/traces")),
        })
    }

    #[test]
    fn nothing_is_pushed_unless_an_endpoint_is_named() {
        assert_eq!(decide(None, &[]).unwrap(), None);
        assert_eq!(decide(None, &[(ENDPOINT, "")]).unwrap(), None);
    }

    #[test]
    fn the_config_wins_over_the_environment() {
        let environment = [(ENDPOINT, "http://env:4318"), (METRICS_ENDPOINT, "http://own:1/m")];
        assert_eq!(
            decide(Some("http://cfg:4318/"), &environment).unwrap(),
            both("http://cfg:4318")
        );
    }

    #[test]
    fn the_common_variable_gets_the_paths_added_and_the_own_one_is_taken_as_it_is() {
        assert_eq!(
            decide(None, &[(ENDPOINT, "http://env:4318")]).unwrap(),
            both("http://env:4318")
        );
        let own = decide(None, &[(TRACES_ENDPOINT, "https://own/t")]).unwrap();
        assert_eq!(own, Some(Targets { metrics: None, traces: Some("https://own/t".into()) }));
    }

    #[test]
    fn the_standard_switches_turn_push_off() {
        let here = Some("http://cfg:4318");
        assert_eq!(decide(here, &[(SDK_DISABLED, "true")]).unwrap(), None);
        let only_traces = decide(here, &[(METRICS_EXPORTER, "none")]).unwrap().unwrap();
        assert!(only_traces.metrics.is_none() && only_traces.traces.is_some());
        let neither = [(METRICS_EXPORTER, "none"), (TRACES_EXPORTER, "none")];
        assert_eq!(decide(here, &neither).unwrap(), None);
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for bad in ["127.0.0.1:4318", "grpc://host", "http://", "http://:4318"] {
            let error = decide(Some(bad), &[]).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        let error = decide(Some("http://cfg"), &grpc).unwrap_err().to_string();
        assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && error.contains("grpc"), "{error}");
        for ratio in [-0.1, 1.1, f64::NAN] {
            let config = OtlpConfig {
                endpoint: Some("http://cfg".into()),
                sampling_ratio: Some(ratio),
                ..OtlpConfig::default()
            };
            assert!(Otlp::new(config, |_| None).is_err(), "{ratio}");
        }
    }

    #[test]
    fn what_is_logged_of_an_endpoint_holds_no_secret() {
        assert_eq!(host("https://me:hush@collector:4318/v1/metrics?token=hush"), "collector:4318");
        assert_eq!(host("http://127.0.0.1:4318"), "127.0.0.1:4318");
    }

    #[test]
    fn header_values_are_not_printed() {
        let headers = vec![("authorization".to_owned(), "Bearer hush".to_owned())];
        let printed = format!("{:?}", OtlpConfig { headers, ..OtlpConfig::default() });
        assert!(printed.contains("authorization") && !printed.contains("hush"), "{printed}");
    }
}
