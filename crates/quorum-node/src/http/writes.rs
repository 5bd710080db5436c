//! `/v1/writes/{id}`: what became of a write.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::path;
use super::problem::Problem;
use super::query::StatusParameters;
use crate::bytes_json;
use crate::service::Service;
use crate::write_status::{WriteOutcome, WriteStatus};

pub(super) async fn status(State(service): State<Service>, uri: Uri) -> Result<Response, Problem> {
    let write_id = path::write_id(&uri)?;
    let members = service.config().members.len();
    let StatusParameters { copies, timeout } = StatusParameters::parse(&uri, members)?;
    let timeout = timeout.unwrap_or_else(|| service.config().quorum.read_timeout);
    let status = service.write_status(write_id, copies, timeout).await;
    if status.outcome == WriteOutcome::Expired {
        return Err(Problem::WriteExpired { write_id });
    }
    Ok(Json(body(&status, copies)).into_response())
}

fn body(status: &WriteStatus, copies: Option<usize>) -> Value {
    let members =
        status.members.iter().map(|(node, state)| json!({ "node": node, "state": state }));
    let mut body = Map::new();
    body.insert("write_id".into(), status.write_id.to_string().into());
    body.insert("outcome".into(), status.outcome.as_str().into());
    body.insert("copies".into(), status.copies.into());
    if let Some(copies) = copies {
        body.insert("reached".into(), (status.copies >= copies).into());
    }
    if let Some(found) = &status.found {
        body.insert("needed".into(), status.needed.into());
        body.insert("namespace".into(), found.namespace.as_str().into());
        bytes_json::insert(&mut body, "key", found.key.as_bytes());
        body.insert("version".into(), found.version.to_string().into());
        body.insert("digest".into(), found.digest.to_string().into());
    }
    body.insert("members".into(), members.collect());
    Value::Object(body)
}
