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

use super::problem::Problem;
use super::query;
use crate::export_line;
use crate::record::{Key, Namespace};
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
        export_line::write(&stored.content, &mut lines).expect("a Vec takes everything");
    }
    lines.into()
}
