//! Where messages live: JetStream KV buckets, their keys, and who writes them.

use std::fmt;

use crate::id::{DeploymentName, DeviceId};

/// What a bucket is and how it is kept. The operator creates buckets from this table; nobody else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Name of the bucket; its stream is `KV_<name>`.
    pub name: &'static str,
    /// How many past values of a key are kept (1 to 64).
    pub history: i64,
    /// In memory only: for what is worthless after a restart of the server.
    pub in_memory: bool,
    /// Seconds after which a value goes by itself; `None` keeps it.
    pub ttl_seconds: Option<u64>,
    /// What it is for, shown by `nats kv ls`.
    pub description: &'static str,
}

/// What the customer asked for. Key: `<deployment>`; written by the operator.
pub const DEPLOYMENTS: Bucket = Bucket {
    name: "deployments",
    history: 16,
    in_memory: false,
    ttl_seconds: None,
    description: "what the customer asked for: spec, selector, generation",
};

/// The specification resolved for one device. Key: `<device>.<deployment>`; written by the operator.
pub const DESIRED_STATE: Bucket = Bucket {
    name: "desired-state",
    history: 4,
    in_memory: false,
    ttl_seconds: None,
    description: "the specification resolved for one device",
};

/// How far a device is. Key: `<device>.<deployment>`; written by the agent.
pub const DEPLOYMENT_STATE: Bucket = Bucket {
    name: "deployment-state",
    history: 8,
    in_memory: false,
    ttl_seconds: None,
    description: "phase, observed generation and cause, as the agent saw it",
};

/// What a device is. Key: `<device>`; written by the agent, rarely.
pub const DEVICE_INFO: Bucket = Bucket {
    name: "device-info",
    history: 4,
    in_memory: false,
    ttl_seconds: None,
    description: "architecture, versions, boot, labels and health flags of a device",
};

/// That a device is there. Key: `<device>`; written by the agent each [`HEARTBEAT_SECONDS`].
pub const DEVICE_HEARTBEAT: Bucket = Bucket {
    name: "device-heartbeat",
    history: 1,
    in_memory: true,
    ttl_seconds: Some(3 * HEARTBEAT_SECONDS),
    description: "a sign of life; a missing key is a device that is offline",
};

/// All buckets.
pub const ALL: [Bucket; 5] = [
    DEPLOYMENTS,
    DESIRED_STATE,
    DEPLOYMENT_STATE,
    DEVICE_INFO,
    DEVICE_HEARTBEAT,
];

/// Seconds between two heartbeats. Three missed ones make a device offline.
pub const HEARTBEAT_SECONDS: u64 = 15;

impl Bucket {
    /// Name of the JetStream stream behind the bucket.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    /// Subject of a key, or of a pattern of keys.
    #[must_use]
    pub fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }
}

/// A key `<device>.<deployment>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairKey {
    /// The device.
    pub device: DeviceId,
    /// The deployment on it.
    pub deployment: DeploymentName,
}

impl PairKey {
    /// Reads `<device>.<deployment>`; `None` when it is anything else.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (device, deployment) = key.split_once('.')?;
        Some(Self {
            device: device.parse().ok()?,
            deployment: deployment.parse().ok()?,
        })
    }
}

impl fmt::Display for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.device, self.deployment)
    }
}

/// Name of the one consumer a device has on each bucket that it watches. It is fixed, so that a device
/// that reconnects replaces its consumer instead of leaving one behind, and so that permissions can
/// name it.
#[must_use]
pub fn agent_consumer(device: &DeviceId) -> String {
    format!("agent-{device}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_key_is_read_back_and_nothing_else_is() {
        let key = PairKey {
            device: "pi-1".parse().unwrap(),
            deployment: "web".parse().unwrap(),
        };
        assert_eq!(PairKey::parse(&key.to_string()), Some(key));
        for bad in ["", "pi-1", "pi-1.", ".web", "pi-1.web.x", "Pi.web", "pi-1.*"] {
            assert_eq!(PairKey::parse(bad), None, "{bad}");
        }
    }
}
