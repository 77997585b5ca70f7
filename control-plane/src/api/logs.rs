//! `GET …/logs`: what a deployment's container wrote, asked of its device.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fleet_protocol::DeploymentName;
use fleet_protocol::bucket::PairKey;
use fleet_protocol::logs::{DEFAULT_LINES, MAX_LINES};

use super::read::{Asked, asked};
use super::types::{LogAnswer, LogsQuery, ProblemDetails};
use super::{ApiError, ApiState};
use crate::deploy::companion::Placed;
use crate::deploy::companion::logs::{LogQueryError, LogsOf};
use crate::fleet::words;

/// The end of the log of a deployment on a device. The device is asked at this moment; one that is offline is told at once, with
/// `since`. Lines are as the container wrote them: escape sequences and all, so not safe to show as they are.
#[utoipa::path(
    get, path = "/api/v0/deployments/{name}/devices/{id}/logs", tag = "deployments",
    params(("name" = String, Path, description = "Deployment"), ("id" = String, Path, description = "Device id"), LogsQuery),
    responses((status = 200, body = LogAnswer),
        (status = 400, description = "`lines` or `init` cannot be", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "No such deployment, device, container or run, or it exposes no logs", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 502, description = "The device's answer is none, or says no", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The device is offline (`since`), nobody there listens, or the operator is recovering", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 504, description = "The device did not answer in time", body = ProblemDetails, content_type = "application/problem+json"))
)]
pub(super) async fn logs(
    State(state): State<ApiState>,
    Path((name, id)): Path<(String, String)>,
    query: Asked<LogsQuery>,
) -> Result<Json<LogAnswer>, ApiError> {
    let query = asked(query)?;
    let lines = query.lines.unwrap_or(DEFAULT_LINES);
    if !(1..=MAX_LINES).contains(&lines) {
        return Err(ApiError::bad_request(format!(
            "lines={lines} is not possible: 1 to {MAX_LINES} lines are given at one time"
        )));
    }
    if let Some(init) = &query.init
        && let Err(error) = DeploymentName::new(init)
    {
        return Err(ApiError::bad_request(format!(
            "init={init:?} is no name of an init container: {error}"
        )));
    }
    // A name that is none is the name of nothing.
    let deployment = name
        .parse()
        .map_err(|_| ApiError::not_found("deployment", &name))?;
    let device = id.parse().map_err(|_| ApiError::not_found("device", &id))?;
    let of = LogsOf {
        placed: Placed { device, deployment },
        init: query.init.clone(),
        previous: query.previous,
        timestamps: query.timestamps,
    };
    let newest = query.init.is_none() && !query.previous;
    let key = PairKey {
        device: of.placed.device.clone(),
        deployment: of.placed.deployment.clone(),
    };
    let chunk = state.topology.last_lines(of, lines as usize).await?;
    let view = state.fleet.read(|fleet| fleet.pair_view(&key));
    let note = view.filter(|_| newest && !chunk.lines.is_empty());
    Ok(Json(LogAnswer {
        deployment: name,
        device: id,
        init: query.init,
        previous: query.previous,
        note: note.as_ref().and_then(words::lines_of_older),
        chunk,
    }))
}

impl From<LogQueryError> for ApiError {
    fn from(error: LogQueryError) -> Self {
        let (status, title) = match &error {
            LogQueryError::NoSuchDevice(_) => (StatusCode::NOT_FOUND, "device not found"),
            LogQueryError::NoSuchDeployment(_) => (StatusCode::NOT_FOUND, "deployment not found"),
            LogQueryError::NotOnDevice(_) => (StatusCode::NOT_FOUND, "the deployment is not on that device"),
            LogQueryError::Recovering(detail) => return Self::recovering(detail),
            LogQueryError::NotExposed { .. } => (StatusCode::NOT_FOUND, "it exposes no logs"),
            LogQueryError::NoSuchInit { .. } => (StatusCode::NOT_FOUND, "there is no such init container"),
            LogQueryError::DeviceOffline { .. } => (StatusCode::SERVICE_UNAVAILABLE, "the device is offline"),
            LogQueryError::NotListening { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the device takes no commands at this moment",
            ),
            LogQueryError::Refused { cause, .. } => refused(&cause.kind),
            LogQueryError::TimedOut { .. } => {
                (StatusCode::GATEWAY_TIMEOUT, "the device did not answer in time")
            }
            LogQueryError::Malformed { .. } => {
                (StatusCode::BAD_GATEWAY, "the device's answer cannot be read")
            }
            LogQueryError::Disconnected(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "no device can be asked at this moment",
            ),
            LogQueryError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many logs are being read"),
        };
        Self::new(status, error.kind(), title, error.to_string()).with_since(error.since())
    }
}

/// What a device says no with.
fn refused(kind: &str) -> (StatusCode, &'static str) {
    match kind {
        "logs-unknown-deployment" => (StatusCode::NOT_FOUND, "the device has no such deployment"),
        "logs-unknown-init" => (StatusCode::NOT_FOUND, "there is no such init container"),
        "logs-no-previous" => (StatusCode::NOT_FOUND, "there is no earlier run"),
        "command-unknown" => (
            StatusCode::BAD_GATEWAY,
            "the device's agent is too old to give logs",
        ),
        _ => (StatusCode::BAD_GATEWAY, "the device could not read the log"),
    }
}
