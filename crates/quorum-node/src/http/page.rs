//! `GET /`: the status page, one file that loads nothing from elsewhere.

use axum::http::{HeaderName, header};
use axum::response::Html;

const PAGE: &str = include_str!("page.html");

/// The page may run its own script and ask this node; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn page() -> ([(HeaderName, &'static str); 1], Html<&'static str>) {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))
}
