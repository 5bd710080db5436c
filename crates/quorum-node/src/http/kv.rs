//! `/v1/kv/{namespace}/{key}`: writes, reads and deletes one value.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use quorum_metrics::adopt_remote_parent;
use tracing::{Instrument, Span};

use super::body::Bodies;
use super::path;
use super::problem::Problem;
use super::query::{ReadParameters, WriteParameters};
use super::receipt::Committed;
use super::trace_parent::trace_parent;
use crate::config::Consistency;
use crate::read::{ReadFound, ReadRequest};
use crate::record::{Key, Namespace};
use crate::service::Service;
use crate::write::WriteRequest;

/// Names the write that a value comes from.
const WRITE_ID: HeaderName = HeaderName::from_static("quorum-write-id");

/// How consistent a read was.
const CONSISTENCY: HeaderName = HeaderName::from_static("quorum-consistency");
/// Whether its read quorum overlaps with every write quorum.
const OVERLAPPING: HeaderName = HeaderName::from_static("quorum-overlapping");
/// Members that answered, of those that had to.
const ANSWERS: HeaderName = HeaderName::from_static("quorum-answers");

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
        let WriteParameters { copies, timeout, durability, consistency, write_id, is_retry } =
            parameters;
        check_consistency(service, &namespace, consistency)?;
        let request =
            WriteRequest { namespace, key, value, write_id, copies, timeout, durability, is_retry };
        let receipt = service.write(request).instrument(span).await?;
        Ok(Json(Committed::of(&receipt)).into_response())
    }
}

/// A write is as consistent as its namespace: nothing weaker, and nothing stronger, is written into it.
fn check_consistency(
    service: &Service,
    namespace: &Namespace,
    asked: Option<Consistency>,
) -> Result<(), Problem> {
    let is_linearizable = service.policies().of(namespace).is_linearizable();
    let detail = match asked {
        Some(Consistency::Local) => "a write is made at a quorum, never at one node only",
        Some(Consistency::Quorum) if is_linearizable => {
            "this namespace is linearizable, so every write to it is"
        }
        Some(Consistency::Linearizable) if !is_linearizable => {
            "linearizable is what a namespace is configured to be, not what one write asks for"
        }
        _ => return Ok(()),
    };
    Err(Problem::invalid("consistency", &detail))
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
    let ReadParameters { consistency, members, timeout } = ReadParameters::parse(&uri)?;
    let found =
        service.read_as(ReadRequest { namespace, key, consistency, members, timeout }).await?;
    let promise = promise_of(&found);
    let Some((record, value)) =
        found.stored.and_then(|stored| Some((stored.record, stored.content.value?)))
    else {
        return Ok((promise, Problem::KeyNotFound.into_response()).into_response());
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        // Whoever can write a value must not be able to make a browser run it here.
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::ETAG, printable(&format!("\"{}\"", record.version()))),
        (WRITE_ID, printable(&record.write_id.to_string())),
    ];
    Ok((promise, headers, value).into_response())
}

/// What the read promises: how many members it heard, and whether every such read hears of every committed write.
fn promise_of(found: &ReadFound) -> [(HeaderName, HeaderValue); 3] {
    let (got, needed) = found.answers;
    [
        (CONSISTENCY, HeaderValue::from_static(found.consistency.as_str())),
        (OVERLAPPING, HeaderValue::from_static(if found.overlapping { "true" } else { "false" })),
        (ANSWERS, printable(&format!("{got}/{needed}"))),
    ]
}

fn printable(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("versions and write ids are printable ASCII")
}
