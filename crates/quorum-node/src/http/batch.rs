//! `POST /v1/batch`: many writes in one request, each with a verdict of its own.
//!
//! A batch is no transaction: it saves round trips. Every item is checked before the first one is executed. Items about
//! one key are executed in the order in which they stand, all others side by side.

use std::collections::HashMap;
use std::str::FromStr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use quorum_core::WriteId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Batches;
use super::problem::Problem;
use super::query;
use super::receipt::Committed;
use crate::client::TextOrBase64;
use crate::record::{Key, Namespace};
use crate::service::Service;
use crate::write::{WriteFailed, WriteRequest};

/// Most writes of one request.
const ITEMS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    writes: Vec<Value>,
}

/// A write as JSON says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    namespace: String,
    key: Option<String>,
    key_base64: Option<String>,
    // The outer level says whether the field is there, the inner one whether it is null.
    #[serde(default, deserialize_with = "present")]
    value: Option<Option<String>>,
    value_base64: Option<String>,
    write_id: Option<String>,
    w: Option<Value>,
    timeout: Option<String>,
    durability: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

pub(super) async fn batch(
    State(service): State<Service>,
    State(batches): State<Batches>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    check_uri(&parts.uri)?;
    let is_retry = query::is_retry(&parts.headers)?;
    // Its room is given back when all writes have their verdicts, not before.
    let body = batches.0.receive(&parts.headers, body).await?;
    let members = service.config().members.len();
    let requests = read(&body.bytes, members, is_retry, |request| check(&service, request))?;
    Ok(answer(&execute(&service, requests).await))
}

/// A field of a write, and what is wrong with it.
pub(super) type Wrong = (String, String);

/// The writes that a body asks for, each approved by `check`.
pub(super) fn read(
    body: &[u8],
    members: usize,
    is_retry: bool,
    check: impl Fn(&WriteRequest) -> Result<(), Wrong>,
) -> Result<Vec<WriteRequest>, Problem> {
    let batch: Batch =
        serde_json::from_slice(body).map_err(|error| Problem::invalid("body", &error))?;
    if batch.writes.len() > ITEMS_MAX {
        let detail = format!("{} writes, at most {ITEMS_MAX} in one batch", batch.writes.len());
        return Err(Problem::invalid("writes", &detail));
    }
    let requests = batch.writes.into_iter().enumerate().map(|(index, item)| {
        let request = request_of(item, members, is_retry);
        let checked = request.and_then(|request| check(&request).map(|()| request));
        checked.map_err(|(field, detail)| Problem::InvalidItem {
            field: format!("writes[{index}]{field}"),
            detail,
        })
    });
    requests.collect()
}

fn check_uri(uri: &Uri) -> Result<(), Problem> {
    query::check_none(uri)
}

/// What is wrong with a write that its namespace, or this node, does not allow.
fn check(service: &Service, request: &WriteRequest) -> Result<(), Wrong> {
    service.check(request).map_err(|failed| match failed {
        WriteFailed::Forbidden { field, detail } => (format!(".{field}"), detail),
        other => (".value".to_owned(), other.to_string()),
    })
}

/// The write that an item means, or which field of it is wrong and why.
fn request_of(item: Value, members: usize, is_retry: bool) -> Result<WriteRequest, Wrong> {
    let wrong =
        |field: &str, detail: &dyn std::fmt::Display| (format!(".{field}"), detail.to_string());
    let item: Item =
        serde_json::from_value(item).map_err(|error| (String::new(), error.to_string()))?;
    let namespace = Namespace::new(&item.namespace).map_err(|error| wrong("namespace", &error))?;
    let key = TextOrBase64::from_fields("key", item.key, item.key_base64)
        .and_then(|key| key.ok_or_else(|| "no \"key\" or \"key_base64\"".to_owned()))
        .map_err(|error| wrong("key", &error))?;
    let key = Key::new(key).map_err(|error| wrong("key", &error))?;
    let value = match (item.value, item.value_base64) {
        (Some(None), None) => None,
        (None, None) => {
            return Err(wrong("value", &"no \"value\" or \"value_base64\"; null deletes"));
        }
        (value, base64) => TextOrBase64::from_fields("value", value.flatten(), base64)
            .map_err(|error| wrong("value", &error))?,
    };
    let write_id = item.write_id.map(|id| WriteId::from_str(&id)).transpose();
    let write_id = write_id.map_err(|error| wrong("write_id", &error))?;
    if is_retry && write_id.is_none() {
        return Err(wrong("write_id", &"a retry needs the write id of the first attempt"));
    }
    let copies = item.w.map(|w| match w {
        Value::String(text) => query::copies(&text, members),
        other => query::copies(&other.to_string(), members),
    });
    let timeout = item.timeout.map(|timeout| query::timeout(&timeout)).transpose();
    let durability = item.durability.map(|durability| query::durability(&durability)).transpose();
    Ok(WriteRequest {
        namespace,
        key,
        value: value.map(Bytes::from),
        write_id,
        copies: copies.transpose().map_err(|error| wrong("w", &error))?,
        timeout: timeout.map_err(|error| wrong("timeout", &error))?,
        durability: durability.map_err(|error| wrong("durability", &error))?,
        is_retry,
    })
}

/// Runs all writes and gives each one's answer, in the order in which they were asked for.
async fn execute(service: &Service, requests: Vec<WriteRequest>) -> Vec<Value> {
    let mut answers: Vec<Value> = vec![Value::Null; requests.len()];
    let mut by_key: HashMap<(Namespace, Key), Vec<(usize, WriteRequest)>> = HashMap::new();
    for (index, request) in requests.into_iter().enumerate() {
        let about = (request.namespace.clone(), request.key.clone());
        by_key.entry(about).or_default().push((index, request));
    }
    let mut running: FuturesUnordered<_> = by_key
        .into_values()
        .map(|group| async move {
            let mut done = Vec::with_capacity(group.len());
            for (index, request) in group {
                done.push((index, one(service, request).await));
            }
            done
        })
        .collect();
    while let Some(done) = running.next().await {
        for (index, answer) in done {
            answers[index] = answer;
        }
    }
    answers
}

/// One item's receipt or problem, with its status.
async fn one(service: &Service, request: WriteRequest) -> Value {
    match service.write(request).await {
        Ok(done) => {
            let mut receipt = Committed::of(&done);
            receipt.status = Some(StatusCode::OK.as_u16());
            serde_json::to_value(receipt).expect("a receipt is JSON")
        }
        Err(failed) => Problem::from(failed).body(),
    }
}

fn answer(results: &[Value]) -> Response {
    let count =
        |outcome: &str| results.iter().filter(|result| result["outcome"] == outcome).count();
    let (committed, indeterminate) = (count("committed"), count("indeterminate"));
    let status = if committed == results.len() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    let body = json!({
        "committed": committed,
        "not_applied": results.len() - committed - indeterminate,
        "indeterminate": indeterminate,
        "results": results,
    });
    (status, Json(body)).into_response()
}
