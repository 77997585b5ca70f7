//! A fleet that exists only in memory, with every state a page can show: for looking at the dashboard and for its tests.

#![allow(dead_code, unreachable_pub, reason = "each user takes a part of it")]

mod parts;
mod scenes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_control_plane::api::types::{
    DeploymentList, DeviceList, EventItem, EventList, EventQuery, ListQuery,
};
use fleet_control_plane::deploy::companion::logs::{LogQueryError, LogsOf};
use fleet_control_plane::fleet::view::{
    Attention, AttentionKind, BucketView, DeploymentSummary, DeploymentView, DeviceCounts, DeviceState,
    DeviceSummary, DeviceView, FleetView, Link, LinkKind, LinkState, PairCounts, PairState, PairView,
    Problem, RecoveryView,
};
use fleet_control_plane::web::{EventsFuture, LogsFuture, Source, SourceError};
use fleet_protocol::cause::Exit;
use fleet_protocol::event::FleetEvent;
use fleet_protocol::logs::{LogChunk, ProbeName};
use fleet_protocol::state::{CrashLoop, Cutover, InitProgress, PhaseMark, PullProgress, Running};
use fleet_protocol::{Cause, DeviceInfo, Heartbeat, Phase};
use tokio::sync::watch;

pub use parts::*;
pub use scenes::*;

/// The fleet. Change it through [`Fabricated::change`], so that pages hear of it.
pub struct Fabricated {
    now: DateTime<Utc>,
    runs: Option<std::time::Instant>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    /// How often a log was asked for.
    pub looks: std::sync::atomic::AtomicU64,
}

/// What is in it.
#[derive(Clone)]
pub struct State {
    pub recovery: RecoveryView,
    pub devices: Vec<DeviceSummary>,
    pub deployments: Vec<DeploymentSummary>,
    pub pairs: Vec<PairView>,
    pub attention: Vec<Attention>,
    pub health: BTreeMap<String, Vec<Cause>>,
    pub problems: Vec<Problem>,
    pub events: Vec<EventItem>,
    /// Logs by [`log_key`]; the usual one where there is none.
    pub logs: BTreeMap<String, Vec<String>>,
    /// Logs, by the same name, whose older lines a device's journal lost.
    pub lost: BTreeSet<String>,
    /// What a device says instead of giving a log.
    pub log_error: Option<LogQueryError>,
}

/// The name of a log: `web/pi-1`, `web/pi-1/migrate`, either with `~` for the run before.
pub fn log_key(of: &LogsOf) -> String {
    let init = of
        .init
        .as_ref()
        .map_or_else(String::new, |init| format!("/{init}"));
    let run = if of.previous { "~" } else { "" };
    format!("{}/{}{init}{run}", of.placed.deployment, of.placed.device)
}

/// 2026-03-14 03:07:09 UTC: on call.
pub fn fixed_now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_773_457_629, 0).expect("a time within range")
}

impl Fabricated {
    /// A fleet whose clock stands still, for snapshots.
    pub fn still(state: State) -> Self {
        let changed = watch::Sender::new(0);
        let state = Mutex::new(state);
        Self {
            now: fixed_now(),
            runs: None,
            state,
            changed,
            looks: std::sync::atomic::AtomicU64::default(),
        }
    }

    /// A fleet whose clock runs from `now` on.
    pub fn running(state: impl FnOnce(DateTime<Utc>) -> State, now: DateTime<Utc>) -> Self {
        let changed = watch::Sender::new(0);
        let state = Mutex::new(state(now));
        Self {
            now,
            runs: Some(std::time::Instant::now()),
            state,
            changed,
            looks: std::sync::atomic::AtomicU64::default(),
        }
    }

    /// Changes something and tells the pages.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no holder panics"));
        self.changed.send_modify(|version| *version += 1);
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().expect("no holder panics"))
    }
}

impl State {
    fn counts(&self) -> DeviceCounts {
        let of = |state| self.devices.iter().filter(|d| d.state == state).count() as u64;
        DeviceCounts {
            total: self.devices.len() as u64,
            online: of(DeviceState::Online),
            offline: of(DeviceState::Offline),
            unknown: of(DeviceState::Unknown),
        }
    }

    fn pair_counts(&self, wanted: impl Fn(&PairView) -> bool) -> PairCounts {
        let mut counts = PairCounts::default();
        self.pairs
            .iter()
            .filter(|p| wanted(p))
            .for_each(|p| counts.add(p.state));
        counts
    }

    fn counted_devices(&self) -> Vec<DeviceSummary> {
        let mut counts: BTreeMap<&str, PairCounts> = BTreeMap::new();
        for pair in &self.pairs {
            counts.entry(&pair.device).or_default().add(pair.state);
        }
        let counted = |d: &DeviceSummary| counts.get(d.id.as_str()).copied().unwrap_or_default();
        self.devices
            .iter()
            .map(|d| DeviceSummary {
                pairs: counted(d),
                ..d.clone()
            })
            .collect()
    }

    fn device(&self, id: &str) -> Option<DeviceSummary> {
        let mut device = self.devices.iter().find(|d| d.id == id)?.clone();
        device.pairs = self.pair_counts(|p| p.device == id);
        Some(device)
    }

    fn deployment(&self, name: &str) -> Option<DeploymentSummary> {
        let mut deployment = self.deployments.iter().find(|d| d.name == name)?.clone();
        deployment.pairs = self.pair_counts(|p| p.deployment == name);
        deployment.selected = deployment.pairs.total;
        let old = |p: &&PairView| p.deployment == name && p.desired_generation != Some(deployment.generation);
        deployment.behind = self.pairs.iter().filter(old).count() as u64;
        Some(deployment)
    }
}

impl Source for Fabricated {
    fn recovery(&self) -> RecoveryView {
        self.read(|state| state.recovery.clone())
    }

    fn status(&self) -> FleetView {
        self.read(|state| FleetView {
            recovery: state.recovery.clone(),
            attention: state.attention.clone(),
            devices: state.counts(),
            pairs: state.pair_counts(|_| true),
            deployments: state.deployments.len() as u64,
        })
    }

    fn devices(&self, query: &ListQuery) -> Result<DeviceList, SourceError> {
        if query.l.as_deref().is_some_and(|l| l.contains(' ')) {
            let why = "The selector \"a b\" cannot be read: a label has no space.".to_owned();
            return Err(SourceError::BadQuery(why));
        }
        let mut items: Vec<_> = self.read(State::counted_devices);
        items.retain(|d: &DeviceSummary| {
            query.state.is_none_or(|s| d.state == s)
                && query.phase.is_none_or(|s| d.pairs.of(s) > 0)
                && query.q.as_ref().is_none_or(|q| d.id.contains(q.as_str()))
                && query
                    .l
                    .as_ref()
                    .is_none_or(|l| d.labels.iter().any(|(k, v)| format!("{k}={v}") == *l))
        });
        let total = items.len() as u64;
        let mut items: Vec<_> = items
            .into_iter()
            .filter(|d| query.after.as_ref().is_none_or(|after| d.id > *after))
            .collect();
        let limit = query.limit.unwrap_or(100);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().map(|d| d.id.clone()).filter(|_| more);
        Ok(DeviceList {
            recovery: self.recovery(),
            total,
            items,
            next,
        })
    }

    fn device(&self, id: &str) -> Option<DeviceView> {
        let now = self.now();
        self.read(|state| {
            let summary = state.device(id)?;
            let detail = match summary.state {
                DeviceState::Online => String::new(),
                DeviceState::Offline => {
                    "no heartbeat for longer than 45 s: check its power and its network".to_owned()
                }
                DeviceState::Unknown => "it writes, but has not said what it is".to_owned(),
            };
            let known = summary.state != DeviceState::Unknown;
            Some(DeviceView {
                detail,
                info: known.then(|| info(&summary, now)),
                info_at: known.then(|| now - TimeDelta::hours(2)),
                heartbeat: known.then(|| heartbeat(now)),
                health: state.health.get(id).cloned().unwrap_or_default(),
                problems: state
                    .problems
                    .iter()
                    .filter(|p| p.key.starts_with(id))
                    .cloned()
                    .collect(),
                deployments: state.pairs.iter().filter(|p| p.device == id).cloned().collect(),
                summary,
            })
        })
    }

    fn deployments(&self, _query: &ListQuery) -> Result<DeploymentList, SourceError> {
        let items: Vec<_> = self.read(|state| {
            state
                .deployments
                .iter()
                .filter_map(|d| state.deployment(&d.name))
                .collect()
        });
        Ok(DeploymentList {
            recovery: self.recovery(),
            total: items.len() as u64,
            items,
            next: None,
        })
    }

    fn deployment(&self, name: &str) -> Option<DeploymentView> {
        self.read(|state| {
            let summary = state.deployment(name)?;
            let mut devices: Vec<_> = state.pairs.iter().filter(|p| p.deployment == name).cloned().collect();
            devices.sort_by(|a, b| (a.state, &a.device).cmp(&(b.state, &b.device)));
            devices.truncate(500);
            let spec = serde_json::json!({
                "selector": {"labels": {"site": "lyon"}},
                "score": {"podman_v0": {"image": summary.image, "ports": [{"host": 8080, "container": 80}], "resources": {"memory": "256Mi"}}},
            });
            let spec = serde_json::from_value(spec).ok();
            let problems = state.problems.iter().filter(|p| p.key == name).cloned().collect();
            Some(DeploymentView { summary, spec, problems, devices })
        })
    }

    fn pair(&self, deployment: &str, device: &str) -> Option<PairView> {
        self.read(|state| {
            state
                .pairs
                .iter()
                .find(|p| p.deployment == deployment && p.device == device)
                .cloned()
        })
    }

    fn events(&self, query: EventQuery) -> EventsFuture<'_> {
        let list = self.read(|state| {
            let about = |e: &&EventItem| {
                query
                    .subject
                    .as_ref()
                    .is_none_or(|s| e.event.subject.starts_with(s.as_str()))
            };
            let new = |e: &&EventItem| query.after.is_none_or(|after| e.sequence > after);
            let mut items: Vec<_> = state.events.iter().filter(about).filter(new).cloned().collect();
            let most = query.limit.unwrap_or(100);
            if query.after.is_some() && items.len() > most {
                items.drain(..items.len() - most);
            }
            EventList {
                items,
                newest: state.events.iter().map(|e| e.sequence).max().unwrap_or(0),
                stream_created: None,
                detail: (!state.recovery.converged).then(|| "the history is still being read".to_owned()),
                searched: state.events.len() as u64,
                unreadable: 0,
            }
        });
        Box::pin(std::future::ready(Ok(list)))
    }

    fn logs(&self, of: LogsOf, lines: usize) -> LogsFuture<'_> {
        self.looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let now = self.now();
        let answer = self.read(|state| {
            let id = of.placed.device.as_str();
            let device = state.devices.iter().find(|d| d.id == id);
            if let Some(device) = device.filter(|d| d.state == DeviceState::Offline) {
                return Err(LogQueryError::DeviceOffline {
                    device: of.placed.device.clone(),
                    since: device.since,
                });
            }
            if let Some(error) = &state.log_error {
                return Err(error.clone());
            }
            let name = of.placed.deployment.as_str();
            let known = state.logs.get(&log_key(&of)).cloned();
            let mut all = known.unwrap_or_else(|| usual_log(name, 640));
            let surplus = all.len().saturating_sub(lines);
            all.drain(..surplus);
            if of.timestamps {
                let stamp = now.format("%Y-%m-%dT%H:%M:%S%.3fZ");
                all.iter_mut()
                    .for_each(|line| line.insert_str(0, &format!("{stamp} ")));
            }
            let source = match &of.init {
                Some(init) => ProbeName::of_init(&of.placed.deployment, init)
                    .unwrap_or_else(|_| ProbeName::of(&of.placed.deployment)),
                None => ProbeName::of(&of.placed.deployment),
            };
            Ok(LogChunk {
                source,
                captured_at: now,
                lines: all,
                truncated: surplus > 0 || state.lost.contains(&log_key(&of)),
            })
        });
        Box::pin(std::future::ready(answer))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn now(&self) -> DateTime<Utc> {
        let passed = self.runs.map_or(0, |since| since.elapsed().as_millis());
        self.now + TimeDelta::milliseconds(i64::try_from(passed).unwrap_or(0))
    }
}
