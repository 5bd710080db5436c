//! `[log]` and `[otlp]`: what a node tells about itself. (pure)

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[log]`: what is written to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LogSection {
    /// A level, or directives such as `"info,quorum_transport=debug"`.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { filter: "info,fjall=warn,lsm_tree=warn".into(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// `[otlp]`: metrics and traces pushed to a collector over http/protobuf. The standard `OTEL_*`
/// variables are honoured where the file is silent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OtlpSection {
    /// Whether anything is pushed.
    pub enabled: bool,
    /// The collector, e.g. `"http://127.0.0.1:4318"`; left out, `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Time between two pushes of the metrics.
    #[serde(with = "humantime_serde")]
    pub metrics_interval: Duration,
    /// Share of the writes that are traced, from 0 to 1. A trace that a client began is followed
    /// as the client decided.
    pub trace_ratio: f64,
}

impl Default for OtlpSection {
    fn default() -> Self {
        Self {
            enabled: false,
            endpoint: None,
            metrics_interval: Duration::from_secs(30),
            trace_ratio: 0.01,
        }
    }
}
