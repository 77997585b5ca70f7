//! How a running container is replaced: gracefully, and never back to the old one.

use serde::{Deserialize, Serialize};

use crate::quantity::Span;

/// How the old container ends when a new one takes its place, or when the deployment is removed.
///
/// The device shutting down is not one of these cases: there the grace period holds too, and after it the kernel
/// ends what is left, whatever `sigkill_fallback` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifecyclePolicy {
    /// Sent first, to the container's first process.
    pub stop_signal: StopSignal,
    /// Time it has from there to end by itself.
    pub grace_period: Span,
    /// After the grace period it is killed. Without this it goes on running, and the deployment fails and says so.
    pub sigkill_fallback: bool,
}

impl Default for LifecyclePolicy {
    fn default() -> Self {
        Self {
            stop_signal: StopSignal::default(),
            grace_period: Span::from_secs(30),
            sigkill_fallback: true,
        }
    }
}

impl LifecyclePolicy {
    /// Longest grace period, in seconds: an upgrade that waits longer looks stuck to everybody.
    pub const MAX_GRACE_SECS: u64 = 3_600;
}

/// The signal that asks a container to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    /// The usual one.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// As by Ctrl-C.
    #[serde(rename = "SIGINT")]
    Int,
    /// For programs that drain on it.
    #[serde(rename = "SIGUSR1")]
    Usr1,
}

impl StopSignal {
    /// The signal's name, as in a manifest and for podman.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
            Self::Usr1 => "SIGUSR1",
        }
    }
}
