//! `POST /v1/batch`: many writes in one request, each with a verdict of its own.
//!
//! A batch is no transaction: it saves round trips. Every item is checked before the first one is executed. Items about
//! one key are executed in the order in which they stand, all others side by side.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use quorum_core::WriteId;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::body::Batches;
use super::problem::Problem;
use super::query;
use super::receipt::Committed;
use crate::client::TextOrBase64;
use crate::config::WriteQuorum;
use crate::record::{Key, Namespace};
use crate::service::Service;
use crate::write::{WriteFailed, WriteRequest};

/// Most writes of one request.
const ITEMS_MAX: usize = 1_000;

/// Longest text of a number of copies.
const COPIES_LEN_MAX: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    writes: Writes<'a>,
}

/// The first items as they stand in the body, and how many there are. A few bytes of JSON may mean a hundred times as much in
/// memory, so nothing is made of them before they are counted.
struct Writes<'a> {
    items: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Writes<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Counting;

        impl<'de> Visitor<'de> for Counting {
            type Value = Writes<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of writes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Writes<'de>, A::Error> {
                let mut items = Vec::new();
                while items.len() < ITEMS_MAX
                    && let Some(item) = list.next_element()?
                {
                    items.push(item);
                }
                let mut count = items.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Writes { items, count })
            }
        }

        from.deserialize_seq(Counting)
    }
}

/// A write as JSON says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    namespace: String,
    key: Option<String>,
    key_base64: Option<String>,
    // The outer level says whether the field is there, the inner one whether it is null.
    #[serde(default, deserialize_with = "present")]
    value: Option<Option<String>>,
    value_base64: Option<String>,
    write_id: Option<String>,
    #[serde(borrow)]
    w: Option<&'a RawValue>,
    timeout: Option<String>,
    durability: Option<String>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
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
    let batch: Batch<'_> =
        serde_json::from_slice(body).map_err(|error| Problem::invalid("body", &error))?;
    let Writes { items, count } = batch.writes;
    if count > ITEMS_MAX {
        let detail = format!("{count} writes, at most {ITEMS_MAX} in one batch");
        return Err(Problem::invalid("writes", &detail));
    }
    let requests = items.into_iter().enumerate().map(|(index, item)| {
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
fn request_of(item: &RawValue, members: usize, is_retry: bool) -> Result<WriteRequest, Wrong> {
    let wrong = |field: &str, detail: &dyn fmt::Display| (format!(".{field}"), detail.to_string());
    let item: Item<'_> =
        serde_json::from_str(item.get()).map_err(|error| (String::new(), error.to_string()))?;
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
    let copies = item.w.map(|w| copies(w.get(), members));
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

/// Copies as a number or as a text of one.
fn copies(json: &str, members: usize) -> Result<WriteQuorum, String> {
    if json.len() > COPIES_LEN_MAX {
        return Err(format!("{} bytes long, which no number of copies is", json.len()));
    }
    let text: Option<String> = serde_json::from_str(json).ok();
    query::copies(text.as_deref().unwrap_or(json), members)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Problem {
        read(body.as_bytes(), 3, false, |_| Ok(())).map(|_| ()).expect_err("refused")
    }

    #[test]
    fn items_are_counted_and_nonsense_is_named_however_much_of_it_there_is() {
        let many = format!("{{\"writes\":[{}0]}}", "[[]],".repeat(1_000_000));
        let Problem::Invalid { field, detail } = refused(&many) else {
            panic!("the field is named")
        };
        assert_eq!((field, &*detail), ("writes", "1000001 writes, at most 1000 in one batch"));
        let nested = format!("{{\"writes\":[[{}0]]}}", "[],".repeat(1_000_000));
        assert!(matches!(refused(&nested), Problem::InvalidItem { .. }));
        let item = |w: &str| {
            format!(
                "{{\"writes\":[{{\"namespace\":\"n\",\"key\":\"k\",\"value\":\"v\",\"w\":{w}}}]}}"
            )
        };
        let Problem::InvalidItem { field, .. } = refused(&item(&format!("[{}0]", "0,".repeat(99))))
        else {
            panic!("the field is named")
        };
        assert_eq!(&*field, "writes[0].w");
        for w in ["2", "\"2\"", "\"majority\"", "null"] {
            let read = read(item(w).as_bytes(), 3, false, |_| Ok(()));
            assert!(read.is_ok(), "{w}");
        }
    }
}
