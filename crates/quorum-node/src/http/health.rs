//! `/healthz`, `/livez` and `/readyz`. Being alive never depends on peers; being ready does, and says on what.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::problem::Problem;
use crate::service::Service;

pub(super) async fn live() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(service): State<Service>) -> Result<Json<Value>, Problem> {
    let reasons = service.not_ready();
    if reasons.is_empty() {
        Ok(Json(json!({ "ready": true })))
    } else {
        Err(Problem::NotReady { reasons })
    }
}
