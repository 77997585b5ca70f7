//! The HTTP API, and the server that carries it and the dashboard.
//!
//! - [`types`]: requests, answers, errors
//! - [`router`]: every route; [`openapi`]: their description, checked against [`ROUTES`] by a test
//! - [`serve`]: binds loopback only, until there are roles
//!
//! What it does not do: ask who somebody is. Whoever reaches the port may do everything, which is why it listens to this
//! machine alone.

mod change;
mod error;
mod health;
mod layer;
mod listen;
mod logs;
pub mod openapi;
mod read;
mod source;
pub mod types;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch as signal};

use crate::deploy::companion::logs::FleetTopology;
use crate::fleet::FleetHandle;
use crate::history::Historian;
use crate::metrics::Metrics;
use crate::store::{Asks, Writes};
pub use error::ApiError;
pub use listen::{ListenError, bind, serve};

/// Seconds after which what is not known yet may be: reading the store takes less.
pub(crate) const RETRY_AFTER: &str = "5";

/// Clients that may watch at one time.
const MOST_WATCHERS: usize = 256;

/// What the handlers share; clones are cheap.
#[derive(Clone)]
pub struct ApiState {
    fleet: FleetHandle,
    topology: FleetTopology,
    store: Arc<dyn Writes>,
    historian: Historian,
    metrics: Arc<Metrics>,
    watchers: Arc<Semaphore>,
    stopped: signal::Receiver<bool>,
}

impl ApiState {
    /// State over this aggregate, store and way to the devices. `stopped` turning true ends all streams.
    #[must_use]
    pub fn new(
        fleet: FleetHandle,
        store: Arc<dyn Writes>,
        asks: Arc<dyn Asks>,
        metrics: Arc<Metrics>,
        stopped: signal::Receiver<bool>,
    ) -> Self {
        let historian = Historian::new(Arc::clone(&store));
        Self {
            topology: FleetTopology::new(fleet.clone(), asks),
            fleet,
            store,
            historian,
            metrics,
            watchers: Arc::new(Semaphore::new(MOST_WATCHERS)),
            stopped,
        }
    }

    /// Waits, at most `limit`, until every change that was made has its line in the history, also those whose caller has
    /// gone. Gives how many have not; the log has them.
    pub async fn settled(&self, limit: std::time::Duration) -> usize {
        self.historian.settled(limit).await
    }
}

/// Every route of the API with its methods; the router is tested against it.
pub const ROUTES: &[(&str, &[&str])] = &[
    ("/api/v0/status", &["get"]),
    ("/api/v0/devices", &["get"]),
    ("/api/v0/devices/{id}", &["get"]),
    ("/api/v0/deployments", &["get"]),
    ("/api/v0/deployments/{name}", &["get", "put", "delete"]),
    ("/api/v0/deployments/{name}/devices/{id}", &["get"]),
    ("/api/v0/deployments/{name}/devices/{id}/logs", &["get"]),
    ("/api/v0/pairs", &["get"]),
    ("/api/v0/events", &["get"]),
    ("/api/v0/watch", &["get"]),
    ("/api/v0/openapi.json", &["get"]),
    ("/healthz", &["get"]),
    ("/readyz", &["get"]),
    ("/metrics", &["get"]),
];

/// API and dashboard.
pub fn router(state: ApiState) -> Router {
    let dashboard = crate::web::router(Arc::new(state.clone()), state.stopped.clone());
    Router::new()
        .route("/api/v0/status", get(read::status))
        .route("/api/v0/devices", get(read::devices))
        .route("/api/v0/devices/{id}", get(read::device))
        .route("/api/v0/deployments", get(read::deployments))
        .route(
            "/api/v0/deployments/{name}",
            get(read::deployment).put(change::put).delete(change::delete),
        )
        .route("/api/v0/deployments/{name}/devices/{id}", get(read::pair))
        .route("/api/v0/deployments/{name}/devices/{id}/logs", get(logs::logs))
        .route("/api/v0/pairs", get(read::pairs))
        .route("/api/v0/events", get(read::events))
        .route("/api/v0/watch", get(watch::watch))
        .route("/api/v0/openapi.json", get(openapi::document))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(state.clone())
        .merge(dashboard)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(types::MAX_BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(state, layer::observe))
}

async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return ApiError::not_found("path", uri.path()).into_response();
    }
    crate::web::not_found(uri).await.into_response()
}

#[cfg(test)]
mod tests;
