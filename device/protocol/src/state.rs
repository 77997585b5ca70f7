//! What a device reports about one deployment.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::wire::versioned;
use crate::word::wire_words;

wire_words! {
    /// Where a deployment is on one device.
    Phase {
        /// Seen by the agent; nothing done yet.
        Pending = "Pending",
        /// The image is being pulled. The version that ran before, if any, still serves.
        Pulling = "Pulling",
        /// The old container is being replaced.
        Upgrading = "Upgrading",
        /// The unit is being started and has not yet proved itself.
        Starting = "Starting",
        /// The container proved itself: its start job succeeded and, with a health check, it is healthy.
        Running = "Running",
        /// The container did its work and ended well; its restart policy asks for no other run.
        Finished = "Finished",
        /// Not running, and the cause says why and what to do. Retries, if any, are in `next_try_at`.
        Failed = "Failed",
        /// The deployment was taken away; its units, containers and volumes are being removed.
        Removing = "Removing",
    }
}

/// One deployment on one device, as the agent saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentState {
    /// Protocol version of the writer.
    pub protocol: u32,
    /// The generation of the desired state that this is about.
    pub observed_generation: u64,
    /// Where it is.
    pub phase: Phase,
    /// When it came there, by the device's clock.
    pub since: DateTime<Utc>,
    /// Why it is there; always present with [`Phase::Failed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// How far a pull is; only with [`Phase::Pulling`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<PullProgress>,
    /// What runs at this moment, which may be an older generation than the one observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// The init container that runs or is waited for; only with [`Phase::Starting`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitProgress>,
    /// How the last change of version went: how long nothing served. Of the generation that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover: Option<Cutover>,
    /// systemd starts the container again and again; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_loop: Option<CrashLoop>,
    /// When the agent tries again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<DateTime<Utc>>,
    /// How often this generation was tried and failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_tries: u32,
    /// The phases of this generation in order, the newest last; at most [`MAX_MARKS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<PhaseMark>,
}
versioned!(DeploymentState);

/// Most phase marks that a state carries; older ones are in `fleet-events`.
pub const MAX_MARKS: usize = 16;

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// When a phase was entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseMark {
    /// The phase.
    pub phase: Phase,
    /// When it was entered.
    pub at: DateTime<Utc>,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    /// Layers that are complete.
    pub layers_done: u32,
    /// Layers of the image, as far as known.
    pub layers_total: u32,
    /// Bytes received, where podman tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Where a row of init containers is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitProgress {
    /// Its name.
    pub name: String,
    /// Its place in the row, from 1.
    pub step: u32,
    /// How many there are.
    pub of: u32,
}

/// How one version took the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutover {
    /// Generation that ran before.
    pub from_generation: u64,
    /// From the stop of the old container's unit to its end, in milliseconds. It may have served until then.
    pub stop_millis: u64,
    /// From there to the start of the new one, in milliseconds: nothing served. Init containers ran in this time.
    pub down_millis: u64,
}

/// A container that ends again and again. Written when the agent tries or looks, not at each restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashLoop {
    /// Automatic restarts so far, since somebody last asked for a start.
    pub restarts: u32,
    /// When systemd starts it again, by the device's clock; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_restart_at: Option<DateTime<Utc>>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Generation of the specification that runs.
    pub generation: u64,
    /// The image as it was asked for.
    pub image: String,
    /// The digest it resolved to (`sha256:…`), where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// systemd's unit.
    pub unit: String,
    /// systemd's `InvocationID` of this run: another one is another start.
    pub invocation_id: String,
    /// When it started, by the device's clock.
    pub started_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_of_a_newer_agent_is_kept_as_it_came() {
        let phase: Phase = serde_json::from_str("\"Teleporting\"").unwrap();
        assert_eq!(phase, Phase::Unknown("Teleporting".into()));
        assert_eq!(serde_json::to_string(&phase).unwrap(), "\"Teleporting\"");
    }

    #[test]
    fn every_known_phase_is_read_back() {
        for phase in Phase::KNOWN {
            assert_eq!(&Phase::from(phase.as_str()), phase);
        }
    }
}
