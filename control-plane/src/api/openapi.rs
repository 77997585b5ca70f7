//! The description of the API.

use axum::Json;
use utoipa::OpenApi;

use super::types::{FieldProblem, WatchEvent};
use super::{change, health, logs, read, watch};

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fleet operator",
        description = "Errors are application/problem+json. No roles yet: loopback only.",
        version = "v0"
    ),
    paths(
        read::status,
        read::devices,
        read::device,
        read::deployments,
        read::deployment,
        read::pair,
        logs::logs,
        read::pairs,
        read::events,
        change::put,
        change::delete,
        watch::watch,
        document,
        health::healthz,
        health::readyz,
        health::metrics
    ),
    components(schemas(WatchEvent, FieldProblem))
)]
pub struct Document;

/// This document.
#[utoipa::path(get, path = "/api/v0/openapi.json", tag = "operator", responses((status = 200, description = "OpenAPI 3.1")))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
