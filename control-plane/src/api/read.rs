//! Answers that change nothing.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleet_protocol::bucket::PairKey;

use super::types::{
    DeploymentList, DeviceList, EventList, EventQuery, ListQuery, PairList, PairQuery, ProblemDetails,
};
use super::{ApiError, ApiState};
use crate::fleet::Fleet;
use crate::fleet::view::{DeploymentView, DeviceView, FleetView, PairView};

pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

/// The query, or what is wrong with it.
pub(super) fn asked<T>(query: Asked<T>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| ApiError::bad_request(rejection.body_text()))
}

/// A view; else that there is none, but only when the whole fleet is known: what was not read yet is not missing.
fn found<T>(
    state: &ApiState,
    view: impl FnOnce(&Fleet) -> Option<T>,
    missing: impl FnOnce() -> ApiError,
) -> Result<T, ApiError> {
    state.fleet.read(|fleet| {
        view(fleet).ok_or_else(|| match fleet.recovery().detail {
            Some(detail) => ApiError::recovering(detail),
            None => missing(),
        })
    })
}

/// The first screen: what needs a person, counts, and whether this is the whole truth.
#[utoipa::path(get, path = "/api/v0/status", tag = "fleet", responses((status = 200, body = FleetView)))]
pub(super) async fn status(State(state): State<ApiState>) -> Json<FleetView> {
    Json(state.fleet.status())
}

/// Devices, by id.
#[utoipa::path(
    get, path = "/api/v0/devices", tag = "fleet", params(ListQuery),
    responses((status = 200, body = DeviceList), (status = 400, body = ProblemDetails, content_type = "application/problem+json"))
)]
pub(super) async fn devices(
    State(state): State<ApiState>,
    query: Asked<ListQuery>,
) -> Result<Json<DeviceList>, ApiError> {
    let query = asked(query)?;
    state
        .fleet
        .devices(&query)
        .map(Json)
        .map_err(ApiError::bad_request)
}

/// One device with its deployments.
#[utoipa::path(
    get, path = "/api/v0/devices/{id}", tag = "fleet", params(("id" = String, Path, description = "Device id")),
    responses((status = 200, body = DeviceView), (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Recovering: it may be there", body = ProblemDetails, content_type = "application/problem+json"))
)]
pub(super) async fn device(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<DeviceView>, ApiError> {
    found(
        &state,
        |fleet| fleet.device_view(&id.parse().ok()?),
        || ApiError::not_found("device", &id),
    )
    .map(Json)
}

/// Deployments, by name.
#[utoipa::path(
    get, path = "/api/v0/deployments", tag = "deployments", params(ListQuery),
    responses((status = 200, body = DeploymentList), (status = 400, body = ProblemDetails, content_type = "application/problem+json"))
)]
pub(super) async fn deployments(
    State(state): State<ApiState>,
    query: Asked<ListQuery>,
) -> Result<Json<DeploymentList>, ApiError> {
    let query = asked(query)?;
    state
        .fleet
        .deployments(&query)
        .map(Json)
        .map_err(ApiError::bad_request)
}

/// One deployment with its devices. The `ETag` is its generation, for `If-Match`.
#[utoipa::path(
    get, path = "/api/v0/deployments/{name}", tag = "deployments", params(("name" = String, Path, description = "Deployment")),
    responses((status = 200, body = DeploymentView), (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Recovering: it may be there", body = ProblemDetails, content_type = "application/problem+json"))
)]
pub(super) async fn deployment(
    State(state): State<ApiState>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let view = found(
        &state,
        |fleet| fleet.deployment_view(&name.parse().ok()?),
        || ApiError::not_found("deployment", &name),
    )?;
    let tag = format!("\"{}\"", view.summary.generation);
    Ok(([(header::ETAG, tag)], Json(view)).into_response())
}

/// One deployment on one device, with the chain that answers "why is it stuck?".
#[utoipa::path(
    get, path = "/api/v0/deployments/{name}/devices/{id}", tag = "deployments",
    params(("name" = String, Path, description = "Deployment"), ("id" = String, Path, description = "Device id")),
    responses((status = 200, body = PairView), (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Recovering: it may be there", body = ProblemDetails, content_type = "application/problem+json"))
)]
pub(super) async fn pair(
    State(state): State<ApiState>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<PairView>, ApiError> {
    let key = || {
        Some(PairKey {
            device: id.parse().ok()?,
            deployment: name.parse().ok()?,
        })
    };
    found(
        &state,
        |fleet| fleet.pair_view(&key()?),
        || ApiError::not_found("deployment on that device:", &format!("{name} on {id}")),
    )
    .map(Json)
}

/// Deployments on devices, by device and deployment.
#[utoipa::path(
    get, path = "/api/v0/pairs", tag = "deployments", params(PairQuery),
    responses((status = 200, body = PairList), (status = 400, body = ProblemDetails, content_type = "application/problem+json"))
)]
pub(super) async fn pairs(
    State(state): State<ApiState>,
    query: Asked<PairQuery>,
) -> Result<Json<PairList>, ApiError> {
    let query = asked(query)?;
    state.fleet.pairs(&query).map(Json).map_err(ApiError::bad_request)
}

/// The history, newest first.
#[utoipa::path(
    get, path = "/api/v0/events", tag = "fleet", params(EventQuery),
    responses((status = 200, body = EventList), (status = 400, body = ProblemDetails, content_type = "application/problem+json"))
)]
pub(super) async fn events(
    State(state): State<ApiState>,
    query: Asked<EventQuery>,
) -> Result<Json<EventList>, ApiError> {
    let query = asked(query)?;
    Ok(Json(state.fleet.events(&query)))
}
