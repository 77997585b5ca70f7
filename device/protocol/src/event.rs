//! The append-only history: who did what, when, to what.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::DeviceId;
use crate::wire::versioned;

/// Name of the stream.
pub const STREAM: &str = "fleet-events";
/// Subjects of the stream.
pub const SUBJECTS: &str = "fleet-events.>";
/// Days that events are kept.
pub const KEEP_DAYS: u64 = 90;

/// Subject on which one device appends.
#[must_use]
pub fn device_subject(device: &DeviceId) -> String {
    format!("fleet-events.device.{device}")
}

/// Subject on which the operator appends.
#[must_use]
pub fn operator_subject() -> String {
    "fleet-events.operator".to_owned()
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEvent {
    /// Protocol version of the writer.
    pub protocol: u32,
    /// When, by the writer's clock.
    pub at: DateTime<Utc>,
    /// Who: `operator`, `device/<id>`, or a person's name.
    pub actor: String,
    /// Stable kebab-case word, such as `deployment-applied` or `phase-changed`.
    pub kind: String,
    /// To what: `deployment/web`, `device/pi-1`, `device/pi-1/deployment/web`.
    pub subject: String,
    /// One sentence.
    pub detail: String,
}
versioned!(FleetEvent);
