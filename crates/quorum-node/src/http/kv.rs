//! `/v1/kv/{namespace}/{key}`: writes, reads and deletes one value.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use quorum_metrics::adopt_remote_parent;
use tracing::{Instrument, Span};

use super::body::Bodies;
use super::problem::Problem;
use super::query::{self, WriteParameters};
use super::trace_parent::trace_parent;
use super::{path, receipt};
use crate::record::{Key, Namespace};
use crate::service::Service;
use crate::write::WriteRequest;

/// Names the write that a value comes from.
const WRITE_ID: HeaderName = HeaderName::from_static("quorum-write-id");

pub(super) async fn put(
    State(service): State<Service>,
    State(bodies): State<Bodies>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let asked = Asked::parse(&service, &parts.uri, &parts.headers)?;
    // Its room is given back when the write has its verdict, not before.
    let value = bodies.receive(&parts.headers, body).await?;
    asked.write(&service, Some(value.bytes.clone())).await
}

pub(super) async fn delete(
    State(service): State<Service>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Asked::parse(&service, &uri, &headers)?.write(&service, None).await
}

/// A write that lacks only its value.
struct Asked {
    namespace: Namespace,
    key: Key,
    parameters: WriteParameters,
    span: Span,
}

impl Asked {
    fn parse(service: &Service, uri: &Uri, headers: &HeaderMap) -> Result<Self, Problem> {
        let (namespace, key) = path::namespace_and_key(uri)?;
        let members = service.config().members.len();
        let parameters = WriteParameters::parse(uri, headers, members)?;
        Ok(Self { namespace, key, parameters, span: span_of(headers) })
    }

    async fn write(self, service: &Service, value: Option<Bytes>) -> Result<Response, Problem> {
        let Self { namespace, key, parameters, span } = self;
        let WriteParameters { copies, timeout, durability, write_id } = parameters;
        let request = WriteRequest { namespace, key, value, write_id, copies, timeout, durability };
        let receipt = service.write(request).instrument(span).await?;
        Ok(Json(receipt::committed(&receipt)).into_response())
    }
}

/// A span within the client's trace; none if it sent none, so that the commit begins a trace of its own.
fn span_of(headers: &HeaderMap) -> Span {
    let Some(parent) = trace_parent(headers) else { return Span::none() };
    let span = tracing::debug_span!("http.write");
    adopt_remote_parent(&span, parent);
    span
}

pub(super) async fn get(State(service): State<Service>, uri: Uri) -> Result<Response, Problem> {
    let (namespace, key) = path::namespace_and_key(&uri)?;
    query::check_read(&uri)?;
    let stored = service.read(&namespace, &key)?.ok_or(Problem::KeyNotFound)?;
    let value = stored.content.value.ok_or(Problem::KeyNotFound)?;
    let record = &stored.record;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        // Whoever can write a value must not be able to make a browser run it here.
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::ETAG, printable(&format!("\"{}\"", record.version()))),
        (WRITE_ID, printable(&record.write_id.to_string())),
    ];
    Ok((headers, value).into_response())
}

fn printable(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("versions and write ids are printable ASCII")
}
