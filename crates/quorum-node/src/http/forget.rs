//! `POST /v1/peers/{name}/forget`: an operator's word that a member's data will not come back.

use axum::Json;
use axum::extract::{Path, Request, State};
use quorum_core::PeerId;
use serde::Deserialize;

use super::body::Bodies;
use super::problem::Problem;
use super::query;
use crate::forget::{ForgetFailed, Forgotten};
use crate::service::Service;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    confirm: String,
}

pub(super) async fn forget(
    State(service): State<Service>,
    State(bodies): State<Bodies>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Forgotten>, Problem> {
    let (parts, body) = request.into_parts();
    query::check_none(&parts.uri)?;
    let name = PeerId::new(&name).map_err(|error| Problem::invalid("name", &error))?;
    let body = bodies.receive(&parts.headers, body).await?;
    let confirmed = serde_json::from_slice::<Confirmation>(&body.bytes);
    if confirmed.map(|body| body.confirm).ok().as_deref() != Some(name.as_str()) {
        let detail = format!(
            "confirm with the body {{\"confirm\": \"{name}\"}}: tombstones are then purged without {name}, its present data is never merged again, and when it returns it begins anew"
        );
        return Err(Problem::Invalid { field: "confirm", detail });
    }
    service.forget(&name).await.map(Json).map_err(Problem::from)
}

impl From<ForgetFailed> for Problem {
    fn from(failed: ForgetFailed) -> Self {
        match failed {
            ForgetFailed::NoPeer(_) => Self::UnknownPath,
            ForgetFailed::Store(error) => Self::StoreFailed {
                detail: format!(
                    "{error}; lives of the member may be forgotten all the same: forget it again once the node has restarted"
                ),
            },
            refused => Self::NotForgotten { detail: refused.to_string() },
        }
    }
}
