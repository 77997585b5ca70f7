//! The fakes of what podman does.

use std::collections::BTreeSet;

use fleet_protocol::DeploymentName;
use fleet_protocol::score::{ImageRef, StopSignal};
use fleet_protocol::state::PullProgress;

use super::world::{Denied, Remote, World};
use crate::containers::{Containers, ContainersError, Signalled};
use crate::exec::{ExecError, ExecStatus};
use crate::images::{ImageError, ImageErrorKind, Images, Pulled, Room};
use crate::leftovers::{Leftovers, LeftoversError, Remains};
use crate::names::{Digest, UnitName, container_name, init_container_name, volume_name};
use crate::units::ActiveState;

/// The fake of [`crate::PodmanImages`].
#[derive(Debug, Clone)]
pub struct PodmanImages(World);

impl PodmanImages {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }
}

/// Free space that no image gets.
const RESERVE: u64 = 256 << 20;

fn fails(kind: ImageErrorKind) -> ImageError {
    ImageError::Podman {
        kind,
        detail: "scripted".to_owned(),
    }
}

fn denied(_: Denied) -> ImageError {
    fails(ImageErrorKind::Podman)
}

impl Images for PodmanImages {
    async fn present(&self, image: &ImageRef) -> Result<Option<Digest>, ImageError> {
        self.0.call("images.present", image.as_str()).map_err(denied)?;
        let state = self.0.state.borrow();
        let by_digest = |(name, digest): (&String, &Digest)| {
            let name: ImageRef = name.parse().ok()?;
            (format!("{}@{digest}", name.name()) == image.as_str()).then(|| digest.clone())
        };
        let by_name = state.images.get(image.as_str()).cloned();
        Ok(by_name.or_else(|| state.images.iter().find_map(by_digest)))
    }

    async fn room_for(&self, image: &ImageRef) -> Result<Room, ImageError> {
        self.0
            .call("images.room_for", image.as_str())
            .map_err(|denied| ImageError::Disk(denied.into()))?;
        let state = self.0.state.borrow();
        let reachable = !state.registry_down && state.registry.contains_key(image.as_str());
        let size = state.image_sizes.get(image.as_str()).copied();
        Ok(Room {
            needed: size.filter(|_| reachable),
            free: state.data_free_mib << 20,
            reserve: RESERVE,
        })
    }

    async fn pull(
        &self,
        image: &ImageRef,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<Pulled, ImageError> {
        self.0.call("images.pull", image.as_str()).map_err(denied)?;
        let (remote, down, time) = {
            let state = self.0.state.borrow();
            (
                state.registry.get(image.as_str()).cloned(),
                state.registry_down,
                state.pull_time,
            )
        };
        let (digest, layers) = match remote {
            _ if down => return Err(fails(ImageErrorKind::RegistryUnreachable)),
            None => return Err(fails(ImageErrorKind::NotFound)),
            Some(Remote::Fails(kind)) => return Err(fails(kind)),
            Some(Remote::Holds { digest, layers }) => (digest, layers),
        };
        for layer in 0..=layers {
            progress(PullProgress {
                layers_done: layer,
                layers_total: layers,
                bytes: None,
            });
            if layer < layers {
                tokio::time::sleep(time / layers).await;
            }
        }
        self.0.write().map_err(denied)?;
        self.0
            .state
            .borrow_mut()
            .images
            .insert(image.as_str().to_owned(), digest.clone());
        Ok(Pulled { digest })
    }

    async fn prune(&self, wanted: &[ImageRef]) -> Result<(), ImageError> {
        self.0.call("images.prune", "").map_err(denied)?;
        self.0
            .state
            .borrow_mut()
            .images
            .retain(|image, _| wanted.iter().any(|kept| kept.as_str() == image));
        Ok(())
    }

    async fn repair(&self) -> Result<(), ImageError> {
        self.0.call("images.repair", "").map_err(denied)
    }
}

/// The fake of [`crate::PodmanContainers`]. A container that heeds the signal has ended when the call returns, and systemd
/// waits for its next try of it, or has none when its restart policy asks for none.
#[derive(Debug, Clone)]
pub struct PodmanContainers(World);

impl PodmanContainers {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }
}

impl Containers for PodmanContainers {
    async fn signal(
        &self,
        deployment: &DeploymentName,
        signal: StopSignal,
    ) -> Result<Signalled, ContainersError> {
        let subject = format!("{deployment} {}", signal.as_str());
        self.0
            .call("containers.signal", &subject)
            .map_err(|denied| ContainersError {
                deployment: deployment.clone(),
                signal,
                source: ExecError {
                    tool: "podman",
                    args: "kill".to_owned(),
                    status: ExecStatus::NotStarted(denied.into()),
                    stderr: String::new(),
                },
            })?;
        let running = self
            .0
            .state
            .borrow()
            .containers
            .contains(&container_name(deployment));
        let Ok(unit) = UnitName::of(deployment) else {
            return Ok(Signalled::NotRunning);
        };
        if !running {
            return Ok(Signalled::NotRunning);
        }
        if !self.0.state.borrow().deaf.contains(deployment) {
            {
                let mut state = self.0.state.borrow_mut();
                state.halt(&unit);
                let again = state.starts_for_ever(&unit);
                if let (true, Some(facts)) = (again, state.units.get_mut(&unit)) {
                    facts.active_state = ActiveState::Activating;
                    facts.sub_state = "auto-restart".to_owned();
                }
            }
            self.0.tell(&unit);
        }
        Ok(Signalled::Sent)
    }
}

/// The fake of [`crate::PodmanLeftovers`].
#[derive(Debug, Clone)]
pub struct PodmanLeftovers(World);

impl PodmanLeftovers {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }
}

impl Leftovers for PodmanLeftovers {
    async fn remove(
        &self,
        deployment: &DeploymentName,
        keep: Option<&BTreeSet<String>>,
    ) -> Result<Remains, LeftoversError> {
        self.0
            .call("leftovers.remove", deployment.as_str())
            .map_err(|denied| LeftoversError::Podman {
                operation: "list the volumes",
                deployment: deployment.clone(),
                source: ExecError {
                    tool: "podman",
                    args: "volume ls".to_owned(),
                    status: ExecStatus::NotStarted(denied.into()),
                    stderr: String::new(),
                },
            })?;
        let mut state = self.0.state.borrow_mut();
        let (container, inits) = (container_name(deployment), init_container_name(deployment, ""));
        let is_ours = |name: &String| *name == container || name.starts_with(&inits);
        let prefix = volume_name(deployment, "");
        let ours = |volume: &str| {
            volume
                .strip_prefix(&prefix)
                .is_some_and(|name| !keep.is_some_and(|keep| keep.contains(name)))
        };
        let stuck = state.stuck.clone();
        state
            .containers
            .retain(|name| !is_ours(name) || stuck.contains(name));
        if keep.is_some() {
            state.volumes.retain(|name| !ours(name) || stuck.contains(name));
        }
        Ok(Remains {
            containers: state
                .containers
                .iter()
                .filter(|name| is_ours(name))
                .cloned()
                .collect(),
            volumes: state.volumes.iter().filter(|name| ours(name)).cloned().collect(),
        })
    }
}
