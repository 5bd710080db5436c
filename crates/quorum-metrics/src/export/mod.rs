//! How metrics and traces leave the process, and what can go wrong while they do.

pub(crate) mod otlp;
mod outage;
pub(crate) mod prometheus;
pub(crate) mod tracing;

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_semantic_conventions::resource::{
    SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION,
};
use quorum_core::PeerId;

/// What a process is called in telemetry if neither `OTEL_SERVICE_NAME` nor `OTEL_RESOURCE_ATTRIBUTES` says.
pub const SERVICE_NAME_DEFAULT: &str = "quorum-node";

/// Why telemetry could not be set up or handed over. No record is ever at stake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The collector's address is no `http://` or `https://` URL.
    #[error("invalid OTLP endpoint {endpoint:?}: expected http://host:port or https://host:port")]
    Endpoint {
        /// The offending text.
        endpoint: String,
    },
    /// `variable` asks for a protocol that is not built in.
    #[error("{variable} is {protocol:?}: only \"http/protobuf\" is supported")]
    Protocol {
        /// Which environment variable.
        variable: &'static str,
        /// What it asks for.
        protocol: String,
    },
    /// The share of traces to keep is no share.
    #[error("invalid sampling ratio {ratio}: expected 0 to 1")]
    SamplingRatio {
        /// The offending number.
        ratio: f64,
    },
    /// The OTLP exporter cannot be built, for instance because of an unknown compression in the environment.
    #[error("the OTLP exporter cannot be built")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The Prometheus reader cannot be built.
    #[error("the Prometheus reader cannot be built")]
    Prometheus(#[source] OTelSdkError),
    /// The log filter cannot be read.
    #[error(
        "invalid log filter {filter:?}: expected for instance \"info\" or \"warn,quorum_node=debug\""
    )]
    LogFilter {
        /// The offending text.
        filter: String,
        /// Which part of it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process already has a log subscriber.
    #[error("logging was already set up")]
    AlreadyLogging(#[source] tracing_subscriber::util::TryInitError),
    /// The collector did not take what was left at the end.
    #[error("the last telemetry was not taken by the collector")]
    Flush(#[source] OTelSdkError),
    /// The collector did not take what was left at the end in time.
    #[error("the last telemetry was not taken by the collector within {bound:?}")]
    FlushTimeout {
        /// How long was waited.
        bound: Duration,
    },
    /// The operating system gave no thread to flush in.
    #[error("no thread to flush telemetry in")]
    FlushThread(#[source] io::Error),
}

/// Who speaks: the standard `OTEL_*` variables first, then what we know ourselves.
pub(crate) fn resource(node: &PeerId) -> Resource {
    let from_environment = Resource::builder().build();
    let named = from_environment
        .get(&Key::from_static_str(SERVICE_NAME))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut ours = Resource::builder_empty().with_attributes([
        KeyValue::new(SERVICE_INSTANCE_ID, node.as_str().to_owned()),
        KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
    ]);
    ours = ours.with_attributes(
        from_environment.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
    );
    if !named {
        ours = ours.with_service_name(SERVICE_NAME_DEFAULT);
    }
    ours.build()
}

/// Runs a blocking flush in a thread of its own and waits for it at most `bound`.
///
/// The SDK waits up to five seconds for its metric reader whatever it is told. A flush that overruns the bound is left
/// behind and ends with the process.
pub(crate) fn flush_within(
    bound: Duration,
    flush: impl FnOnce() -> OTelSdkResult + Send + 'static,
) -> Result<(), TelemetryError> {
    let (tell, told) = mpsc::sync_channel(1);
    let flush = move || {
        // Nobody listens any more if the bound has passed.
        let _ = tell.send(flush());
    };
    thread::Builder::new()
        .name("telemetry-flush".into())
        .spawn(flush)
        .map_err(TelemetryError::FlushThread)?;
    match told.recv_timeout(bound) {
        Ok(result) => result.map_err(TelemetryError::Flush),
        Err(RecvTimeoutError::Timeout) => Err(TelemetryError::FlushTimeout { bound }),
        Err(RecvTimeoutError::Disconnected) => {
            Err(TelemetryError::Flush(OTelSdkError::InternalFailure("the flush panicked".into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_that_never_ends_is_given_up_at_its_bound() {
        let (_kept_open, never) = mpsc::channel::<()>();
        let bound = Duration::from_millis(1);
        let given_up = flush_within(bound, move || {
            let _ = never.recv();
            Ok(())
        });
        assert!(matches!(given_up, Err(TelemetryError::FlushTimeout { .. })), "{given_up:?}");
    }

    #[test]
    fn a_node_is_told_apart_by_its_name() {
        let resource = resource(&PeerId::new("n1").unwrap());
        let value = |key| resource.get(&Key::from_static_str(key)).map(|value| value.to_string());
        assert_eq!(value(SERVICE_INSTANCE_ID).as_deref(), Some("n1"));
        assert_eq!(value(SERVICE_NAME).as_deref(), Some(SERVICE_NAME_DEFAULT));
        assert_eq!(value(SERVICE_VERSION).as_deref(), Some(env!("CARGO_PKG_VERSION")));
    }
}
