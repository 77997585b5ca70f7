//! `PodmanV0Score`: one container, and what has to run before it.

mod check;
mod found;
mod rights;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::image::ImageRef;
use super::init::InitContainer;
use super::lifecycle::LifecyclePolicy;
use super::parts::{
    Capabilities, EnvVar, HealthCheck, NetworkMode, PortMapping, Resources, RestartPolicy, VolumeMount,
};

/// One container on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodmanV0Score {
    /// What to run.
    pub image: ImageRef,
    /// Arguments after the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Ports of the device that lead into the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// What is mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// When it is started again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: RestartPolicy,
    /// `uid`, `uid:gid` or a name that the image knows; the image's own user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The container's root file system cannot be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Capabilities, relative to podman's default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capabilities: Capabilities,
    /// How to find out that it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// How it reaches the network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: NetworkMode,
    /// How the old container ends when another one takes its place; the defaults when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<LifecyclePolicy>,
    /// What runs to completion, in this order, before each fresh main container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<InitContainer>,
    /// Labels of the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl PodmanV0Score {
    /// How the old container ends, with the defaults filled in.
    #[must_use]
    pub fn lifecycle(&self) -> LifecyclePolicy {
        self.lifecycle.clone().unwrap_or_default()
    }

    /// Every image that has to be on the device before anything is stopped: the main one first, each once.
    #[must_use]
    pub fn images(&self) -> Vec<&ImageRef> {
        let mut images = vec![&self.image];
        for init in &self.init_containers {
            if !images.contains(&&init.image) {
                images.push(&init.image);
            }
        }
        images
    }

    /// Every mount, of the main container and of those before it.
    pub fn all_volumes(&self) -> impl Iterator<Item = &VolumeMount> {
        let inits = self.init_containers.iter().flat_map(|init| &init.volumes);
        self.volumes.iter().chain(inits)
    }
}
