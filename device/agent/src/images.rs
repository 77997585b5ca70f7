//! Which images are on the device for good, from the agent's own record: podman need not be asked, which
//! costs more than the rest of a deployment, and podman's answer cannot be trusted after a power cut
//! during a pull. Also: taking away those that nothing uses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use fleet_host::{DeviceFacts, Host, Images, Ledger, Reading, Shelf};
use fleet_protocol::DeploymentName;
use fleet_protocol::score::ImageRef;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OnceCell};
use tokio::time::timeout;

use crate::words::chain;

/// Name of the record: no deployment can have it, since its unit would be the agent's own.
const RECORD: &str = "agent";

/// Longest repair of podman's storage before a pull is let through nevertheless.
const REPAIR_WITHIN: Duration = Duration::from_mins(30);

/// What is on the device for good.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Record {
    /// Digest by image name.
    images: BTreeMap<String, String>,
    /// The boot in which podman's storage was last looked through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repaired_in: Option<String>,
}

/// Which images are on the device for good.
#[derive(Default)]
pub(crate) struct KnownImages {
    record: RefCell<Record>,
    used: RefCell<BTreeMap<DeploymentName, Vec<String>>>,
    changed: Notify,
    /// No agent ever pulled here.
    fresh: Cell<bool>,
    repaired: OnceCell<()>,
    /// The record is not on the disk as it ought to be.
    unsaved: Cell<bool>,
}

pub(crate) fn record_name() -> DeploymentName {
    DeploymentName::new(RECORD).expect("a constant that is a name")
}

impl KnownImages {
    pub(crate) async fn load(&self, host: &impl Host) {
        match host
            .ledger()
            .read::<Record>(Shelf::Progress, &record_name())
            .await
        {
            Ok(reading) => {
                self.fresh.set(matches!(reading, Reading::Absent));
                self.record.replace(reading.found().unwrap_or_default());
            }
            Err(error) => tracing::warn!("images will be pulled again: {}", chain(&error)),
        }
        // What lost its last user under the agent before this one is still to be collected.
        self.changed.notify_one();
    }

    /// Digest of an image that was pulled and brought to the disk.
    pub(crate) fn digest(&self, image: &str) -> Option<String> {
        self.record.borrow().images.get(image).cloned()
    }

    pub(crate) async fn pulled(&self, host: &impl Host, image: &str, digest: &str) {
        self.record
            .borrow_mut()
            .images
            .insert(image.to_owned(), digest.to_owned());
        self.save(host).await;
    }

    /// It was not there after all.
    pub(crate) async fn missing(&self, host: &impl Host, image: &str) {
        if self.forget(&|name| name != image) {
            self.save(host).await;
        }
    }

    fn forget(&self, keep: &dyn Fn(&str) -> bool) -> bool {
        let images = &mut self.record.borrow_mut().images;
        let before = images.len();
        images.retain(|name, _| keep(name));
        images.len() != before
    }

    async fn save(&self, host: &impl Host) {
        let record = self.record.borrow().clone();
        let written = host
            .ledger()
            .write(Shelf::Progress, &record_name(), &record)
            .await;
        self.unsaved.set(written.is_err());
        if let Err(error) = written {
            tracing::warn!("an image may be pulled once more: {}", chain(&error));
        }
    }

    /// Writes what the disk refused before.
    pub(crate) async fn save_rest(&self, host: &impl Host) {
        if self.unsaved.get() {
            self.save(host).await;
        }
    }

    /// To be awaited before each pull, and when a container ends as soon as it starts. The first time after a boot looks through podman's storage: a power cut during a pull
    /// leaves layers that look whole and are empty (podman#16362). Whether the last shutdown was a clean one cannot be
    /// known here, so every boot counts as one that was not. What runs already does not wait for this.
    /// Says whether it was done by now only.
    pub(crate) async fn repair_once(&self, host: &impl Host) -> bool {
        let first = !self.repaired.initialized();
        // When the pull that came first is dropped, the next one takes over.
        self.repaired.get_or_init(|| self.repair(host)).await;
        first
    }

    async fn repair(&self, host: &impl Host) {
        let boot = match host.facts().boot_id() {
            Ok(boot) => boot,
            Err(error) => return tracing::warn!("podman's storage is not looked through: {}", chain(&error)),
        };
        if self.record.borrow().repaired_in.as_ref() == Some(&boot) {
            return;
        }
        if !self.fresh.get() {
            tracing::info!("looking through podman's storage before the first pull of this boot");
            match timeout(REPAIR_WITHIN, host.images().repair()).await {
                Ok(Ok(())) => self.forget_absent(host).await,
                Ok(Err(error)) => {
                    return tracing::warn!("podman's storage could not be repaired: {}", chain(&error));
                }
                Err(_) => {
                    return tracing::warn!("podman's storage was not repaired within {REPAIR_WITHIN:?}");
                }
            }
        }
        // A crash before this repeats the repair.
        self.record.borrow_mut().repaired_in = Some(boot);
        self.save(host).await;
    }

    /// What the repair took away is not there any more.
    async fn forget_absent(&self, host: &impl Host) {
        let known = self.record.borrow().images.clone();
        for (image, digest) in known {
            if let Ok(name) = image.parse()
                && is_absent(host, &name, &digest).await
            {
                self.missing(host, &image).await;
            }
        }
    }

    /// The digest of an image that podman, asked now, has by it.
    pub(crate) async fn verified(&self, host: &impl Host, image: &ImageRef) -> Option<String> {
        let digest = self.digest(image.as_str())?;
        if is_absent(host, image, &digest).await {
            self.missing(host, image.as_str()).await;
            return None;
        }
        Some(digest)
    }

    /// Images that a deployment uses or is about to use.
    pub(crate) fn uses(&self, deployment: &DeploymentName, images: Vec<String>) {
        let mut used = self.used.borrow_mut();
        let before = match images.is_empty() {
            true => used.remove(deployment).unwrap_or_default(),
            false => used
                .insert(deployment.clone(), images.clone())
                .unwrap_or_default(),
        };
        if before.iter().any(|image| !images.contains(image)) {
            self.changed.notify_one();
        }
    }

    /// Waits until an image may have lost its last user.
    pub(crate) async fn unused(&self) {
        self.changed.notified().await;
    }

    /// Removes images that no deployment uses.
    pub(crate) async fn prune(&self, host: &impl Host) {
        let used: Vec<String> = self.used.borrow().values().flatten().cloned().collect();
        // First from the record: one that is on the device and not in it costs a pull, the reverse a failed start.
        if self.forget(&|name| used.iter().any(|image| image == name)) {
            self.save(host).await;
        }
        let wanted: Vec<ImageRef> = used.iter().filter_map(|image| image.parse().ok()).collect();
        if let Err(error) = host.images().prune(&wanted).await {
            tracing::warn!("unused images stay on the device: {}", chain(&error));
        }
    }
}

/// Whether podman says that it has no such image. By digest: the tag may point elsewhere by now.
pub(crate) async fn is_absent(host: &impl Host, image: &ImageRef, digest: &str) -> bool {
    let pinned = format!("{}@{digest}", image.name()).parse().ok();
    let image = pinned.as_ref().unwrap_or(image);
    matches!(host.images().present(image).await, Ok(None))
}
