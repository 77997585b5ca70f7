//! The dashboard: HTML that reads well without JavaScript and stays true by itself with it.
//!
//! Entry point: [`router`] serves every page of a [`Source`]. A page is a pure function of views and the
//! time to markup (`page`); the same function answers a plain `GET` and feeds `/live`, which sends the page's content
//! again by server-sent events when it differs. The script (`assets/live.js`) puts it in place without a reload and without
//! moving what did not change.
//!
//! Nothing here writes. Everything that is shown was written by others (devices, people), so it is escaped by the
//! template, and the content security policy forbids inline script and style besides.

mod assets;
mod live;
mod page;
mod route;
mod source;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use tokio::sync::{Semaphore, watch as signal};

pub use assets::asset_paths;
pub(crate) use page::{SAMPLE_MANIFEST, span};
pub use route::not_found;
pub use source::{EventsFuture, LogsFuture, Source, SourceError};

/// Everything comes from this server, and nothing is inline.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Pages that may be followed at one time.
const MOST_STREAMS: usize = 256;

/// What the handlers share; clones are cheap.
#[derive(Clone)]
struct Dashboard {
    source: Arc<dyn Source>,
    /// Turns true when the server ends: a stream has no end of its own, and the server waits for its streams.
    stopped: signal::Receiver<bool>,
    places: Arc<Semaphore>,
}

impl FromRef<Dashboard> for Arc<dyn Source> {
    fn from_ref(dashboard: &Dashboard) -> Self {
        Self::clone(&dashboard.source)
    }
}

/// The dashboard's routes; `stopped` turning true ends all streams. The caller sets [`not_found`] as the fallback of the whole server.
pub fn router(source: Arc<dyn Source>, stopped: signal::Receiver<bool>) -> Router {
    let dashboard = Dashboard {
        source,
        stopped,
        places: Arc::new(Semaphore::new(MOST_STREAMS)),
    };
    Router::new()
        .route("/", get(route::show))
        .route("/devices/{id}", get(route::show))
        .route("/deployments", get(route::show))
        .route("/deployments/{name}", get(route::show))
        .route("/deployments/{name}/devices/{id}", get(route::show))
        .route("/deployments/{name}/devices/{id}/logs", get(route::show))
        .route("/events", get(route::show))
        .route("/live", get(live::stream))
        .route("/assets/{file}", get(assets::serve))
        .route("/favicon.ico", get(assets::favicon))
        .layer(axum::middleware::map_response(with_headers))
        .with_state(dashboard)
}

/// Headers of every answer of the dashboard.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    response
}
