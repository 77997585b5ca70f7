//! Taking events in. Each touches what it is about, then the counts of that.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::bucket::PairKey;
use fleet_protocol::score::HealthCheck;
use fleet_protocol::{Deployment, DeploymentName, DesiredState, DeviceId, PodmanV0Score, Score};

use super::slot::{Slot, Taken, Unreadable, message, take};
use super::state::{Change, Desired, Fleet, Pair};
use super::view::Problem;
use crate::store::{BucketId, Entry, Source, StoreEvent};

/// The changes of one or more events, each once.
pub type Changes = BTreeSet<Change>;

impl Fleet {
    /// Takes one event in and notes what it changed. `now` is only the time since when a loss is known.
    pub fn apply(&mut self, event: &StoreEvent, now: DateTime<Utc>, changes: &mut Changes) {
        match event {
            StoreEvent::Connection { session, connected } => {
                if self.connected != *connected || self.session < *session {
                    changes.insert(Change::Recovery);
                }
                self.connected = *connected;
                self.session = self.session.max(*session);
            }
            StoreEvent::Broken { source, why } => {
                match source {
                    Source::Bucket(bucket) => self.watches[bucket.index()].broke(why),
                    Source::History => self.history_watch.broke(why),
                }
                changes.insert(Change::Recovery);
            }
            StoreEvent::Begin {
                source: Source::History,
                session,
                stream_created,
                target,
            } => {
                self.session = self.session.max(*session);
                self.history_watch.begin(*session, *stream_created, *target);
                self.history.clear();
                changes.insert(Change::Recovery);
            }
            StoreEvent::End {
                source: Source::History,
            } => {
                self.history_watch.end();
                changes.insert(Change::Recovery);
            }
            StoreEvent::Entry {
                source: Source::History,
                entry,
            } => {
                changes.extend(self.history.take(entry).map(Change::History));
            }
            StoreEvent::Begin {
                source: Source::Bucket(bucket),
                session,
                stream_created,
                target,
            } => {
                self.session = self.session.max(*session);
                self.watches[bucket.index()].begin(*session, *stream_created, *target);
                changes.insert(Change::Recovery);
            }
            StoreEvent::End {
                source: Source::Bucket(bucket),
            } => {
                self.watches[bucket.index()].end();
                self.drop_unseen(*bucket, now, changes);
                changes.insert(Change::Recovery);
            }
            StoreEvent::Entry {
                source: Source::Bucket(bucket),
                entry,
            } => {
                self.last_event_at = self.last_event_at.max(Some(entry.at));
                let watch = &mut self.watches[bucket.index()];
                watch.revision = watch.revision.max(entry.revision);
                self.entry(*bucket, entry, changes);
            }
        }
    }

    fn entry(&mut self, bucket: BucketId, entry: &Entry, changes: &mut Changes) {
        let epoch = self.watches[bucket.index()].epoch;
        let known = match bucket {
            BucketId::Deployments => entry
                .key
                .parse()
                .ok()
                .map(|name| self.deployment_entry(name, entry, epoch, changes)),
            BucketId::Info => entry
                .key
                .parse()
                .ok()
                .map(|id| self.info_entry(id, entry, epoch, changes)),
            BucketId::Heartbeat => entry
                .key
                .parse()
                .ok()
                .map(|id| self.heartbeat_entry(id, entry, epoch, changes)),
            BucketId::Desired => {
                PairKey::parse(&entry.key).map(|key| self.desired_entry(key, entry, epoch, changes))
            }
            BucketId::Reported => {
                PairKey::parse(&entry.key).map(|key| self.reported_entry(key, entry, epoch, changes))
            }
        };
        if known.is_none() {
            self.stray(bucket, entry, epoch, changes);
        }
    }

    /// A key that is none of this protocol is shown until it is deleted.
    fn stray(&mut self, bucket: BucketId, entry: &Entry, epoch: u64, changes: &mut Changes) {
        let key = (bucket, entry.key.clone());
        if entry.value.is_none() {
            self.strays.remove(&key);
        } else {
            let problem = Problem {
                bucket: bucket.name().to_owned(),
                key: entry.key.clone(),
                kind: "key-malformed".to_owned(),
                detail: format!(
                    "the key {:?} is not one that {} uses: nothing is done with it; delete it if it was a slip",
                    entry.key,
                    bucket.name()
                ),
                since: entry.at,
            };
            self.strays.insert(key, (epoch, problem));
        }
        changes.insert(Change::Recovery);
    }

    fn deployment_entry(&mut self, name: DeploymentName, entry: &Entry, epoch: u64, changes: &mut Changes) {
        let known = self.deployments.entry(name.clone()).or_default();
        if take(&mut known.slot, entry, epoch, |bytes| {
            read_deployment(&name, bytes)
        }) == Taken::Changed
        {
            known.resolve();
            changes.insert(Change::Deployment(name.clone()));
            changes.insert(Change::Specification(name));
        }
    }

    fn info_entry(&mut self, id: DeviceId, entry: &Entry, epoch: u64, changes: &mut Changes) {
        let device = self.devices.entry(id.clone()).or_default();
        let before = device.state();
        if take(&mut device.info, entry, epoch, message) == Taken::Nothing {
            return;
        }
        let pairs_too = device.state() != before;
        self.settle_device(&id, pairs_too, changes);
    }

    fn heartbeat_entry(&mut self, id: DeviceId, entry: &Entry, epoch: u64, changes: &mut Changes) {
        let device = self.devices.entry(id.clone()).or_default();
        if take(&mut device.heartbeat, entry, epoch, message) == Taken::Nothing {
            return;
        }
        // A heartbeat that cannot be read is a sign of life all the same.
        let online = entry.value.is_some();
        if let Some(heartbeat) = device.heartbeat.as_ref().and_then(Slot::read) {
            device.last = Some((entry.at, heartbeat.clone()));
        }
        device.unconfirmed = None;
        if device.online == online && device.since.is_some() {
            return;
        }
        device.online = online;
        device.since = Some(entry.at);
        self.settle_device(&id, true, changes);
    }

    fn desired_entry(&mut self, key: PairKey, entry: &Entry, epoch: u64, changes: &mut Changes) {
        self.change_pair(key, changes, |pair| {
            let taken = take(&mut pair.desired, entry, epoch, read_desired);
            if let Some(desired) = pair.desired.as_ref().and_then(Slot::read) {
                pair.patience = desired.patience;
            }
            taken
        });
    }

    fn reported_entry(&mut self, key: PairKey, entry: &Entry, epoch: u64, changes: &mut Changes) {
        self.change_pair(key, changes, |pair| {
            take(&mut pair.reported, entry, epoch, message)
        });
    }

    /// Changes a pair and keeps every count and index that stands on it.
    pub(super) fn change_pair(
        &mut self,
        key: PairKey,
        changes: &mut Changes,
        change: impl FnOnce(&mut Pair) -> Taken,
    ) {
        let pair = self.pairs.entry(key.clone()).or_default();
        let before = (pair.is_visible().then(|| pair.state()), pair.has_desired());
        let generation_before = pair.desired_generation();
        if change(pair) == Taken::Nothing {
            return;
        }
        pair.stuck = pair.stuck && pair.is_open();
        let after = (pair.is_visible().then(|| pair.state()), pair.has_desired());
        let generation_after = pair.desired_generation();
        let open = after.0.is_some() && pair.is_open();
        if open {
            self.open.insert(key.clone())
        } else {
            self.open.remove(&key)
        };
        let device = self.devices.entry(key.device.clone()).or_default();
        let deployment = self.deployments.entry(key.deployment.clone()).or_default();
        for counts in [&mut self.counts, &mut device.counts, &mut deployment.counts] {
            if let Some(state) = before.0 {
                counts.remove(state);
            }
            if let Some(state) = after.0 {
                counts.add(state);
            }
        }
        if after.0.is_some() {
            deployment.devices.insert(key.device.clone());
        } else {
            deployment.devices.remove(&key.device);
        }
        deployment.desired = deployment.desired + u64::from(after.1) - u64::from(before.1);
        deployment.count_generation(generation_before, generation_after);
        changes.insert(Change::Deployment(key.deployment.clone()));
        self.settle_device(&key.device, false, changes);
        changes.insert(Change::Pair(key));
    }

    /// Keeps the indices of a device after a change of it.
    pub(super) fn settle_device(&mut self, id: &DeviceId, pairs_too: bool, changes: &mut Changes) {
        changes.insert(Change::Device(id.clone()));
        let Some(device) = self.devices.get(id) else {
            return;
        };
        let visible = device.is_visible();
        let is_offline = visible && !device.online;
        let unreadable = device
            .info
            .as_ref()
            .is_some_and(|slot| slot.unreadable().is_some());
        let unhealthy = unreadable || device.info().is_some_and(|info| !info.health.is_empty());
        if is_offline {
            self.offline.insert(id.clone())
        } else {
            self.offline.remove(id)
        };
        if unhealthy {
            self.unhealthy.insert(id.clone())
        } else {
            self.unhealthy.remove(id)
        };
        if pairs_too {
            let keys: Vec<_> = self
                .pairs_of(id)
                .map(|(key, _)| Change::Pair(key.clone()))
                .collect();
            changes.extend(keys);
        }
    }

    /// Ends a snapshot: what was not seen in it is no longer there.
    fn drop_unseen(&mut self, bucket: BucketId, now: DateTime<Utc>, changes: &mut Changes) {
        let epoch = self.watches[bucket.index()].epoch;
        self.strays
            .retain(|(of, _), (seen, _)| *of != bucket || *seen == epoch);
        match bucket {
            BucketId::Deployments => self.drop_deployments(epoch, changes),
            BucketId::Info | BucketId::Heartbeat => self.drop_device_parts(bucket, epoch, now, changes),
            BucketId::Desired | BucketId::Reported => self.drop_pair_parts(bucket, epoch, changes),
        }
    }

    fn drop_deployments(&mut self, epoch: u64, changes: &mut Changes) {
        for (name, deployment) in &mut self.deployments {
            if deployment.slot.as_ref().is_some_and(|slot| slot.epoch != epoch) {
                deployment.slot = None;
                deployment.resolve();
                changes.insert(Change::Deployment(name.clone()));
                changes.insert(Change::Specification(name.clone()));
            }
        }
    }

    fn drop_device_parts(&mut self, bucket: BucketId, epoch: u64, now: DateTime<Utc>, changes: &mut Changes) {
        let mut settle = Vec::new();
        for (id, device) in &mut self.devices {
            if bucket == BucketId::Info && device.info.as_ref().is_some_and(|slot| slot.epoch != epoch) {
                device.info = None;
                settle.push(id.clone());
            }
            if bucket == BucketId::Heartbeat
                && device.heartbeat.as_ref().is_some_and(|slot| slot.epoch != epoch)
            {
                // Heartbeats lie in memory: a restart of the server takes them all. That says nothing about the device.
                device.unconfirmed = device.online.then_some(now);
                device.heartbeat = None;
            }
        }
        for id in settle {
            self.settle_device(&id, true, changes);
        }
    }

    fn drop_pair_parts(&mut self, bucket: BucketId, epoch: u64, changes: &mut Changes) {
        let unseen = |pair: &Pair| match bucket {
            BucketId::Desired => pair.desired.as_ref().is_some_and(|slot| slot.epoch != epoch),
            _ => pair.reported.as_ref().is_some_and(|slot| slot.epoch != epoch),
        };
        let keys: Vec<_> = self
            .pairs
            .iter()
            .filter(|(_, pair)| unseen(pair))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.change_pair(key, changes, |pair| {
                match bucket {
                    BucketId::Desired => pair.desired = None,
                    _ => pair.reported = None,
                }
                Taken::Changed
            });
        }
    }
}

fn read_deployment(name: &DeploymentName, bytes: &Bytes) -> Result<Deployment, Unreadable> {
    let deployment: Deployment = message(bytes)?;
    if deployment.name != *name {
        let detail = format!(
            "the deployment under the key {name} calls itself {}",
            deployment.name
        );
        return Err(Unreadable {
            kind: "name-mismatch",
            detail,
        });
    }
    let problems = deployment.spec.problems();
    if problems.is_empty() {
        return Ok(deployment);
    }
    let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Err(Unreadable {
        kind: "deployment-invalid",
        detail: all.join("; "),
    })
}

fn read_desired(bytes: &Bytes) -> Result<Desired, Unreadable> {
    let desired: DesiredState = message(bytes)?;
    let Score::PodmanV0(score) = &desired.score;
    Ok(Desired {
        generation: desired.generation,
        image: score.image.as_str().to_owned(),
        inits: score
            .init_containers
            .iter()
            .map(|init| init.name.clone())
            .collect(),
        patience: patience(score),
        bytes: bytes.clone(),
    })
}

/// An init container, a grace period and a health check at a start each take as long as they are allowed to, and nothing is told
/// meanwhile.
fn patience(score: &PodmanV0Score) -> TimeDelta {
    let inits = score.init_containers.iter().map(|init| init.timeout.duration());
    let grace = score.lifecycle().grace_period.duration();
    let healthy = score.health.as_ref().map(HealthCheck::longest_start);
    let longest = inits.chain([grace]).chain(healthy).max().unwrap_or_default();
    TimeDelta::from_std(longest).unwrap_or(TimeDelta::MAX)
}
