//! Requests, answers and errors of the HTTP API. `fleetctl` reads the same types.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_protocol::DeploymentSpec;
use fleet_protocol::event::FleetEvent;
use fleet_protocol::logs::LogChunk;
use fleet_protocol::score::FieldError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::deploy::lint::Warning;
use crate::fleet::view::{
    DeploymentSummary, DeploymentView, DeviceState, DeviceSummary, DeviceView, FleetView, PairState,
    PairView, RecoveryView, schema,
};

/// Path of the API; all paths below start with it.
pub const BASE: &str = "/api/v0";

/// Items of a list when the caller does not say.
pub const DEFAULT_LIMIT: usize = 500;
/// Most items of one answer; `next` leads to the others.
pub const MAX_LIMIT: usize = 5_000;
/// Largest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// Header with the name of the person who asks, for the history; `operator` when absent.
pub const ACTOR_HEADER: &str = "x-fleet-actor";

/// Body of `PUT /deployments/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutDeployment {
    /// Labels of the deployment itself.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What to run, and where.
    #[schema(value_type = Object)]
    pub spec: DeploymentSpec,
}

/// Query of `PUT` and `DELETE`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChangeQuery {
    /// Check everything and say what would happen, but change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Refuse what the lint warns of.
    #[serde(default)]
    pub strict: bool,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was not there before.
    Created,
    /// It was changed.
    Changed,
    /// The same content was there; nothing was written.
    Unchanged,
    /// It was deleted.
    Deleted,
}

/// Answer to `PUT` and `DELETE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeAnswer {
    /// What was done, or would be done.
    pub outcome: Outcome,
    /// Nothing was written since `dry_run` was given.
    pub dry_run: bool,
    /// The deployment.
    pub name: String,
    /// Its generation after the change; the last one for `deleted`.
    pub generation: u64,
    /// How many devices it selects (for `deleted`: has it been on) at this moment.
    pub devices: u64,
    /// What its init containers must not do twice; paths start at `spec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// Query of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Labels that must all match: `site=lyon,rack=3`. A key alone must be present; `key!=value` must differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l: Option<String>,
    /// Only those whose name contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Only with at least one pair in this state (`Failed`, `Running`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub phase: Option<PairState>,
    /// Only devices in this state (`Online`, `Offline`, `Unknown`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub state: Option<DeviceState>,
    /// Most items; 500 when absent, 5,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Items after this name: `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// `GET /status`.
pub type Status = FleetView;

/// `GET /devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// Whether this is the whole truth.
    pub recovery: RecoveryView,
    /// How many match, over all pages.
    pub total: u64,
    /// Sorted by id.
    pub items: Vec<DeviceSummary>,
    /// Give it as `after` for the next page; absent on the last one.
    pub next: Option<String>,
}

/// `GET /deployments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentList {
    /// Whether this is the whole truth.
    pub recovery: RecoveryView,
    /// How many match, over all pages.
    pub total: u64,
    /// Sorted by name.
    pub items: Vec<DeploymentSummary>,
    /// Give it as `after` for the next page; absent on the last one.
    pub next: Option<String>,
}

/// Query of `GET /pairs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PairQuery {
    /// Only of this deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Only on this device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Labels of the device that must all match, as for devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l: Option<String>,
    /// Only in this state (`Failed`, `Running`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub phase: Option<PairState>,
    /// Only on devices in this state (`Online`, `Offline`, `Unknown`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub state: Option<DeviceState>,
    /// Most items; 500 when absent, 5,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Items after this one: `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// `GET /pairs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PairList {
    /// Whether this is the whole truth.
    pub recovery: RecoveryView,
    /// How many match, over all pages.
    pub total: u64,
    /// Sorted by device and deployment.
    pub items: Vec<PairView>,
    /// Give it as `after` for the next page; absent on the last one.
    pub next: Option<String>,
}

/// Query of `GET /deployments/{name}/devices/{id}/logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// How many lines, counted from the end; 200 when absent, 1 to 5,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
    /// The init container of this name instead of the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// The run before the newest one.
    #[serde(default)]
    pub previous: bool,
    /// Each line begins with its time (RFC 3339, UTC) and a space.
    #[serde(default)]
    pub timestamps: bool,
}

/// `GET /deployments/{name}/devices/{id}/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogAnswer {
    /// The deployment.
    pub deployment: String,
    /// The device.
    pub device: String,
    /// The init container that was asked for; absent for the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// It is the run before the newest one.
    pub previous: bool,
    /// What to know beside the lines, for a person: that they are of an older generation than the one that was taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The lines.
    #[serde(flatten)]
    #[schema(inline, value_type = schema::LogChunk)]
    pub chunk: LogChunk,
}

/// Query of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Most events; 100 when absent, 1,000 at most. The newest are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only those about this: `deployment/web`, `device/pi-1` (and all below it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only those after this sequence, and of these the oldest: the way to follow the history without a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// `GET /events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// Newest first.
    pub items: Vec<EventItem>,
    /// How many of the stream's newest events were looked at; older ones were not.
    pub searched: u64,
    /// Events that cannot be read by this version.
    pub unreadable: u64,
    /// The newest sequence of all that were looked at, also of those that do not match; 0 when there are none.
    #[serde(default)]
    pub newest: u64,
    /// When the stream was created: another time is another history, whose sequences begin anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_created: Option<chrono::DateTime<chrono::Utc>>,
    /// Why newer events may be missing; absent when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One event of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventItem {
    /// Its number in the stream.
    pub sequence: u64,
    /// When the server stored it.
    pub stored_at: chrono::DateTime<chrono::Utc>,
    /// The event.
    #[schema(value_type = Object)]
    pub event: FleetEvent,
}

/// Query of `GET /watch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WatchQuery {
    /// Only this device and its pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Only this deployment and its pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// `false` leaves the pairs out, which are most of it in a large fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<bool>,
}

/// One message of `GET /watch`; the SSE event's name is the variant's tag, its id is `version`.
///
/// A client that sees `snapshot-begin` (also after it reconnected with an id that is too old) forgets what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum WatchEvent {
    /// A full snapshot begins: forget everything.
    SnapshotBegin,
    /// Everything that was there has been sent.
    SnapshotEnd,
    /// The first screen's numbers.
    Status {
        /// The fleet.
        status: Box<FleetView>,
    },
    /// A device is new or changed.
    Device {
        /// The device.
        device: Box<DeviceSummary>,
    },
    /// A device is gone.
    DeviceGone {
        /// Its id.
        id: String,
    },
    /// A deployment is new or changed.
    Deployment {
        /// The deployment.
        deployment: Box<DeploymentSummary>,
    },
    /// A deployment is gone.
    DeploymentGone {
        /// Its name.
        name: String,
    },
    /// A pair is new or changed.
    Pair {
        /// The pair.
        pair: Box<PairView>,
    },
    /// A pair is gone.
    PairGone {
        /// The device.
        device: String,
        /// The deployment.
        deployment: String,
    },
    /// An event was appended to the history.
    History {
        /// The event.
        item: Box<EventItem>,
    },
    /// The server ends the stream, and why: reconnect.
    Bye {
        /// Stable word: `too-slow`, `shutting-down`.
        kind: String,
        /// A sentence.
        detail: String,
    },
}

impl WatchEvent {
    /// The SSE event's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SnapshotBegin => "snapshot-begin",
            Self::SnapshotEnd => "snapshot-end",
            Self::Status { .. } => "status",
            Self::Device { .. } => "device",
            Self::DeviceGone { .. } => "device-gone",
            Self::Deployment { .. } => "deployment",
            Self::DeploymentGone { .. } => "deployment-gone",
            Self::Pair { .. } => "pair",
            Self::PairGone { .. } => "pair-gone",
            Self::History { .. } => "history",
            Self::Bye { .. } => "bye",
        }
    }
}

/// Any error of the API, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDetails {
    /// Stable kebab-case word: `not-found`, `invalid`, `generation-conflict`, `recovering`, `store-unavailable`, ….
    pub kind: String,
    /// What failed, on what, in a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Why, and what to do.
    pub detail: String,
    /// Wrong fields, each with its path; only with `invalid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<FieldProblem>)]
    pub problems: Vec<FieldError>,
    /// Since when it is so, where that is known: of a device that is offline, since when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// The request's id, which the operator's log lines of it carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Shape of a wrong field, for the OpenAPI document.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read by the derive only")]
pub struct FieldProblem {
    /// Path of the field, such as `spec.score.podman_v0.ports[0].host`.
    path: String,
    /// What is wrong, and what would be right.
    problem: String,
}

/// `GET /devices/{id}`.
pub type Device = DeviceView;
/// `GET /deployments/{name}`.
pub type Deployment = DeploymentView;
/// `GET /deployments/{name}/devices/{id}`.
pub type Pair = PairView;
