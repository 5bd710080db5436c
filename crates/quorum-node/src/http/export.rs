//! `GET /v1/export`: everything, or one namespace, as newline-delimited JSON, in constant memory.
//!
//! One line per live record, `{"namespace", "key", "value"}`, in the order of namespace and key and without versions, so
//! that replicas which hold the same export the same bytes. Each page is what was synced when it was read: an export
//! during writes is no snapshot. A failure midway breaks the transfer off, so that half an export cannot pass for one.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::problem::Problem;
use super::{bytes_json, query};
use crate::record::{Content, Key, Namespace};
use crate::service::Service;
use crate::store::{ExportCursor, StoreError, StoredRecord};

/// Records read at once.
const PAGE_RECORDS: usize = 1_000;

pub(super) async fn export(State(service): State<Service>, uri: Uri) -> Result<Response, Problem> {
    let place = match query::exported_namespace(&uri)? {
        Some(namespace) => Place::Namespace(namespace, None),
        None => Place::Everything(None),
    };
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    let body = Body::from_stream(lines(service, place));
    Ok(([(header::CONTENT_TYPE, ndjson)], body).into_response())
}

/// Where an export goes on.
enum Place {
    Everything(Option<ExportCursor>),
    Namespace(Namespace, Option<Key>),
}

fn lines(service: Service, place: Place) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold(Some(place), move |place| {
        let service = service.clone();
        async move {
            let Some(place) = place else { return Ok(None) };
            let (records, next) = page(&service, place).await?;
            Ok(Some((page_lines(&records), next)))
        }
    })
}

async fn page(
    service: &Service,
    place: Place,
) -> Result<(Vec<StoredRecord>, Option<Place>), StoreError> {
    match place {
        Place::Everything(after) => {
            let page = service.export(after, PAGE_RECORDS).await?;
            Ok((page.records, page.next.map(|next| Place::Everything(Some(next)))))
        }
        Place::Namespace(namespace, after) => {
            let page = service.list(namespace.clone(), Bytes::new(), after, PAGE_RECORDS).await?;
            Ok((page.records, page.next.map(|next| Place::Namespace(namespace, Some(next)))))
        }
    }
}

fn page_lines(records: &[StoredRecord]) -> Bytes {
    let mut lines = Vec::new();
    for stored in records {
        serde_json::to_writer(&mut lines, &Line(&stored.content)).expect("a line is plain JSON");
        lines.push(b'\n');
    }
    lines.into()
}

struct Line<'a>(&'a Content);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Content { namespace, key, value } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("namespace", namespace.as_str())?;
        bytes_json::entry(&mut map, "key", key.as_bytes())?;
        bytes_json::entry(&mut map, "value", value.as_deref().unwrap_or_default())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_text_where_it_can_be_and_base64_elsewhere() {
        let line = |key: &'static [u8], value: &'static [u8]| {
            let namespace = Namespace::new("ns").expect("a name");
            let (key, value) = (Key::new(key).expect("a key"), Some(Bytes::from_static(value)));
            serde_json::to_string(&Line(&Content { namespace, key, value })).expect("JSON")
        };
        assert_eq!(line(b"k", b"v\n"), r#"{"namespace":"ns","key":"k","value":"v\n"}"#);
        let bytes = r#"{"namespace":"ns","key_base64":"/w==","value_base64":"gIE="}"#;
        assert_eq!(line(b"\xff", b"\x80\x81"), bytes);
    }
}
