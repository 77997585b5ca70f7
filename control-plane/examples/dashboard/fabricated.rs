//! A fleet that exists only in memory, with every state a page can show: for looking at the dashboard and for its tests.

#![allow(dead_code, unreachable_pub, reason = "each user takes a part of it")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_control_plane::api::types::{
    DeploymentList, DeviceList, EventItem, EventList, EventQuery, ListQuery,
};
use fleet_control_plane::fleet::view::{
    Attention, AttentionKind, BucketView, DeploymentSummary, DeploymentView, DeviceCounts, DeviceState,
    DeviceSummary, DeviceView, FleetView, Link, LinkKind, LinkState, PairCounts, PairState, PairView,
    Problem, RecoveryView,
};
use fleet_control_plane::web::{EventsFuture, Source, SourceError};
use fleet_protocol::event::FleetEvent;
use fleet_protocol::state::{PhaseMark, PullProgress, Running};
use fleet_protocol::{Cause, DeviceInfo, Heartbeat, Phase};
use tokio::sync::watch;

/// The fleet. Change it through [`Fabricated::change`], so that pages hear of it.
pub struct Fabricated {
    now: DateTime<Utc>,
    runs: Option<std::time::Instant>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
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
                detail: None,
                searched: state.events.len() as u64,
                unreadable: 0,
            }
        });
        Box::pin(std::future::ready(Ok(list)))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn now(&self) -> DateTime<Utc> {
        let passed = self.runs.map_or(0, |since| since.elapsed().as_millis());
        self.now + TimeDelta::milliseconds(i64::try_from(passed).unwrap_or(0))
    }
}

fn info(summary: &DeviceSummary, now: DateTime<Utc>) -> DeviceInfo {
    let text = str::to_owned;
    DeviceInfo {
        protocol: 0,
        agent_version: summary.agent_version.clone(),
        arch: summary.arch.clone(),
        os: text("Debian GNU/Linux 13 (trixie)"),
        kernel: text("6.12.57+deb13-amd64"),
        podman_version: text("5.4.2"),
        boot_id: text("6f0c2d8e-35a1-4f0e-9a53-1d2f1e0b7c44"),
        hostname: summary.id.clone(),
        memory_mib: 3894,
        data_mib: 26_420,
        labels: summary.labels.clone(),
        health: Vec::new(),
        agent_started_at: now - TimeDelta::hours(2),
    }
}

fn heartbeat(now: DateTime<Utc>) -> Heartbeat {
    Heartbeat {
        protocol: 0,
        at: now - TimeDelta::seconds(6),
        uptime_seconds: 9 * 86_400,
        data_free_mib: 21_004,
        memory_available_mib: 2911,
    }
}

/// A recovery without anything to say.
pub fn recovered(now: DateTime<Utc>) -> RecoveryView {
    RecoveryView {
        converged: true,
        connected: true,
        detail: None,
        last_event_at: Some(now),
        buckets: Vec::new(),
    }
}

/// A device that is online.
pub fn device(id: &str, site: &str, now: DateTime<Utc>) -> DeviceSummary {
    DeviceSummary {
        id: id.to_owned(),
        state: DeviceState::Online,
        since: Some(now - TimeDelta::days(3)),
        last_heartbeat_at: Some(now - TimeDelta::seconds(6)),
        labels: BTreeMap::from([("site".to_owned(), site.to_owned())]),
        arch: "arm64".to_owned(),
        agent_version: "0.3.0".to_owned(),
        pairs: PairCounts::default(),
        problem_count: 0,
    }
}

/// A deployment.
pub fn deployment(name: &str, image: &str, generation: u64, now: DateTime<Utc>) -> DeploymentSummary {
    DeploymentSummary {
        name: name.to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
        generation,
        image: image.to_owned(),
        selector: "site=lyon".to_owned(),
        changed_at: now - TimeDelta::minutes(12),
        selected: 0,
        pairs: PairCounts::default(),
        behind: 0,
        deleted: false,
        problem_count: 0,
    }
}

fn link(kind: LinkKind, state: LinkState, text: &str, at: Option<DateTime<Utc>>) -> Link {
    Link {
        kind,
        state,
        text: text.to_owned(),
        at,
    }
}

/// A pair that runs.
pub fn pair(deployment: &DeploymentSummary, device: &str, now: DateTime<Utc>) -> PairView {
    let at = |seconds: i64| now - TimeDelta::seconds(720 - seconds);
    let marks = [
        (Phase::Pending, 1),
        (Phase::Pulling, 2),
        (Phase::Starting, 47),
        (Phase::Running, 49_i64),
    ];
    PairView {
        device: device.to_owned(),
        deployment: deployment.name.clone(),
        state: PairState::Running,
        device_state: DeviceState::Online,
        phase: Some("Running".to_owned()),
        since: Some(at(49)),
        cause: None,
        desired_generation: Some(deployment.generation),
        desired_image: Some(deployment.image.clone()),
        observed_generation: Some(deployment.generation),
        progress: None,
        running: Some(Running {
            generation: deployment.generation,
            image: deployment.image.clone(),
            digest: Some(format!("sha256:{}", "3f9d".repeat(16))),
            unit: format!("{}.service", deployment.name),
            invocation_id: "b1946ac92492d2347c6235b4d2611184".to_owned(),
            started_at: at(48),
        }),
        next_try_at: None,
        failed_tries: 0,
        marks: marks
            .into_iter()
            .map(|(phase, s)| PhaseMark { phase, at: at(s) })
            .collect(),
        reported_at: Some(at(49)),
        chain: vec![
            link(
                LinkKind::Desired,
                LinkState::Done,
                &format!("generation {} of {}", deployment.generation, deployment.image),
                Some(at(0)),
            ),
            link(
                LinkKind::Gate,
                LinkState::Done,
                "the device is online and took generation up",
                Some(at(1)),
            ),
            link(
                LinkKind::Phase,
                LinkState::Done,
                "Running: the start job succeeded",
                Some(at(49)),
            ),
            link(LinkKind::Next, LinkState::Done, "Nothing to do.", None),
        ],
        problems: Vec::new(),
    }
}

/// The same pair with an image that does not exist.
pub fn failed(mut pair: PairView, now: DateTime<Utc>) -> PairView {
    let since = now - TimeDelta::minutes(4);
    let cause = Cause::new(
        "image-not-found",
        "The registry registry.example.com has no image shop/web:1.28. Push it, or change the tag in the manifest and apply it again.",
    );
    pair.state = PairState::Failed;
    pair.phase = Some("Failed".to_owned());
    pair.since = Some(since);
    pair.desired_generation = Some(7);
    pair.observed_generation = Some(7);
    pair.failed_tries = 3;
    pair.next_try_at = Some(now + TimeDelta::seconds(72));
    pair.marks = vec![
        PhaseMark {
            phase: Phase::Pending,
            at: since - TimeDelta::milliseconds(2400),
        },
        PhaseMark {
            phase: Phase::Pulling,
            at: since - TimeDelta::milliseconds(1100),
        },
        PhaseMark {
            phase: Phase::Failed,
            at: since,
        },
    ];
    pair.reported_at = Some(since);
    pair.chain = vec![
        link(
            LinkKind::Desired,
            LinkState::Done,
            "generation 7 of registry.example.com/shop/web:1.28",
            Some(now - TimeDelta::minutes(12)),
        ),
        link(
            LinkKind::Gate,
            LinkState::Done,
            "the device is online and took generation 7 up",
            Some(since),
        ),
        link(
            LinkKind::Phase,
            LinkState::Blocked,
            "Failed while pulling; generation 6 still serves",
            Some(since),
        ),
        link(
            LinkKind::Cause,
            LinkState::Blocked,
            &format!("image-not-found: {}", cause.detail),
            Some(since),
        ),
        link(
            LinkKind::Next,
            LinkState::Waiting,
            "Push the image, or correct `spec.score.podman_v0.image` and apply it again. The agent tries again by itself.",
            Some(now + TimeDelta::seconds(72)),
        ),
    ];
    pair.cause = Some(cause);
    pair
}

/// The same pair in a phase on its way.
pub fn on_its_way(mut pair: PairView, state: PairState, now: DateTime<Utc>) -> PairView {
    let since = now - TimeDelta::seconds(14);
    pair.state = state;
    pair.phase = Some(state.as_str().to_owned());
    pair.since = Some(since);
    pair.running = None;
    pair.marks = vec![
        PhaseMark {
            phase: Phase::Pending,
            at: since - TimeDelta::seconds(2),
        },
        PhaseMark {
            phase: Phase::from(state.as_str()),
            at: since,
        },
    ];
    pair.chain.truncate(2);
    pair.chain.push(link(
        LinkKind::Phase,
        LinkState::Waiting,
        &format!("{state} for 14 s"),
        Some(since),
    ));
    pair.chain.push(link(
        LinkKind::Next,
        LinkState::Waiting,
        "Goes on by itself.",
        None,
    ));
    if state == PairState::Pulling {
        pair.progress = Some(PullProgress {
            layers_done: 3,
            layers_total: 7,
            bytes: Some(48_234_496),
        });
    }
    pair
}

fn event(sequence: u64, ago: i64, now: DateTime<Utc>, words: [&str; 4]) -> EventItem {
    let [actor, kind, subject, detail] = words.map(str::to_owned);
    let at = now - TimeDelta::seconds(ago);
    EventItem {
        sequence,
        stored_at: at,
        event: FleetEvent {
            protocol: 0,
            at,
            actor,
            kind,
            subject,
            detail,
        },
    }
}

/// Nothing at all.
pub fn empty(now: DateTime<Utc>) -> State {
    State {
        recovery: recovered(now),
        devices: Vec::new(),
        deployments: Vec::new(),
        pairs: Vec::new(),
        attention: Vec::new(),
        health: BTreeMap::new(),
        problems: Vec::new(),
        events: Vec::new(),
    }
}

/// Everything runs.
pub fn calm(now: DateTime<Utc>) -> State {
    let mut state = empty(now);
    let sites = ["lyon", "nice", "brest"];
    for n in 1..=12 {
        let site = sites[n % 3];
        state
            .devices
            .push(device(&format!("basement-{site}-{n}"), site, now));
    }
    state.devices.sort_by(|a, b| a.id.cmp(&b.id));
    state.deployments = vec![
        deployment("meter", "registry.example.com/shop/meter:4.2.0", 2, now),
        deployment("web", "registry.example.com/shop/web:1.27", 6, now),
    ];
    for d in &state.devices {
        for deployment in &state.deployments {
            state.pairs.push(pair(deployment, &d.id, now));
        }
    }
    state.events = vec![
        event(
            4,
            671,
            now,
            [
                "device/basement-lyon-6",
                "phase-changed",
                "device/basement-lyon-6/deployment/web",
                "Starting → Running",
            ],
        ),
        event(
            3,
            718,
            now,
            [
                "device/basement-lyon-6",
                "phase-changed",
                "device/basement-lyon-6/deployment/web",
                "Pending → Pulling",
            ],
        ),
        event(
            2,
            720,
            now,
            [
                "anna",
                "deployment-applied",
                "deployment/web",
                "generation 6 on 12 devices",
            ],
        ),
        event(
            1,
            9000,
            now,
            [
                "device/basement-lyon-6",
                "agent-started",
                "device/basement-lyon-6",
                "agent 0.3.0 started",
            ],
        ),
    ];
    state
}

/// A night on call: every state occurs.
pub fn busy(now: DateTime<Utc>) -> State {
    let mut state = calm(now);
    state.deployments[1].generation = 7;
    state.deployments[1].image = "registry.example.com/shop/web:1.28".to_owned();
    let mut gone = deployment("probe", "registry.example.com/shop/probe:0.1", 1, now);
    gone.deleted = true;
    state.deployments.insert(1, gone.clone());
    let mut nowhere = deployment("spare", "registry.example.com/shop/spare:1", 1, now);
    nowhere.selector = "site=oslo".to_owned();
    state.deployments.insert(2, nowhere);
    let web: Vec<usize> = (0..state.pairs.len())
        .filter(|i| state.pairs[*i].deployment == "web")
        .collect();
    let ways = [
        PairState::Failed,
        PairState::Failed,
        PairState::Failed,
        PairState::Stuck,
        PairState::Unreadable,
        PairState::Unknown,
        PairState::Waiting,
        PairState::Pending,
        PairState::Pulling,
        PairState::Upgrading,
        PairState::Starting,
    ];
    for (index, way) in web.into_iter().zip(ways) {
        let old = state.pairs[index].clone();
        state.pairs[index] = match way {
            PairState::Failed => failed(old, now),
            way => on_its_way(old, way, now),
        };
        if way == PairState::Unknown {
            state.pairs[index].phase = Some("Verifying".to_owned());
        }
    }
    let device_of = |state: &State, n: usize| state.devices[n].id.clone();
    let mut removing = on_its_way(pair(&gone, &device_of(&state, 2), now), PairState::Removing, now);
    removing.desired_generation = None;
    state.pairs.push(removing);
    let offline = device_of(&state, 9);
    for d in &mut state.devices {
        if d.id == offline {
            d.state = DeviceState::Offline;
            d.since = Some(now - TimeDelta::minutes(26));
            d.last_heartbeat_at = Some(now - TimeDelta::minutes(27));
        }
    }
    for p in state.pairs.iter_mut().filter(|p| p.device == offline) {
        p.device_state = DeviceState::Offline;
    }
    let unwell = device_of(&state, 0);
    state.health.insert(unwell.clone(), vec![Cause::new("clock-unverified", "No time server answered since the start: the clock may be wrong. Check that the device reaches one of its NTP servers.")]);
    state.devices[0].problem_count = 1;
    let unreadable = device_of(&state, 4);
    state.problems.push(Problem {
        bucket: "deployment-state".to_owned(),
        key: format!("{unreadable}.web"),
        kind: "value-of-newer-version".to_owned(),
        detail: "The device's agent is newer than this operator and wrote what it cannot read. Upgrade the operator.".to_owned(),
        since: now - TimeDelta::minutes(9),
    });
    state.devices[4].problem_count = 1;
    let cause = state.pairs.iter().find_map(|p| p.cause.clone());
    let failed: Vec<_> = state
        .pairs
        .iter()
        .filter(|p| p.state == PairState::Failed)
        .map(|p| p.device.clone())
        .collect();
    let need = |kind, title: &str, next: &str, minutes, devices: Vec<String>| Attention {
        kind,
        title: title.to_owned(),
        cause: None,
        next: next.to_owned(),
        since: Some(now - TimeDelta::minutes(minutes)),
        deployment: None,
        count: devices.len() as u64,
        devices,
    };
    let mut first = need(
        AttentionKind::Failed,
        "web failed on 3 devices",
        "Push the image, or correct `image` in the manifest and apply it again.",
        4,
        failed,
    );
    first.deployment = Some("web".to_owned());
    first.cause = cause;
    let mut stuck = need(
        AttentionKind::Stuck,
        "web does not move on 1 device",
        "Look at the agent on the device: `fleet-agent status`.",
        11,
        vec![device_of(&state, 3)],
    );
    stuck.deployment = Some("web".to_owned());
    state.attention = vec![
        first,
        stuck,
        need(
            AttentionKind::Unreadable,
            "1 value cannot be read",
            "Upgrade the operator.",
            9,
            vec![unreadable],
        ),
        need(
            AttentionKind::Offline,
            "1 device is offline",
            "Check its power and its network; its containers go on without us.",
            26,
            vec![offline],
        ),
        need(
            AttentionKind::Unhealthy,
            "1 device reports a problem: clock-unverified",
            "Check that it reaches a time server.",
            120,
            vec![unwell],
        ),
    ];
    state.events.insert(
        0,
        event(
            5,
            240,
            now,
            [
                "device/basement-brest-2",
                "phase-changed",
                "device/basement-brest-2/deployment/web",
                "Pulling → Failed: image-not-found",
            ],
        ),
    );
    state
}

/// As busy, while the operator has not read everything.
pub fn recovering(now: DateTime<Utc>) -> State {
    let mut state = busy(now);
    state.recovery.converged = false;
    state.recovery.detail =
        Some("The operator was started a moment ago and is still reading the store.".to_owned());
    state.recovery.buckets = [
        "deployments",
        "desired-state",
        "deployment-state",
        "device-info",
        "device-heartbeat",
    ]
    .iter()
    .enumerate()
    .map(|(n, name)| BucketView {
        name: (*name).to_owned(),
        caught_up: n < 2,
        revision: 10,
        target_revision: 4000,
        watches_begun: 1,
    })
    .collect();
    state
}

/// Ten thousand devices.
pub fn large(now: DateTime<Utc>) -> State {
    let mut state = empty(now);
    state.deployments = vec![deployment("web", "registry.example.com/shop/web:1.27", 6, now)];
    for n in 0..10_000 {
        let id = format!("site-{n:05}");
        state.pairs.push(pair(&state.deployments[0], &id, now));
        state.devices.push(device(&id, "lyon", now));
    }
    state
}

/// What an attacker would send, in every text that a device or a person controls.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;";

/// Every text hostile.
pub fn hostile(now: DateTime<Utc>) -> State {
    let bad = HOSTILE.to_owned();
    let mut state = busy(now);
    let id = "pi-1".to_owned();
    for d in &mut state.devices {
        d.labels = BTreeMap::from([(bad.clone(), bad.clone())]);
        d.arch.clone_from(&bad);
        d.agent_version.clone_from(&bad);
    }
    state.devices[0].id.clone_from(&id);
    state
        .health
        .insert(id.clone(), vec![Cause::new(&bad, bad.clone())]);
    for d in &mut state.deployments {
        d.labels = BTreeMap::from([(bad.clone(), bad.clone())]);
        d.image.clone_from(&bad);
        d.selector.clone_from(&bad);
    }
    for p in &mut state.pairs {
        p.phase = Some(bad.clone());
        p.cause = Some(Cause::new(&bad, bad.clone()));
        p.desired_image = Some(bad.clone());
        if let Some(running) = &mut p.running {
            running.image.clone_from(&bad);
            running.unit.clone_from(&bad);
            running.invocation_id.clone_from(&bad);
            running.digest = Some(bad.clone());
        }
        for l in &mut p.chain {
            l.text.clone_from(&bad);
        }
        p.marks.push(PhaseMark {
            phase: Phase::Unknown(bad.clone()),
            at: now,
        });
    }
    state.pairs[0].device.clone_from(&id);
    state.pairs[0].deployment = "web".to_owned();
    for a in &mut state.attention {
        a.title.clone_from(&bad);
        a.next.clone_from(&bad);
        a.cause = Some(Cause::new(&bad, bad.clone()));
        a.devices = vec![bad.clone()];
        a.deployment = Some(bad.clone());
    }
    state.problems = vec![Problem {
        bucket: bad.clone(),
        key: format!("pi-1{bad}"),
        kind: bad.clone(),
        detail: bad.clone(),
        since: now,
    }];
    for e in &mut state.events {
        e.event = FleetEvent {
            protocol: 0,
            at: now,
            actor: bad.clone(),
            kind: bad.clone(),
            subject: format!("device/{bad}"),
            detail: bad.clone(),
        };
    }
    state.recovery.connected = false;
    state.recovery.detail = Some(bad);
    state
}
