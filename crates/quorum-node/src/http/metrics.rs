//! `GET /metrics`: all instruments in the Prometheus text format.

use axum::extract::State;
use axum::http::{HeaderName, header};
use quorum_metrics::PROMETHEUS_CONTENT_TYPE;

use crate::service::Service;

pub(super) async fn metrics(
    State(service): State<Service>,
) -> ([(HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE)], service.metrics_text())
}
