//! What a change comes to, from what the aggregate knows; pure.

use axum::body::Bytes;
use axum::http::StatusCode;
use fleet_protocol::bucket::PairKey;
use fleet_protocol::{Deployment, DeploymentName, wire};

use super::super::ApiError;
use super::super::types::{Outcome, PutDeployment};
use crate::fleet::{Fleet, Slot, Value};

/// What a change comes to.
pub(super) struct Decision {
    pub(super) outcome: Outcome,
    /// The generation that is there; 0 for none.
    pub(super) before: u64,
    pub(super) generation: u64,
    pub(super) devices: u64,
    /// Revision to expect, and the value (`None` deletes); nothing to write when unchanged.
    pub(super) write: Option<(u64, Option<Bytes>)>,
}

/// What to write for this wish.
///
/// # Errors
/// A newer control plane wrote it.
pub(super) fn decide_put(
    fleet: &Fleet,
    name: &DeploymentName,
    wanted: &PutDeployment,
) -> Result<Decision, ApiError> {
    let slot = fleet.deployment(name).and_then(|entry| entry.slot());
    refuse_newer(name, slot)?;
    let known = slot.and_then(Slot::read);
    let before = known.map_or(0, |known| known.generation);
    let (generation, outcome) = match known {
        Some(known) if known.spec == wanted.spec && known.labels == wanted.labels => {
            (before, Outcome::Unchanged)
        }
        // The generation counts changes of the specification; devices need not hear of labels.
        Some(known) if known.spec == wanted.spec => (before, Outcome::Changed),
        Some(_) => (before + 1, Outcome::Changed),
        None => (first_generation(fleet, name, slot), Outcome::Created),
    };
    let deployment = Deployment {
        protocol: fleet_protocol::PROTOCOL_VERSION,
        name: name.clone(),
        labels: wanted.labels.clone(),
        generation,
        spec: wanted.spec.clone(),
    };
    let expected = slot.map_or(0, |slot| slot.revision);
    let write = (outcome != Outcome::Unchanged).then(|| (expected, Some(wire::encode(&deployment).into())));
    let devices = fleet.selected(&wanted.spec.selector).count() as u64;
    Ok(Decision {
        outcome,
        before,
        generation,
        devices,
        write,
    })
}

/// A deployment that is made anew must not take a generation that a device has seen: it would look as if the device ran the
/// new one already. Each generation costs at least one write, so none is above the key's last revision; and where the store
/// was lost, the devices' own reports say what they have seen.
fn first_generation(fleet: &Fleet, name: &DeploymentName, slot: Option<&Slot<Deployment>>) -> u64 {
    let marker = slot.map_or(0, |slot| slot.revision);
    let devices = fleet
        .deployment(name)
        .into_iter()
        .flat_map(crate::fleet::DeploymentEntry::devices);
    let seen = devices.filter_map(|device| {
        let key = PairKey {
            device: device.clone(),
            deployment: name.clone(),
        };
        fleet.pair(&key).map(crate::fleet::Pair::newest_generation)
    });
    seen.max().unwrap_or(0).max(marker) + 1
}

/// What to write to take it away.
///
/// # Errors
/// There is none, or a newer control plane wrote it.
pub(super) fn decide_delete(fleet: &Fleet, name: &DeploymentName) -> Result<Decision, ApiError> {
    let missing = || ApiError::not_found("deployment", name.as_str());
    let entry = fleet.deployment(name).ok_or_else(missing)?;
    let slot = entry.slot();
    refuse_newer(name, slot)?;
    let devices = entry.devices().count() as u64;
    let lost = slot.is_none() && devices > 0;
    if !lost && slot.is_none_or(Slot::is_gone) {
        return Err(missing());
    }
    let before = slot.and_then(Slot::read).map_or(0, |known| known.generation);
    let expected = slot.map_or(0, |slot| slot.revision);
    Ok(Decision {
        outcome: Outcome::Deleted,
        before,
        generation: before,
        devices,
        write: Some((expected, None)),
    })
}

fn refuse_newer(name: &DeploymentName, slot: Option<&Slot<Deployment>>) -> Result<(), ApiError> {
    match slot.map(|slot| &slot.value) {
        Some(Value::Unreadable(why)) if why.kind == "value-of-newer-version" => Err(ApiError::new(
            StatusCode::CONFLICT,
            why.kind,
            format!("deployment {name} was written by a newer control plane"),
            why.detail.clone(),
        )),
        _ => Ok(()),
    }
}
