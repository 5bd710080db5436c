//! `GET /v1/kv/{namespace}`: a page of a namespace, in the order of its keys.
//!
//! A page holds at most `limit` items, and fewer where deleted keys lie between them or values are large. While there is
//! a `next` (or `next_base64`) there may be more: send its bytes as `after`. Only the last page can be empty.

use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::path;
use super::problem::Problem;
use super::query::ListParameters;
use crate::bytes_json;
use crate::record::{Key, Namespace};
use crate::service::Service;
use crate::store::{Scan, StoreError, StoredRecord};

/// How many deleted keys are passed over in one step.
const LOOKED_AT_ONCE: usize = 1_000;

pub(super) async fn list(State(service): State<Service>, uri: Uri) -> Result<Response, Problem> {
    let namespace = path::namespace(&uri)?;
    let ListParameters { prefix, after, limit, values } = ListParameters::parse(&uri)?;
    let scan = scan(&service, namespace, prefix, after, limit).await?;
    let page = serde_json::to_vec(&Page { scan: &scan, values }).expect("a page is plain JSON");
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], page).into_response())
}

/// The next records, however many deleted keys lie before them.
async fn scan(
    service: &Service,
    namespace: Namespace,
    prefix: Bytes,
    after: Option<Key>,
    limit: usize,
) -> Result<Scan, StoreError> {
    let mut scan = service.list(namespace.clone(), prefix.clone(), after, limit).await?;
    while scan.records.is_empty()
        && let Some(next) = scan.next
    {
        scan = service.list(namespace.clone(), prefix.clone(), Some(next), LOOKED_AT_ONCE).await?;
    }
    if scan.records.len() > limit {
        scan.records.truncate(limit);
        scan.next = scan.records.last().map(|last| last.content.key.clone());
    }
    Ok(scan)
}

struct Page<'a> {
    scan: &'a Scan,
    values: bool,
}

impl Serialize for Page<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.values;
        let items: Vec<_> =
            self.scan.records.iter().map(|stored| Item { stored, values }).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("items", &items)?;
        if let Some(next) = &self.scan.next {
            bytes_json::entry(&mut map, "next", next.as_bytes())?;
        }
        map.end()
    }
}

struct Item<'a> {
    stored: &'a StoredRecord,
    values: bool,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let StoredRecord { record, content } = self.stored;
        let value = content.value.as_deref().unwrap_or_default();
        let mut map = serializer.serialize_map(None)?;
        bytes_json::entry(&mut map, "key", content.key.as_bytes())?;
        map.serialize_entry("version", &record.version().to_string())?;
        map.serialize_entry("write_id", &record.write_id.to_string())?;
        map.serialize_entry("value_bytes", &value.len())?;
        if self.values {
            bytes_json::entry(&mut map, "value", value)?;
        }
        map.end()
    }
}
