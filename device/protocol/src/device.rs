//! What a device says about itself.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::wire::versioned;

/// What a device is. Written at the start of the agent and when something in it changes, which is rare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Protocol version of the writer.
    pub protocol: u32,
    /// Version of the agent.
    pub agent_version: String,
    /// Architecture as Debian names it: `amd64`, `arm64`.
    pub arch: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Version of podman, as it prints it.
    pub podman_version: String,
    /// The kernel's boot id: another one is another boot, whatever the clock says.
    pub boot_id: String,
    /// Host name.
    pub hostname: String,
    /// Installed memory, in MiB.
    pub memory_mib: u64,
    /// Size of the `data` file system, in MiB.
    pub data_mib: u64,
    /// Labels given to the device at enrolment; selectors match on them.
    pub labels: BTreeMap<String, String>,
    /// What is wrong with the device itself, each once, sorted by kind. Empty is healthy.
    pub health: Vec<Cause>,
    /// When the agent started.
    pub agent_started_at: DateTime<Utc>,
}
versioned!(DeviceInfo);

/// A sign of life. The key's age is what matters; the content helps a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Protocol version of the writer.
    pub protocol: u32,
    /// The device's clock when it was sent.
    pub at: DateTime<Utc>,
    /// Seconds since the device booted.
    pub uptime_seconds: u64,
    /// Free space on `data`, in MiB.
    pub data_free_mib: u64,
    /// Available memory, in MiB.
    pub memory_available_mib: u64,
}
versioned!(Heartbeat);
