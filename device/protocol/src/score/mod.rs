//! Scores: what a device can be asked to run. A score is refused here, with the field's path, before
//! podman or systemd could refuse it later in words of their own.

mod image;
mod init;
mod lifecycle;
mod parts;
mod podman_v0;
mod problem;

use serde::{Deserialize, Serialize};

pub use image::{ImageError, ImageRef};
pub use init::InitContainer;
pub use lifecycle::{LifecyclePolicy, StopSignal};
pub use parts::{
    Capabilities, EnvVar, HealthCheck, NetworkMode, PortMapping, PortProtocol, Resources, RestartPolicy,
    VolumeMount, VolumeSource,
};
pub use podman_v0::PodmanV0Score;
pub use problem::{FieldError, label_problems};

/// What to run. One variant for each way that a device knows; a word it does not know is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// One container under podman, version 0 of the score.
    #[serde(rename = "podman_v0")]
    PodmanV0(Box<PodmanV0Score>),
}

impl Score {
    /// Everything that is wrong with it; empty is valid. Paths start at `score`.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldError> {
        match self {
            Self::PodmanV0(score) => score
                .problems()
                .into_iter()
                .map(|p| p.under("score.podman_v0"))
                .collect(),
        }
    }
}
