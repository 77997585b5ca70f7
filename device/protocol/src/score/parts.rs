//! The parts of a container's specification.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::quantity::{ByteSize, Cpus, Span};

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    /// `[A-Za-z_][A-Za-z0-9_]*`.
    pub name: String,
    /// Any text without NUL.
    pub value: String,
}

/// A port of the device that leads into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// Port on the device, 1024 or higher: containers run without root.
    pub host: u16,
    /// Port in the container.
    pub container: u16,
    /// Transport.
    #[serde(default, skip_serializing_if = "PortProtocol::is_tcp")]
    pub protocol: PortProtocol,
    /// Address of the device to bind; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// Transport of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl PortProtocol {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes the field by reference"
    )]
    fn is_tcp(&self) -> bool {
        *self == Self::Tcp
    }

    /// The word podman uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// Where it comes from.
    pub source: VolumeSource,
    /// Absolute path in the container.
    pub path: String,
    /// The container cannot write to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VolumeSource {
    /// A volume that belongs to the deployment and lives on `data`. It goes with the deployment unless
    /// `keep` is set.
    Volume {
        /// Name within the deployment; the rules of an id.
        name: String,
        /// Survives the removal of the deployment.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keep: bool,
    },
    /// A path of the device. Never one of the system's own or of the agent's.
    HostPath {
        /// Absolute path on the device, which must exist.
        path: String,
    },
}

/// Limits, each absent when unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Memory; beyond it the kernel kills a process of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Whatever its exit status.
    #[default]
    Always,
    /// After an exit status other than 0, a signal or a time-out.
    OnFailure,
    /// Never; an exit ends the deployment.
    Never,
}

/// Linux capabilities, relative to podman's default set. Names without `CAP_`, in capitals; `ALL` is
/// allowed in `drop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
}

/// How podman finds out that the container works. A deployment with one is `Running` only when healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Program and arguments, run in the container; exit 0 is healthy.
    pub command: Vec<String>,
    /// Time between two checks.
    #[serde(default = "HealthCheck::default_interval")]
    pub interval: Span,
    /// Time one check may take.
    #[serde(default = "HealthCheck::default_timeout")]
    pub timeout: Span,
    /// Failures in a row that make it unhealthy.
    #[serde(default = "HealthCheck::default_retries")]
    pub retries: u32,
    /// Time after the start in which failures do not count.
    #[serde(default = "HealthCheck::default_start_period")]
    pub start_period: Span,
}

impl HealthCheck {
    /// The longest time in which a container may still become healthy after its start.
    #[must_use]
    pub fn longest_start(&self) -> std::time::Duration {
        let round = self.interval.duration().saturating_add(self.timeout.duration());
        let checks = round.saturating_mul(self.retries.saturating_add(1));
        self.start_period.duration().saturating_add(checks)
    }

    fn default_interval() -> Span {
        Span::from_secs(30)
    }
    fn default_timeout() -> Span {
        Span::from_secs(5)
    }
    fn default_retries() -> u32 {
        3
    }
    fn default_start_period() -> Span {
        Span::from_secs(0)
    }
}

/// How the container reaches the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A network of its own behind the device's address; ports must be mapped.
    #[default]
    Private,
    /// The device's own network.
    Host,
    /// None at all.
    None,
}
