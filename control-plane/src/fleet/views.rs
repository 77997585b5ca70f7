//! Making views from the aggregate. Every function is pure and touches only what it shows.

use fleet_protocol::bucket::PairKey;
use fleet_protocol::{DeploymentName, DeploymentState, DeviceId, Selector};

use super::attention;
use super::chain::About;
use super::slot::Slot;
use super::state::{DeploymentEntry, Device, Fleet, Pair};
use super::view::{
    BucketView, DeploymentSummary, DeploymentView, DeviceCounts, DeviceState, DeviceSummary, DeviceView,
    FleetView, MAX_PAIRS, PairCounts, PairState, PairView, Problem, RecoveryView,
};
use crate::store::BucketId;

impl Fleet {
    /// Whether views are whole.
    #[must_use]
    pub fn recovery(&self) -> RecoveryView {
        let buckets = BucketId::ALL.map(|bucket| {
            let watch = &self.watches[bucket.index()];
            BucketView {
                name: bucket.name().to_owned(),
                caught_up: self.caught_up(bucket),
                revision: watch.revision,
                target_revision: watch.target,
                watches_begun: watch.epoch,
            }
        });
        RecoveryView {
            converged: self.converged(),
            connected: self.connected,
            detail: self.recovery_detail(),
            last_event_at: self.last_event_at,
            buckets: buckets.into(),
        }
    }

    fn recovery_detail(&self) -> Option<String> {
        let began = self.watches.iter().any(|watch| watch.epoch > 0);
        let behind: Vec<_> = BucketId::ALL
            .into_iter()
            .filter(|bucket| !self.caught_up(*bucket))
            .map(BucketId::name)
            .collect();
        match (self.connected, behind.is_empty()) {
            (true, true) => None,
            (true, false) => {
                let broken: Vec<_> = BucketId::ALL
                    .into_iter()
                    .filter_map(|bucket| self.broken(bucket))
                    .collect();
                let why = if broken.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", broken.join("; "))
                };
                Some(format!("recovering: still reading {}{why}", behind.join(", ")))
            }
            (false, _) if began => Some(
                "not connected to NATS: this is what was known last, and nothing can be changed".to_owned(),
            ),
            (false, _) => Some("not connected to NATS yet: nothing is known so far".to_owned()),
        }
    }

    fn broken(&self, bucket: BucketId) -> Option<String> {
        let why = self.watches[bucket.index()].broken.as_ref()?;
        Some(format!(
            "the watch of {} broke and begins anew: {why}",
            bucket.name()
        ))
    }

    /// Why the history may not be whole; `None` when it is.
    pub(super) fn history_detail(&self) -> Option<String> {
        if !self.connected {
            return Some("not connected to NATS: newer events are missing".to_owned());
        }
        match (&self.history_watch.broken, self.is_current(&self.history_watch)) {
            (_, true) => None,
            (Some(why), false) => Some(format!("the watch of the history broke and begins anew: {why}")),
            (None, false) => Some("the history is still being read".to_owned()),
        }
    }

    /// The first screen.
    #[must_use]
    pub fn status(&self) -> FleetView {
        FleetView {
            recovery: self.recovery(),
            attention: attention::list(self),
            devices: self.device_counts(),
            pairs: self.counts,
            deployments: self
                .deployments
                .values()
                .filter(|d| d.slot().is_some_and(|slot| !slot.is_gone()))
                .count() as u64,
        }
    }

    /// Devices by state.
    #[must_use]
    pub fn device_counts(&self) -> DeviceCounts {
        let mut counts = DeviceCounts::default();
        for device in self.devices.values().filter(|device| device.is_visible()) {
            counts.total += 1;
            match device.state() {
                DeviceState::Online => counts.online += 1,
                DeviceState::Offline => counts.offline += 1,
                DeviceState::Unknown => counts.unknown += 1,
            }
        }
        counts
    }

    /// Pairs by state.
    #[must_use]
    pub fn pair_counts(&self) -> PairCounts {
        self.counts
    }

    /// A device in a list.
    #[must_use]
    pub fn device_summary(&self, id: &DeviceId) -> Option<DeviceSummary> {
        let device = self.devices.get(id).filter(|device| device.is_visible())?;
        Some(self.summary_of(id, device))
    }

    pub(super) fn summary_of(&self, id: &DeviceId, device: &Device) -> DeviceSummary {
        let info = device.info();
        let health = info.map_or(0, |info| info.health.len());
        let problems = usize::from(
            device
                .info
                .as_ref()
                .is_some_and(|slot| slot.unreadable().is_some()),
        ) + usize::from(
            device
                .heartbeat
                .as_ref()
                .is_some_and(|slot| slot.unreadable().is_some()),
        );
        DeviceSummary {
            id: id.to_string(),
            state: device.state(),
            since: device.since,
            last_heartbeat_at: device.last.as_ref().map(|(at, _)| *at),
            labels: info.map(|info| info.labels.clone()).unwrap_or_default(),
            arch: info.map(|info| info.arch.clone()).unwrap_or_default(),
            agent_version: info.map(|info| info.agent_version.clone()).unwrap_or_default(),
            pairs: device.counts,
            problem_count: (health + problems) as u64,
        }
    }

    /// One device.
    #[must_use]
    pub fn device_view(&self, id: &DeviceId) -> Option<DeviceView> {
        let device = self.devices.get(id).filter(|device| device.is_visible())?;
        let pairs = self.pairs_of(id).filter(|(_, pair)| pair.is_visible());
        let deployments: Vec<_> = pairs.filter_map(|(key, _)| self.pair_view(key)).collect();
        let mut problems: Vec<Problem> = Vec::new();
        problems.extend(
            device
                .info
                .as_ref()
                .and_then(|slot| slot.problem(BucketId::Info, id.as_str())),
        );
        problems.extend(
            device
                .heartbeat
                .as_ref()
                .and_then(|slot| slot.problem(BucketId::Heartbeat, id.as_str())),
        );
        problems.extend(deployments.iter().flat_map(|pair| pair.problems.clone()));
        Some(DeviceView {
            summary: self.summary_of(id, device),
            detail: device_detail(device),
            info: device.info().cloned(),
            info_at: device.info.as_ref().map(|slot| slot.at),
            heartbeat: device.last.as_ref().map(|(_, heartbeat)| heartbeat.clone()),
            health: device.info().map(|info| info.health.clone()).unwrap_or_default(),
            problems,
            deployments,
        })
    }

    /// A deployment in a list.
    #[must_use]
    pub fn deployment_summary(&self, name: &DeploymentName) -> Option<DeploymentSummary> {
        let entry = self.deployments.get(name).filter(|entry| entry.is_visible())?;
        let read = entry.read();
        let own = usize::from(entry.slot().is_some_and(|slot| slot.unreadable().is_some()));
        Some(DeploymentSummary {
            name: name.to_string(),
            labels: read
                .map(|deployment| deployment.labels.clone())
                .unwrap_or_default(),
            generation: read.map_or(0, |deployment| deployment.generation),
            image: read
                .map(|deployment| image(&deployment.spec.score))
                .unwrap_or_default(),
            selector: read
                .map(|deployment| selector_text(&deployment.spec.selector))
                .unwrap_or_default(),
            changed_at: entry
                .slot()
                .map(|slot| slot.at)
                .or(self.last_event_at)
                .unwrap_or_default(),
            selected: entry.desired,
            pairs: entry.counts,
            behind: entry.behind(),
            deleted: entry.slot().is_some_and(Slot::is_gone),
            problem_count: own as u64 + entry.counts.unreadable + u64::from(entry.is_lost()),
        })
    }

    /// One deployment.
    #[must_use]
    pub fn deployment_view(&self, name: &DeploymentName) -> Option<DeploymentView> {
        let entry = self.deployments.get(name)?;
        let summary = self.deployment_summary(name)?;
        let mut keys: Vec<_> = entry
            .devices
            .iter()
            .map(|device| PairKey {
                device: device.clone(),
                deployment: name.clone(),
            })
            .filter_map(|key| Some((self.pairs.get(&key)?.state(), key)))
            .collect();
        keys.sort();
        let devices: Vec<_> = keys
            .iter()
            .take(MAX_PAIRS)
            .filter_map(|(_, key)| self.pair_view(key))
            .collect();
        let mut problems: Vec<Problem> = Vec::new();
        problems.extend(
            entry
                .slot()
                .and_then(|slot| slot.problem(BucketId::Deployments, name.as_str())),
        );
        problems.extend(self.lost_problem(name, entry));
        problems.extend(devices.iter().flat_map(|pair| pair.problems.clone()));
        let spec = entry.read().map(|deployment| deployment.spec.clone());
        Some(DeploymentView {
            summary,
            spec,
            problems,
            devices,
        })
    }

    /// One deployment on one device.
    #[must_use]
    pub fn pair_view(&self, key: &PairKey) -> Option<PairView> {
        let pair = self.pairs.get(key).filter(|pair| pair.is_visible())?;
        let device = self.devices.get(&key.device)?;
        let state = pair.state();
        let desired = pair.desired.as_ref().and_then(Slot::read);
        let report = pair.reported.as_ref().and_then(Slot::read);
        let about = About {
            device: key.device.as_str(),
            deployment: key.deployment.as_str(),
            state,
            at: device,
            pair,
        };
        let text = key.to_string();
        let desired_problem = pair
            .desired
            .as_ref()
            .and_then(|slot| slot.problem(BucketId::Desired, &text));
        let reported_problem = pair
            .reported
            .as_ref()
            .and_then(|slot| slot.problem(BucketId::Reported, &text));
        Some(PairView {
            device: key.device.to_string(),
            deployment: key.deployment.to_string(),
            state,
            device_state: device.state(),
            phase: report.map(|report| report.phase.to_string()),
            since: pair_since(pair, state, report),
            cause: report.and_then(|report| report.cause.clone()),
            desired_generation: desired.map(|desired| desired.generation),
            desired_image: desired.map(|desired| desired.image.clone()),
            observed_generation: report.map(|report| report.observed_generation),
            progress: report.and_then(|report| report.progress),
            running: report.and_then(|report| report.running.clone()),
            init: report.and_then(|report| report.init.clone()),
            init_containers: desired.map(|desired| desired.inits.clone()).unwrap_or_default(),
            cutover: report.and_then(|report| report.cutover.clone()),
            crash_loop: report.and_then(|report| report.crash_loop.clone()),
            next_try_at: report.and_then(|report| report.next_try_at),
            failed_tries: report.map_or(0, |report| report.failed_tries),
            marks: report.map(|report| report.marks.clone()).unwrap_or_default(),
            reported_at: pair.reported.as_ref().map(|slot| slot.at),
            chain: about.chain(),
            problems: desired_problem.into_iter().chain(reported_problem).collect(),
        })
    }
}

pub(super) fn pair_since(
    pair: &Pair,
    state: PairState,
    report: Option<&DeploymentState>,
) -> Option<chrono::DateTime<chrono::Utc>> {
    let desired_at = pair.desired.as_ref().map(|slot| slot.at);
    let reported_at = pair.reported.as_ref().map(|slot| slot.at);
    match state {
        PairState::Waiting => desired_at,
        PairState::Unreadable | PairState::Stuck => reported_at.max(desired_at),
        _ => report.map(|report| report.since).or(desired_at),
    }
}

fn device_detail(device: &Device) -> String {
    match device.state() {
        DeviceState::Unknown
            if device
                .info
                .as_ref()
                .is_some_and(|slot| slot.unreadable().is_some()) =>
        {
            "its device-info cannot be read by this version: selectors by label leave it as it is".to_owned()
        }
        DeviceState::Unknown => "it has written nothing that says what it is (no device-info)".to_owned(),
        DeviceState::Online if device.unconfirmed.is_some() => {
            "the server lost its heartbeats: the device is waited for".to_owned()
        }
        DeviceState::Online => "its heartbeat is there".to_owned(),
        DeviceState::Offline if device.since.is_none() => {
            "no heartbeat since the operator started".to_owned()
        }
        DeviceState::Offline => "no heartbeat for longer than three should take".to_owned(),
    }
}

/// The image of a score.
#[must_use]
pub fn image(score: &fleet_protocol::Score) -> String {
    let fleet_protocol::Score::PodmanV0(score) = score;
    score.image.as_str().to_owned()
}

/// A selector in words.
#[must_use]
pub fn selector_text(selector: &Selector) -> String {
    if selector.all {
        return "all devices".to_owned();
    }
    let labels: Vec<_> = selector
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let ids = match selector.devices.as_slice() {
        [] => None,
        [one] => Some(format!("device {one}")),
        many => Some(format!("{} devices by id", many.len())),
    };
    let labels = (!labels.is_empty()).then(|| labels.join(","));
    ids.into_iter().chain(labels).collect::<Vec<_>>().join(" with ")
}

impl Fleet {
    /// A deployment that devices have and the store does not, although nobody deleted it.
    pub(super) fn lost_problem(&self, name: &DeploymentName, entry: &DeploymentEntry) -> Option<Problem> {
        (entry.is_lost() && self.converged()).then(|| Problem {
            bucket: BucketId::Deployments.name().to_owned(),
            key: name.to_string(),
            kind: "deployment-lost".to_owned(),
            detail: format!(
                "devices have {name}, but the store has no such deployment and no record that it was deleted: they keep it. \
                 Apply it again, or delete it"
            ),
            since: self.stream_created(BucketId::Deployments).unwrap_or_default(),
        })
    }
}

impl DeploymentEntry {
    /// Devices have it, and the store has neither it nor a marker of its deletion.
    pub(super) fn is_lost(&self) -> bool {
        self.slot.is_none() && self.counts.total > 0
    }

    /// It can be read and selects no device of the fleet.
    pub(super) fn selects_nothing(&self) -> bool {
        self.read().is_some() && self.desired == 0
    }
}
