//! Init containers: what has to be done, each time anew, before the main container starts.

use serde::{Deserialize, Serialize};

use super::image::ImageRef;
use super::parts::{EnvVar, VolumeMount};
use crate::quantity::Span;

/// One init container.
///
/// **It must be idempotent.** Init containers run, in the order in which they are declared, before *every* fresh main
/// container: the first start, an upgrade, a restart after a crash, a power cut. Each has to exit with status 0
/// before the next one starts. They share the network mode and the volumes of the main container, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitContainer {
    /// Name within the deployment; the rules of an id.
    pub name: String,
    /// What to run.
    pub image: ImageRef,
    /// Arguments after the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// What is mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Time it may take; then it is killed, and the deployment fails and names it.
    #[serde(
        default = "InitContainer::default_timeout",
        skip_serializing_if = "InitContainer::has_default_timeout"
    )]
    pub timeout: Span,
}

impl InitContainer {
    /// Longest time-out, in seconds.
    pub const MAX_TIMEOUT_SECS: u64 = 86_400;

    fn default_timeout() -> Span {
        Span::from_secs(300)
    }

    fn has_default_timeout(timeout: &Span) -> bool {
        *timeout == Self::default_timeout()
    }
}
