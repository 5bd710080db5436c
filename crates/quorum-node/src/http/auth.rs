//! Who may use the interface: whoever holds a token, or, where none is configured, whoever can reach it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;

use super::browser;
use super::problem::Problem;
use crate::config::Tokens;

/// Served to everybody who can reach the interface, so that probes need no secret.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// The rule at the door.
#[derive(Debug, Clone)]
pub(super) enum Door {
    /// A bearer token is needed.
    Tokens(Arc<Tokens>),
    /// No token is needed; web pages of other sites are kept away.
    Open {
        /// Whether a host may have any name, because a certificate vouches for it.
        any_host: bool,
    },
}

/// Lets a request in, or answers it at once.
pub(super) async fn check(
    State(door): State<Door>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match &door {
        Door::Tokens(tokens) => {
            let is_open = OPEN_PATHS.contains(&request.uri().path());
            if !is_open && !presents_one_of(tokens, request.headers()) {
                return Err(Problem::Unauthorized);
            }
        }
        Door::Open { any_host } => browser::check(request.method(), request.headers(), *any_host)?,
    }
    Ok(next.run(request).await)
}

fn presents_one_of(tokens: &Tokens, headers: &HeaderMap) -> bool {
    let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = presented.and_then(|text| text.split_once(' '));
    bearer.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer") && tokens.accepts(token.trim())
    })
}
