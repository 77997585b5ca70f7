//! What machines ask about the operator itself.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{ApiError, ApiState};

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operator", responses((status = 200, description = "It lives", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether it knows the whole fleet and can change it.
#[utoipa::path(
    get, path = "/readyz", tag = "operator",
    responses(
        (status = 200, description = "It does", body = String),
        (status = 503, description = "It does not, and why", body = super::types::ProblemDetails,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn readyz(State(state): State<ApiState>) -> Response {
    let recovery = state.fleet.recovery();
    match recovery.detail {
        None if recovery.converged && recovery.connected => "ready\n".into_response(),
        detail => ApiError::recovering(detail.unwrap_or_default()).into_response(),
    }
}

/// Numbers for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operator",
    responses((status = 200, description = "OpenMetrics text", body = String,
               content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(state): State<ApiState>) -> Response {
    let page = state.fleet.read(|fleet| state.metrics.render(fleet));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], page).into_response()
}
