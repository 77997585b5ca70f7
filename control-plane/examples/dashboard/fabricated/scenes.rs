//! Whole fleets.

use super::*;

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
