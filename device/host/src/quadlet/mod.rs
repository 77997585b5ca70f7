//! A score as a Quadlet file: the text that podman's generator turns into a unit.
//!
//! Pure and byte-deterministic: the same score gives the same bytes, whatever its generation, so that a
//! generation that changes nothing restarts nothing. Escaping is in `escape`; what Quadlet cannot
//! express is refused with the field's path.
//!
//! Choices, all for podman 5.4 under `systemd --user`:
//! - **No `.volume` file.** `podman run` makes a named volume by itself; a unit of its own would cost one more podman
//!   at each boot and stay behind "active (exited)" when its file goes.
//! - **Network `private` is pasta**, podman's own default without root: no bridge, no netavark, no nftables,
//!   one process. `DefaultDependencies=false`, since Quadlet would else let each container wait (up to 90 s) for
//!   `network-online.target`, which a device without a network never reaches; pasta without any
//!   interface still forwards ports, and its sockets follow the device's routes when they come.
//! - **Limits are podman's, not the unit's.** `MemoryMax=` would also hit `podman run` itself, which lives in
//!   the unit's control group while it starts and needs more than a small container.
//! - **The stop is podman's** (`StopSignal=`, `StopTimeout=`): the unit's stop runs `podman rm --force`, which sends the one and waits
//!   for the other; systemd's own time limit comes after both.
//! - **Init containers are units of their own** (`init`), which the main one requires and follows.
//! - **systemd never gives up** (`StartLimitIntervalSec=0`): it waits longer instead, up to a minute.

mod container;
mod escape;
mod init;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use fleet_protocol::DeploymentName;
use fleet_protocol::score::{PodmanV0Score, VolumeMount, VolumeSource};

use crate::names::{Digest, NameError, UnitFileName, UnitName};

/// Digests to pin images to, by the image's reference as the score has it. An image without one keeps its tag.
pub type Digests = BTreeMap<String, Digest>;

/// A score as files: one for the main container, one for each init container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The main container.
    pub main: RenderedUnit,
    /// The init containers, in the order in which they run.
    pub inits: Vec<RenderedInit>,
    /// Longest time that systemd lets a start take, with every init container before it. Wait a little longer than that for the
    /// job of the main unit.
    pub start_within: Duration,
    /// Longest time that systemd lets a stop of the main unit take (`TimeoutStopSec`).
    pub stop_within: Duration,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedUnit {
    /// The file's name.
    pub file: UnitFileName,
    /// The unit that comes of it.
    pub unit: UnitName,
    /// The file's content.
    pub text: String,
}

/// The file of an init container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedInit {
    /// The name in the score.
    pub name: String,
    /// Time one run of it may take.
    pub timeout: Duration,
    /// The file.
    pub of: RenderedUnit,
}

impl Rendered {
    /// All files in the order in which they are to be written: what the main unit requires comes before it.
    pub fn files(&self) -> impl Iterator<Item = &RenderedUnit> {
        self.inits.iter().map(|init| &init.of).chain([&self.main])
    }

    /// The units of the init containers, in the order in which they run.
    #[must_use]
    pub fn init_units(&self) -> Vec<UnitName> {
        self.inits.iter().map(|init| init.of.unit.clone()).collect()
    }
}

/// Why a score cannot be a Quadlet file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuadletError {
    /// The deployment's name is taken.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The score is not valid; its text could say anything.
    #[error("the score is not valid: {0}")]
    Invalid(fleet_protocol::score::FieldError),
    /// Valid, but not to be said in a unit file.
    #[error("{field} {problem}")]
    Inexpressible {
        /// Path of the field within the score.
        field: String,
        /// Why, and what to do.
        problem: &'static str,
    },
}

impl QuadletError {
    /// The stable word for a cause.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        "score-inexpressible"
    }
}

/// Turns a score into files. Images are pinned to the `digests` that are known.
///
/// # Errors
/// [`QuadletError`] names the field; none is transient.
pub fn render(
    deployment: &DeploymentName,
    score: &PodmanV0Score,
    digests: &Digests,
) -> Result<Rendered, QuadletError> {
    let unit = UnitName::of(deployment)?;
    let file = UnitFileName::container(deployment)?;
    if let Some(problem) = score.problems().into_iter().next() {
        return Err(QuadletError::Invalid(problem));
    }
    let inits = init::render_all(deployment, score, digests)?;
    let (start, stop) = (
        service::start_within(score.health.as_ref()),
        service::stop_within(&score.lifecycle()),
    );
    let mut text = Text::default();
    service::unit(&mut text, format_args!("Fleet deployment {deployment}"));
    for init in &inits {
        init::needs(&mut text, &init.of.unit);
    }
    service::quadlet(&mut text);
    container::main(&mut text, deployment, score, digests)?;
    service::main(&mut text, score.restart, start, stop);
    text.section("Install");
    text.set("WantedBy", "default.target");
    Ok(Rendered {
        main: RenderedUnit {
            file,
            unit,
            text: text.0,
        },
        inits,
        start_within: start.saturating_add(init::all_within(&score.init_containers)),
        stop_within: stop,
    })
}

/// Names of the volumes that outlive the deployment, for [`crate::Leftovers::remove`].
#[must_use]
pub fn kept_volumes(score: &PodmanV0Score) -> BTreeSet<String> {
    let kept = |mount: &VolumeMount| match &mount.source {
        VolumeSource::Volume { name, keep: true } => Some(name.clone()),
        VolumeSource::Volume { keep: false, .. } | VolumeSource::HostPath { .. } => None,
    };
    score.all_volumes().filter_map(kept).collect()
}

/// The file as it grows. Values are escaped before they come here: none holds a line break.
#[derive(Default)]
struct Text(String);

impl Text {
    fn section(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        let _ = writeln!(self.0, "[{name}]");
    }

    fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "{key}={value}");
    }
}

#[cfg(test)]
mod tests;
