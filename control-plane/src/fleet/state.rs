//! The aggregate's parts.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::bucket::PairKey;
use fleet_protocol::{
    Deployment, DeploymentName, DeploymentState, DesiredState, DeviceId, DeviceInfo, Heartbeat, Score,
    Selector, wire,
};

use super::history::History;
use super::slot::{Slot, Value};
use super::view::{DeviceState, PairCounts, Problem};
use crate::store::BucketId;

/// Everything that is known. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) deployments: BTreeMap<DeploymentName, DeploymentEntry>,
    pub(super) pairs: BTreeMap<PairKey, Pair>,
    /// Keys that are no keys of this protocol, each with its snapshot number.
    pub(super) strays: BTreeMap<(BucketId, String), (u64, Problem)>,
    /// Pairs that are not at rest: only they can become stuck.
    pub(super) open: BTreeSet<PairKey>,
    pub(super) offline: BTreeSet<DeviceId>,
    /// Devices with problems or with something wrong by their own report.
    pub(super) unhealthy: BTreeSet<DeviceId>,
    pub(super) counts: PairCounts,
    pub(super) history: History,
    pub(super) watches: [WatchState; BucketId::ALL.len()],
    pub(super) history_watch: WatchState,
    pub(super) connected: bool,
    /// The newest connection that anything was heard over.
    pub(super) session: u64,
    pub(super) last_event_at: Option<DateTime<Utc>>,
}

/// Where the watch of a source is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WatchState {
    /// The connection it is read over.
    pub(super) session: u64,
    pub(super) epoch: u64,
    pub(super) caught_up: bool,
    /// Why the watch ended last; until it has caught up again.
    pub(super) broken: Option<String>,
    pub(super) revision: u64,
    pub(super) target: u64,
    pub(super) stream_created: Option<DateTime<Utc>>,
}

impl WatchState {
    pub(super) fn begin(&mut self, session: u64, stream_created: DateTime<Utc>, target: u64) {
        self.epoch += 1;
        self.session = session;
        self.caught_up = false;
        self.revision = 0;
        self.target = target;
        self.stream_created = Some(stream_created);
    }

    pub(super) fn end(&mut self) {
        self.caught_up = true;
        self.broken = None;
    }

    pub(super) fn broke(&mut self, why: &str) {
        self.caught_up = false;
        self.broken = Some(why.to_owned());
    }
}

/// What changed, by name; the views tell how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Whether the aggregate is whole, or connected.
    Recovery,
    /// A device, its counts among it.
    Device(DeviceId),
    /// A deployment, its counts among it.
    Deployment(DeploymentName),
    /// What is asked of a deployment. Always with [`Self::Deployment`], which alone comes with every report of every device.
    Specification(DeploymentName),
    /// One deployment on one device.
    Pair(PairKey),
    /// An event was appended to the history.
    History(u64),
}

/// A device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    pub(super) info: Option<Slot<DeviceInfo>>,
    pub(super) heartbeat: Option<Slot<Heartbeat>>,
    /// The last heartbeat that was seen, kept when its key goes.
    pub(super) last: Option<(DateTime<Utc>, Heartbeat)>,
    pub(super) online: bool,
    pub(super) since: Option<DateTime<Utc>>,
    /// The heartbeat is missing since the store was replaced: nobody knows yet.
    pub(super) unconfirmed: Option<DateTime<Utc>>,
    pub(super) counts: PairCounts,
}

impl Device {
    /// Whether it is there.
    #[must_use]
    pub fn state(&self) -> DeviceState {
        match (self.info(), self.online) {
            (None, _) => DeviceState::Unknown,
            (Some(_), true) => DeviceState::Online,
            (Some(_), false) => DeviceState::Offline,
        }
    }

    /// What it says about itself, when that can be read.
    #[must_use]
    pub fn info(&self) -> Option<&DeviceInfo> {
        self.info.as_ref().and_then(Slot::read)
    }

    /// It was taken out of the fleet: its `device-info` was deleted, not merely lost.
    #[must_use]
    pub fn was_removed(&self) -> bool {
        self.info.as_ref().is_some_and(Slot::is_gone)
    }

    /// Its heartbeat is there, whatever it says about itself.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.online
    }

    /// When its last heartbeat came, as far as known.
    #[must_use]
    pub fn last_heartbeat_at(&self) -> Option<DateTime<Utc>> {
        self.last.as_ref().map(|(at, _)| *at)
    }

    /// Since when it is away, as far as known; its last heartbeat came before that.
    #[must_use]
    pub fn away_since(&self) -> Option<DateTime<Utc>> {
        self.since.or(self.last_heartbeat_at()).filter(|_| !self.online)
    }

    pub(super) fn is_visible(&self) -> bool {
        let there = self.info.as_ref().is_some_and(|slot| !slot.is_gone());
        there || self.heartbeat.as_ref().is_some_and(|slot| !slot.is_gone()) || self.counts.total > 0
    }
}

/// A deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentEntry {
    pub(super) slot: Option<Slot<Deployment>>,
    /// The bytes that each of its devices shall have in `desired-state`.
    pub(super) resolved: Option<Bytes>,
    /// Devices with a pair.
    pub(super) devices: BTreeSet<DeviceId>,
    pub(super) counts: PairCounts,
    /// Pairs with a desired state.
    pub(super) desired: u64,
    /// Visible pairs by the generation that is desired of them.
    pub(super) generations: BTreeMap<u64, u64>,
}

impl DeploymentEntry {
    /// Its key in `deployments`, if there is or was one.
    #[must_use]
    pub fn slot(&self) -> Option<&Slot<Deployment>> {
        self.slot.as_ref()
    }

    /// Devices with a pair of it.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.iter()
    }

    /// What was asked, when that can be read.
    #[must_use]
    pub fn read(&self) -> Option<&Deployment> {
        self.slot.as_ref().and_then(Slot::read)
    }

    /// The bytes that each selected device shall have.
    #[must_use]
    pub fn resolved(&self) -> Option<&Bytes> {
        self.resolved.as_ref()
    }

    pub(super) fn is_visible(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| !slot.is_gone()) || self.counts.total > 0
    }

    /// Pairs whose desired state is not of the current generation, those that are being removed among them.
    pub(super) fn behind(&self) -> u64 {
        let current = self
            .read()
            .and_then(|deployment| self.generations.get(&deployment.generation));
        self.counts.total.saturating_sub(current.copied().unwrap_or(0))
    }

    pub(super) fn count_generation(&mut self, before: Option<u64>, after: Option<u64>) {
        if before == after {
            return;
        }
        if let Some(before) = before
            && let Some(count) = self.generations.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.generations.remove(&before);
            }
        }
        if let Some(after) = after {
            *self.generations.entry(after).or_default() += 1;
        }
    }

    pub(super) fn resolve(&mut self) {
        self.resolved = self.read().map(|deployment| resolve(deployment).into());
    }
}

/// The bytes of a deployment's desired state.
#[must_use]
pub fn resolve(deployment: &Deployment) -> Vec<u8> {
    wire::encode(&DesiredState {
        protocol: fleet_protocol::PROTOCOL_VERSION,
        generation: deployment.generation,
        score: deployment.spec.score.clone(),
    })
}

/// What a desired state says, and its bytes to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The generation it was resolved from.
    pub generation: u64,
    /// The image, for lists.
    pub image: String,
    /// Its init containers by name, in order.
    pub inits: Vec<String>,
    /// The longest time in which a device that does what it should may have nothing new to tell.
    pub patience: TimeDelta,
    /// As it lies in the store.
    pub bytes: Bytes,
}

/// One deployment on one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    pub(super) desired: Option<Slot<Desired>>,
    pub(super) reported: Option<Slot<DeploymentState>>,
    /// [`Desired::patience`] of the last desired state that could be read: a removal stops what that one runs.
    pub(super) patience: TimeDelta,
    pub(super) stuck: bool,
}

impl Pair {
    /// Its key in `desired-state`, if there is or was one.
    #[must_use]
    pub fn desired(&self) -> Option<&Slot<Desired>> {
        self.desired.as_ref()
    }

    /// The newest generation that this device was asked for or has seen.
    #[must_use]
    pub fn newest_generation(&self) -> u64 {
        let desired = self.desired_generation();
        let reported = self
            .reported
            .as_ref()
            .and_then(Slot::read)
            .map(|state| state.observed_generation);
        desired.max(reported).unwrap_or(0)
    }

    /// Something of it is in the store.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        let desired = self.desired.as_ref().is_some_and(|slot| !slot.is_gone());
        desired || self.reported.as_ref().is_some_and(|slot| !slot.is_gone())
    }

    /// The generation that is desired of it, when that can be read.
    pub(super) fn desired_generation(&self) -> Option<u64> {
        self.desired
            .as_ref()
            .and_then(Slot::read)
            .map(|desired| desired.generation)
    }

    pub(super) fn has_desired(&self) -> bool {
        matches!(
            self.desired.as_ref().map(|slot| &slot.value),
            Some(Value::Read(_) | Value::Unreadable(_))
        )
    }
}

impl Fleet {
    /// Everything that lay in every bucket when its watch began has been read.
    #[must_use]
    pub fn converged(&self) -> bool {
        BucketId::ALL.into_iter().all(|bucket| self.caught_up(bucket))
    }

    /// A bucket was read to its end over the connection that holds now. What was read over an earlier one may be of another
    /// store, and to mix both would be a partial view.
    pub(super) fn caught_up(&self, bucket: BucketId) -> bool {
        self.is_current(&self.watches[bucket.index()])
    }

    pub(super) fn is_current(&self, watch: &WatchState) -> bool {
        watch.caught_up && watch.session == self.session
    }

    /// Connected to NATS at this moment.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.connected
    }

    /// When the stream behind a bucket was created.
    #[must_use]
    pub fn stream_created(&self, bucket: BucketId) -> Option<DateTime<Utc>> {
        self.watches[bucket.index()].stream_created
    }

    /// Newest revision read of a bucket.
    #[must_use]
    pub fn revision(&self, bucket: BucketId) -> u64 {
        self.watches[bucket.index()].revision
    }

    /// A device.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id)
    }

    /// All devices by id.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceId, &Device)> {
        self.devices.iter()
    }

    /// A deployment.
    #[must_use]
    pub fn deployment(&self, name: &DeploymentName) -> Option<&DeploymentEntry> {
        self.deployments.get(name)
    }

    /// All deployments by name, those that are only a marker among them.
    pub fn deployments(&self) -> impl Iterator<Item = (&DeploymentName, &DeploymentEntry)> {
        self.deployments.iter()
    }

    /// One deployment on one device.
    #[must_use]
    pub fn pair(&self, key: &PairKey) -> Option<&Pair> {
        self.pairs.get(key)
    }

    /// All pairs, by device and deployment, markers among them.
    pub fn pairs(&self) -> impl Iterator<Item = (&PairKey, &Pair)> {
        self.pairs.iter()
    }

    /// What a pair is asked to run: as it lies in `desired-state`, else in its deployment.
    #[must_use]
    pub fn score_of(&self, key: &PairKey) -> Option<Score> {
        let desired = self.pairs.get(key)?.desired.as_ref().and_then(Slot::read);
        let desired = desired.and_then(|desired| wire::decode::<DesiredState>(&desired.bytes).ok());
        desired.map(|desired| desired.score).or_else(|| {
            let deployment = self.deployments.get(&key.deployment)?.read()?;
            Some(deployment.spec.score.clone())
        })
    }

    /// The pairs of one device, markers among them.
    pub fn pairs_of<'a>(&'a self, device: &'a DeviceId) -> impl Iterator<Item = (&'a PairKey, &'a Pair)> {
        // "0" sorts before every other name.
        let first = "0".parse().expect("a digit is a name");
        let start = PairKey {
            device: device.clone(),
            deployment: first,
        };
        self.pairs
            .range(start..)
            .take_while(move |(key, _)| key.device == *device)
    }

    /// The devices that a selector selects at this moment.
    pub fn selected<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = &'a DeviceId> {
        self.devices.iter().filter_map(move |(id, device)| {
            let labels = &device.info()?.labels;
            selector.selects(id, labels).then_some(id)
        })
    }

    /// What cannot be read, of all buckets, with keys that are no keys.
    pub fn strays(&self) -> impl Iterator<Item = &Problem> {
        self.strays.values().map(|(_, problem)| problem)
    }
}
