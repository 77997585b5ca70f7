//! Which images are on the device for good, from the agent's own record: podman need not be asked, which
//! costs more than the rest of a deployment, and podman's answer cannot be trusted after a power cut
//! during a pull. Also: taking away those that nothing uses.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fleet_host::{Host, Images, Ledger, Shelf};
use fleet_protocol::DeploymentName;
use fleet_protocol::score::ImageRef;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::words::chain;

/// Name of the record: no deployment can have it, since its unit would be the agent's own.
const RECORD: &str = "agent";

/// What is on the device for good: digest by image name.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    images: BTreeMap<String, String>,
}

/// Which images are on the device for good.
#[derive(Default)]
pub(crate) struct KnownImages {
    record: RefCell<Record>,
    used: RefCell<BTreeMap<DeploymentName, Vec<String>>>,
    changed: Notify,
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
                self.record.replace(reading.found().unwrap_or_default());
            }
            Err(error) => tracing::warn!("images will be pulled again: {}", chain(&error)),
        }
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
        let record = Record {
            images: self.record.borrow().images.clone(),
        };
        if let Err(error) = host
            .ledger()
            .write(Shelf::Progress, &record_name(), &record)
            .await
        {
            tracing::warn!("an image may be pulled once more: {}", chain(&error));
        }
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
