//! What holds for whatever a client sends: claims that a fuzzer tries to refute.

use std::collections::BTreeMap;
use std::fmt::Debug;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::query::{
    self, ListParameters, ReadParameters, StatusParameters, WatchParameters, WriteParameters,
};
use super::{batch, path, trace_parent};
use crate::client::key_path;
use crate::config::check::ACK_TIMEOUT_MAX;
use crate::write::WriteRequest;
use crate::{bytes_json, config::WriteQuorum};

/// Members of the mesh that is asked.
const MEMBERS: usize = 3;

/// The parameters of a write.
const WRITE_PARAMETERS: &[&str] = &["w", "timeout", "durability", "consistency"];

/// What a write may blame besides its parameters.
const WRITE_HEADERS: &[&str] = &[
    "Idempotency-Key",
    "Quorum-Retry",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "Content-Range",
];

/// A request without its body: the first byte chooses what is asked, the first line is path and query, and every further
/// line is a header.
///
/// Whatever is refused is blamed on a part of the request, by name, and never on the node; whatever is read lies within
/// its bounds, and reads the same when it is written anew.
///
/// # Panics
///
/// If a claim is false.
pub fn http_request(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return };
    let headers = headers(lines);
    check_paths(&uri);
    let _followed = trace_parent::trace_parent(&headers);
    match kind % 8 {
        0 => check_write(&uri, &headers),
        1 => {
            let read = blamed(ReadParameters::parse(&uri), &["consistency", "r", "timeout"], &[]);
            let timeout = read.and_then(|read| read.timeout);
            assert!(timeout.is_none_or(|timeout| timeout <= ACK_TIMEOUT_MAX));
        }
        2 => {
            let watch = WatchParameters::parse(&uri, &headers);
            blamed(watch, &["prefix", "after"], &["Last-Event-ID"]);
        }
        3 => {
            let asked = blamed(StatusParameters::parse(&uri, MEMBERS), &["copies", "timeout"], &[]);
            let copies = asked.and_then(|asked| asked.copies);
            assert!(copies.is_none_or(|copies| (1..=MEMBERS).contains(&copies)));
        }
        4 => {
            let known = ["prefix", "after", "limit", "values", "consistency"];
            let list = blamed(ListParameters::parse(&uri), &known, &[]);
            assert!(list.is_none_or(|list| (1..=1_000).contains(&list.limit)));
        }
        5 => drop(blamed(query::exported_namespace(&uri), &["namespace"], &[])),
        6 => drop(blamed(query::wants_digest(&uri), &["digest"], &[])),
        _ => drop(blamed(query::check_none(&uri), &[], &[])),
    }
}

/// The body of a batch: the first byte says how many members there are and whether it is a retry.
///
/// A batch that is refused is blamed on one of its items and a field of it; one that is read asks for what it says, so
/// that its writes, written anew, are the same batch.
///
/// # Panics
///
/// If a claim is false.
pub fn http_batch(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    let (is_retry, members) = (kind & 1 != 0, 1 + usize::from(kind >> 1) % 7);
    let anything = |_: &WriteRequest| Ok(());
    let requests = match batch::read(body, members, is_retry, anything) {
        Ok(requests) => requests,
        Err(problem) => return check_batch_problem(&problem),
    };
    for request in &requests {
        assert!(!is_retry || request.write_id.is_some(), "a retry without the id of the first try");
        assert!(request.timeout.is_none_or(|timeout| timeout <= ACK_TIMEOUT_MAX));
        let copies = request.copies.map(|copies| copies.of(members));
        assert!(copies.is_none_or(|copies| (1..=members).contains(&copies)));
    }
    let written = json!({ "writes": requests.iter().map(item).collect::<Vec<_>>() });
    let again = batch::read(written.to_string().as_bytes(), members, is_retry, anything);
    let again = again.expect("what was read can be written");
    assert_eq!(format!("{again:?}"), format!("{requests:?}"));
}

fn check_batch_problem(problem: &Problem) {
    const FIELDS: &[&str] =
        &["", ".namespace", ".key", ".value", ".write_id", ".w", ".timeout", ".durability"];
    check_body(problem);
    match problem {
        Problem::Invalid { field, .. } => assert!(["body", "writes"].contains(field)),
        Problem::InvalidItem { field, .. } => {
            let rest = field.strip_prefix("writes[").expect("an item");
            let (index, field) = rest.split_once(']').expect("an item");
            assert!(index.parse().is_ok_and(|index: usize| index < 1_000));
            assert!(FIELDS.contains(&field), "{field} is no field");
        }
        other => panic!("{other:?}"),
    }
}

fn item(request: &WriteRequest) -> Value {
    let mut item = Map::new();
    item.insert("namespace".into(), request.namespace.as_str().into());
    bytes_json::insert(&mut item, "key", request.key.as_bytes());
    match &request.value {
        Some(value) => bytes_json::insert(&mut item, "value", value),
        None => drop(item.insert("value".into(), Value::Null)),
    }
    let mut text = |name: &str, text: Option<String>| {
        text.map(|text| item.insert(name.into(), text.into()));
    };
    text("write_id", request.write_id.map(|id| id.to_string()));
    text("timeout", request.timeout.map(|timeout| humantime::format_duration(timeout).to_string()));
    text("durability", request.durability.map(|durability| durability.as_str().to_owned()));
    let number = |copies: WriteQuorum| match copies {
        WriteQuorum::Exactly(number) => number.into(),
        word => word.to_string().into(),
    };
    request.copies.map(|copies| item.insert("w".into(), number(copies)));
    item.into()
}

fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    headers
}

fn check_paths(uri: &Uri) {
    if let Some((namespace, key)) = blamed(path::namespace_and_key(uri), &[], &["namespace", "key"])
    {
        let again = key_path(&namespace, &key).parse().expect("a path is a URI");
        assert_eq!(path::namespace_and_key(&again).expect("its own path"), (namespace, key));
    }
    blamed(path::namespace(uri), &[], &["namespace"]);
    blamed(path::watched_namespace(uri), &[], &["namespace"]);
    blamed(path::write_id(uri), &[], &["write_id"]);
}

fn check_write(uri: &Uri, headers: &HeaderMap) {
    let write = WriteParameters::parse(uri, headers, MEMBERS);
    let Some(write) = blamed(write, WRITE_PARAMETERS, WRITE_HEADERS) else { return };
    assert!(!write.is_retry || write.write_id.is_some());
    assert!(write.copies.is_none_or(|copies| (1..=MEMBERS).contains(&copies.of(MEMBERS))));
    let parameters: BTreeMap<&str, Option<String>> = BTreeMap::from([
        ("w", write.copies.map(|copies| copies.to_string())),
        ("timeout", write.timeout.map(|time| humantime::format_duration(time).to_string())),
        ("durability", write.durability.map(|durability| durability.as_str().to_owned())),
        ("consistency", write.consistency.map(|consistency| consistency.as_str().to_owned())),
    ]);
    let mut written = String::from("/?");
    for (name, value) in parameters {
        if let Some(value) = value {
            written.push_str(&format!("{name}={}&", value.replace(' ', "+")));
        }
    }
    let mut headers = HeaderMap::new();
    if let Some(id) = write.write_id {
        headers.insert("Idempotency-Key", id.to_string().parse().expect("a header"));
    }
    headers
        .insert("Quorum-Retry", HeaderValue::from_static(if write.is_retry { "1" } else { "0" }));
    let again = WriteParameters::parse(&written.parse().expect("a URI"), &headers, MEMBERS);
    assert_eq!(again.expect("what was read can be written"), write);
}

/// What was read; a problem must blame one of the parameters that are known, or another part of the request. A parameter
/// that has the name of such a part is unknown all the same.
fn blamed<T: Debug>(read: Result<T, Problem>, parameters: &[&str], others: &[&str]) -> Option<T> {
    let problem = match read {
        Ok(read) => return Some(read),
        Err(problem) => problem,
    };
    check_body(&problem);
    match &problem {
        Problem::Invalid { field, .. } | Problem::NotSupported { field, .. } => {
            let is_known = parameters.contains(field) || others.contains(field);
            assert!(is_known, "{field} is not asked for here");
        }
        Problem::UnknownParameter { name } => assert!(!parameters.contains(&name.as_str())),
        other => panic!("{other:?}"),
    }
    None
}

/// Whatever is wrong with a request is the client's fault, happened before anything was done, and is told in words.
fn check_body(problem: &Problem) {
    let body = problem.body();
    assert_eq!(body["status"], 400, "{body}");
    assert_eq!(body["outcome"], "not_applied", "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
}
