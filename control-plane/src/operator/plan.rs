//! What has to be written so that `desired-state` says what `deployments` ask for. Pure.
//!
//! Only what is known decides: a deployment that cannot be read, a device whose labels are not known, a value of a newer
//! version and a store that lost its deployments all leave things as they are. Only a deletion that was seen deletes.

use std::collections::BTreeSet;

use bytes::Bytes;
use fleet_protocol::bucket::PairKey;
use fleet_protocol::{DeploymentName, DeviceId};

use crate::fleet::{Change, Fleet, Slot, Value};

/// One compare-and-set on `desired-state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Put these bytes.
    Put {
        /// The key.
        key: PairKey,
        /// Its revision; 0 is "not there".
        expected: u64,
        /// The value.
        bytes: Bytes,
        /// The generation that the value is of.
        generation: u64,
    },
    /// Delete it.
    Delete {
        /// The key.
        key: PairKey,
        /// Its revision.
        expected: u64,
    },
}

impl Write {
    /// What it writes to.
    #[must_use]
    pub fn key(&self) -> &PairKey {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

/// What has to be looked at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    all: bool,
    devices: BTreeSet<DeviceId>,
    deployments: BTreeSet<DeploymentName>,
    pairs: BTreeSet<PairKey>,
}

impl Dirty {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Looks again at what changed.
    pub fn note(&mut self, change: &Change) {
        match change {
            Change::Recovery => *self = Self::everything(),
            // Its devices' reports change its counts and nothing that is asked: a rollout to 10,000 devices would else look at
            // all of them again with each report.
            Change::History(_) | Change::Deployment(_) => {}
            _ if self.all => {}
            Change::Device(id) => drop(self.devices.insert(id.clone())),
            Change::Specification(name) => drop(self.deployments.insert(name.clone())),
            Change::Pair(key) => drop(self.pairs.insert(key.clone())),
        }
    }

    /// Looks again at one pair.
    pub fn note_pair(&mut self, key: PairKey) {
        if !self.all {
            self.pairs.insert(key);
        }
    }
}

/// What a device shall have of a deployment.
enum Wish {
    Have {
        bytes: Bytes,
        generation: u64,
    },
    HaveNot,
    /// Not known, or not ours to decide.
    Leave,
}

/// The writes that are needed, by key. Empty when the fleet is as it should be, or not wholly known.
#[must_use]
pub fn plan(fleet: &Fleet, dirty: &Dirty) -> Vec<Write> {
    if !fleet.converged() {
        return Vec::new();
    }
    candidates(fleet, dirty)
        .into_iter()
        .filter_map(|key| write(fleet, key))
        .collect()
}

fn candidates(fleet: &Fleet, dirty: &Dirty) -> BTreeSet<PairKey> {
    let mut keys = dirty.pairs.clone();
    if dirty.all {
        keys.extend(fleet.pairs().map(|(key, _)| key.clone()));
        for (name, _) in fleet.deployments() {
            add_selected(fleet, name, &mut keys);
        }
        return keys;
    }
    for name in &dirty.deployments {
        add_selected(fleet, name, &mut keys);
        let has = fleet
            .deployment(name)
            .into_iter()
            .flat_map(crate::fleet::DeploymentEntry::devices);
        keys.extend(has.map(|device| PairKey {
            device: device.clone(),
            deployment: name.clone(),
        }));
    }
    for device in &dirty.devices {
        keys.extend(fleet.pairs_of(device).map(|(key, _)| key.clone()));
        let all = fleet.deployments().map(|(name, _)| name.clone());
        keys.extend(all.map(|deployment| PairKey {
            device: device.clone(),
            deployment,
        }));
    }
    keys
}

fn add_selected(fleet: &Fleet, name: &DeploymentName, keys: &mut BTreeSet<PairKey>) {
    let Some(deployment) = fleet.deployment(name).and_then(|entry| entry.read()) else {
        return;
    };
    let selected = fleet.selected(&deployment.spec.selector);
    keys.extend(selected.map(|device| PairKey {
        device: device.clone(),
        deployment: name.clone(),
    }));
}

fn wish(fleet: &Fleet, key: &PairKey) -> Wish {
    let Some((entry, slot)) = fleet
        .deployment(&key.deployment)
        .and_then(|entry| Some((entry, entry.slot()?)))
    else {
        // Not in the store, and no marker says that it was deleted: the store was lost. Nothing is taken away for that.
        return Wish::Leave;
    };
    let deployment = match &slot.value {
        Value::Gone => return Wish::HaveNot,
        Value::Unreadable(_) => return Wish::Leave,
        Value::Read(deployment) => deployment,
    };
    let Some(device) = fleet.device(&key.device) else {
        return Wish::Leave;
    };
    if device.was_removed() {
        return Wish::HaveNot;
    }
    let (Some(info), Some(bytes)) = (device.info(), entry.resolved()) else {
        return Wish::Leave;
    };
    if deployment.spec.selector.selects(&key.device, &info.labels) {
        Wish::Have {
            bytes: bytes.clone(),
            generation: deployment.generation,
        }
    } else {
        Wish::HaveNot
    }
}

fn write(fleet: &Fleet, key: PairKey) -> Option<Write> {
    let there = fleet.pair(&key).and_then(|pair| pair.desired());
    let newer = there
        .and_then(Slot::unreadable)
        .is_some_and(|why| why.kind == "value-of-newer-version");
    if newer {
        // A newer operator is at work; to write over it would be a fight that neither can win.
        return None;
    }
    let expected = there.map_or(0, |slot| slot.revision);
    match wish(fleet, &key) {
        Wish::Leave => None,
        Wish::HaveNot if there.is_none_or(Slot::is_gone) => None,
        Wish::HaveNot => Some(Write::Delete { key, expected }),
        Wish::Have { bytes, generation } => {
            let same = there
                .and_then(Slot::read)
                .is_some_and(|desired| desired.bytes == bytes);
            (!same).then_some(Write::Put {
                key,
                expected,
                bytes,
                generation,
            })
        }
    }
}
