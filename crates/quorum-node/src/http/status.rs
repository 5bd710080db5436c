//! `GET /v1/status` and `GET /v1/peers`: what the node says about itself and its links.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use tokio::sync::Semaphore;

use super::problem::Problem;
use super::query;
use crate::service::Service;
use crate::status::{NodeStatus, PeerReport};

/// One digest at a time: each reads everything the node holds.
#[derive(Debug, Clone)]
pub(super) struct DigestTurn(Arc<Semaphore>);

impl Default for DigestTurn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

pub(super) async fn status(
    State(service): State<Service>,
    State(turn): State<DigestTurn>,
    uri: Uri,
) -> Result<Json<NodeStatus>, Problem> {
    let with_digest = query::wants_digest(&uri)?;
    let _turn = if with_digest {
        Some(turn.0.acquire().await.expect("the semaphore is never closed"))
    } else {
        None
    };
    Ok(Json(service.status(with_digest).await?))
}

pub(super) async fn peers(
    State(service): State<Service>,
    uri: Uri,
) -> Result<Json<Vec<PeerReport>>, Problem> {
    query::check_none(&uri)?;
    Ok(Json(service.peers()))
}
