//! What needs a person: alike things on many devices are one entry, the most urgent first.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_protocol::Cause;
use fleet_protocol::bucket::PairKey;

use super::chain::next_action;
use super::slot::Slot;
use super::state::Fleet;
use super::view::{Attention, AttentionKind, DeviceState, MAX_SAMPLE, PairState};
use super::views::pair_since;

/// Entries with the same key are one.
type GroupKey = (AttentionKind, Option<String>, String);

struct Group {
    cause: Option<(DateTime<Utc>, Cause)>,
    next: String,
    since: Option<DateTime<Utc>>,
    count: u64,
    devices: Vec<String>,
}

/// One thing, before grouping.
struct Item {
    kind: AttentionKind,
    deployment: Option<String>,
    device: Option<String>,
    /// Things with different words are different groups, such as a cause's kind.
    word: String,
    cause: Option<Cause>,
    since: Option<DateTime<Utc>>,
    next: String,
}

/// Everything that needs a person at this moment.
#[must_use]
pub fn list(fleet: &Fleet) -> Vec<Attention> {
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    let pairs = fleet
        .deployments
        .iter()
        .filter(|(_, entry)| needs_look(&entry.counts))
        .flat_map(|(name, entry)| {
            entry.devices.iter().map(|device| PairKey {
                device: device.clone(),
                deployment: name.clone(),
            })
        });
    let items = pairs
        .filter_map(|key| pair_item(fleet, &key))
        .chain(fleet.offline.iter().filter_map(|id| offline_item(fleet, id)))
        .chain(fleet.unhealthy.iter().flat_map(|id| device_items(fleet, id)))
        .chain(value_items(fleet));
    for item in items {
        join(&mut groups, item);
    }
    groups
        .into_iter()
        .map(|(key, group)| finish(key, group))
        .collect()
}

fn needs_look(counts: &super::view::PairCounts) -> bool {
    counts.failed + counts.stuck + counts.unreadable + counts.unknown > 0
}

fn pair_item(fleet: &Fleet, key: &PairKey) -> Option<Item> {
    let pair = fleet.pairs.get(key)?;
    let state = pair.state();
    let kind = match state {
        PairState::Failed => AttentionKind::Failed,
        PairState::Stuck => AttentionKind::Stuck,
        PairState::Unreadable | PairState::Unknown => AttentionKind::Unreadable,
        _ => return None,
    };
    let report = pair.reported.as_ref().and_then(Slot::read);
    let unreadable = [
        pair.desired.as_ref().and_then(Slot::unreadable),
        pair.reported.as_ref().and_then(Slot::unreadable),
    ];
    let cause = unreadable
        .into_iter()
        .flatten()
        .next()
        .map(|why| Cause::new(why.kind, why.detail.clone()))
        .or_else(|| report.and_then(|report| report.cause.clone()));
    let device_state = fleet
        .devices
        .get(&key.device)
        .map_or(DeviceState::Unknown, super::state::Device::state);
    Some(Item {
        kind,
        deployment: Some(key.deployment.to_string()),
        device: Some(key.device.to_string()),
        word: cause.as_ref().map(|cause| cause.kind.clone()).unwrap_or_default(),
        since: pair_since(pair, state, report),
        next: next_action(
            state,
            device_state,
            key.device.as_str(),
            key.deployment.as_str(),
            report,
        )
        .unwrap_or_default(),
        cause,
    })
}

fn offline_item(fleet: &Fleet, id: &fleet_protocol::DeviceId) -> Option<Item> {
    let device = fleet.devices.get(id)?;
    Some(Item {
        kind: AttentionKind::Offline,
        deployment: None,
        device: Some(id.to_string()),
        word: String::new(),
        cause: None,
        since: device.since,
        next: "check power and network there; what runs on it goes on without us".to_owned(),
    })
}

fn device_items(fleet: &Fleet, id: &fleet_protocol::DeviceId) -> Vec<Item> {
    let Some(slot) = fleet.devices.get(id).and_then(|device| device.info.as_ref()) else {
        return Vec::new();
    };
    let item = |kind, cause: Cause, next: &str| Item {
        kind,
        deployment: None,
        device: Some(id.to_string()),
        word: cause.kind.clone(),
        cause: Some(cause),
        since: Some(slot.at),
        next: next.to_owned(),
    };
    let unreadable = slot.unreadable().map(|why| {
        let cause = Cause::new(
            why.kind,
            format!("{id} wrote a device-info that cannot be read: {}", why.detail),
        );
        item(
            AttentionKind::Unreadable,
            cause,
            "upgrade the control plane if the agent is newer; else its agent",
        )
    });
    let health = slot.read().map(|info| info.health.as_slice()).unwrap_or_default();
    let health = health
        .iter()
        .map(|cause| item(AttentionKind::Unhealthy, cause.clone(), "see the cause"));
    unreadable.into_iter().chain(health).collect()
}

/// Values that are about no device of their own: deployments, and keys that are none.
fn value_items(fleet: &Fleet) -> Vec<Item> {
    let mut items = Vec::new();
    for (name, entry) in &fleet.deployments {
        let Some(slot) = entry.slot() else {
            items.extend(fleet.lost_problem(name, entry).map(|problem| Item {
                kind: AttentionKind::Unreadable,
                deployment: Some(name.to_string()),
                device: None,
                word: problem.kind.clone(),
                cause: Some(Cause::new(&problem.kind, problem.detail)),
                since: Some(problem.since),
                next: "apply it again, or delete it".to_owned(),
            }));
            continue;
        };
        let mut item = |kind, cause, next: &str| {
            items.push(Item {
                kind,
                deployment: Some(name.to_string()),
                device: None,
                word: "deployment".to_owned(),
                cause,
                since: Some(slot.at),
                next: next.to_owned(),
            });
        };
        if let Some(why) = slot.unreadable() {
            let cause = Cause::new(why.kind, why.detail.clone());
            item(
                AttentionKind::Unreadable,
                Some(cause),
                "apply it again, or upgrade the control plane",
            );
        } else if entry.selects_nothing() {
            item(
                AttentionKind::SelectsNothing,
                None,
                "check the selector against the devices' labels",
            );
        }
    }
    items.extend(fleet.strays().map(|problem| Item {
        kind: AttentionKind::Unreadable,
        deployment: None,
        device: None,
        word: format!("{}/{}", problem.bucket, problem.key),
        cause: Some(Cause::new(&problem.kind, problem.detail.clone())),
        since: Some(problem.since),
        next: "delete the key if it was a slip".to_owned(),
    }));
    items
}

fn join(groups: &mut BTreeMap<GroupKey, Group>, item: Item) {
    let group = groups
        .entry((item.kind, item.deployment, item.word))
        .or_insert_with(|| Group {
            cause: None,
            next: item.next,
            since: item.since,
            count: 0,
            devices: Vec::new(),
        });
    let when = item.since.unwrap_or_default();
    if let Some(cause) = item.cause
        && group.cause.as_ref().is_none_or(|(newest, _)| *newest <= when)
    {
        group.cause = Some((when, cause));
    }
    group.since = match (group.since, item.since) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    if let Some(device) = item.device {
        group.count += 1;
        if group.devices.len() < MAX_SAMPLE {
            group.devices.push(device);
        }
    }
}

fn finish((kind, deployment, word): GroupKey, group: Group) -> Attention {
    let what = deployment.as_deref();
    let on = match (group.count, group.devices.first()) {
        (1, Some(device)) => device.clone(),
        (count, _) => format!("{count} devices"),
    };
    let title = match (kind, what) {
        (AttentionKind::Failed, Some(name)) => format!("{name} failed on {on}"),
        (AttentionKind::Stuck, Some(name)) => format!("{name} is stuck on {on}"),
        (AttentionKind::Unreadable, Some(name)) if word == "deployment-lost" => {
            format!("{name} is on devices but not in the store")
        }
        (AttentionKind::Unreadable, Some(name)) if group.count == 0 => format!("{name} cannot be read"),
        (AttentionKind::Unreadable, Some(name)) => {
            format!("{name}: {on} wrote what this version cannot read")
        }
        (AttentionKind::Unreadable, None) if group.count == 0 => format!("{word} is no key of this fleet"),
        (AttentionKind::Offline, _) if group.count == 1 => format!("{on} is offline"),
        (AttentionKind::Offline, _) => format!("{on} are offline"),
        (AttentionKind::Unhealthy, _) => format!("{word} on {on}"),
        (AttentionKind::SelectsNothing, Some(name)) => format!("{name} selects no device"),
        (_, _) => format!("{on}: {word}"),
    };
    Attention {
        kind,
        title,
        cause: group.cause.map(|(_, cause)| cause),
        next: group.next,
        since: group.since,
        deployment,
        count: group.count,
        devices: group.devices,
    }
}
