//! The HTTP face of a node. The routes are below; each file serves one of them or guards all of them.
//!
//! - [`kv`], [`batch`], [`list`], [`watch`], [`writes`], [`export`], [`status`], [`forget`], [`health`], [`metrics`], [`page`]: what is served.
//! - [`path`], [`query`], [`percent`], [`trace_parent`]: requests read into values, strictly.
//! - [`receipt`], [`problem`]: answers as JSON; every error is an RFC 9457 problem.
//! - [`auth`], [`browser`], [`body`]: who is let in, and how much a request may bring along.
//! - [`server`], [`tls`]: connections.

mod auth;
mod batch;
mod body;
mod browser;
mod export;
mod forget;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod health;
mod kv;
mod list;
mod metrics;
mod page;
mod path;
mod percent;
mod problem;
mod query;
mod receipt;
mod server;
mod status;
mod tls;
mod trace_parent;
mod watch;
mod writes;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub use server::Server;

use auth::Door;
use body::{Batches, Bodies};
use problem::Problem;
use status::DigestTurn;
use watch::Places;

use crate::config::HttpSection;
use crate::service::Service;

/// What the handlers share.
#[derive(Debug, Clone)]
struct Shared {
    service: Service,
    bodies: Bodies,
    batches: Batches,
    places: Places,
    digest_turn: DigestTurn,
}

/// Longest body of a batch.
const BATCH_BYTES_MAX: usize = 16 << 20;

fn router(service: Service, section: &HttpSection, door: Door) -> Router {
    let bodies_bytes_max = service.config().quorum.in_flight_bytes_max.as_usize();
    let bodies = Bodies::new(section.body_bytes_max.as_usize(), bodies_bytes_max);
    let batches = Batches(bodies.with_body_bytes_max(BATCH_BYTES_MAX.min(bodies_bytes_max)));
    let places = Places::new(service.config().watch.streams_max);
    let one_key = get(kv::get).put(kv::put).delete(kv::delete);
    Router::new()
        .route("/v1/kv/{namespace}/{*key}", one_key.clone())
        // An empty namespace or key is a mistake to be named, not an unknown path.
        .route("/v1/kv/{namespace}/", one_key.clone())
        .route("/v1/kv//{*key}", one_key)
        .route("/v1/kv/{namespace}", get(list::list))
        .route("/v1/batch", post(batch::batch))
        .route("/v1/watch/{namespace}", get(watch::watch))
        .route("/v1/writes/{id}", get(writes::status))
        .route("/v1/export", get(export::export))
        .route("/v1/status", get(status::status))
        .route("/v1/peers", get(status::peers))
        .route("/v1/peers/{name}/forget", post(forget::forget))
        .route("/healthz", get(health::live))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/", get(page::page))
        .fallback(async || Problem::UnknownPath)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(from_fn_with_state(door, auth::check))
        .with_state(Shared { service, bodies, batches, places, digest_turn: DigestTurn::default() })
}

impl FromRef<Shared> for Service {
    fn from_ref(shared: &Shared) -> Self {
        shared.service.clone()
    }
}

impl FromRef<Shared> for Bodies {
    fn from_ref(shared: &Shared) -> Self {
        shared.bodies.clone()
    }
}

impl FromRef<Shared> for Batches {
    fn from_ref(shared: &Shared) -> Self {
        shared.batches.clone()
    }
}

impl FromRef<Shared> for Places {
    fn from_ref(shared: &Shared) -> Self {
        shared.places.clone()
    }
}

impl FromRef<Shared> for DigestTurn {
    fn from_ref(shared: &Shared) -> Self {
        shared.digest_turn.clone()
    }
}
