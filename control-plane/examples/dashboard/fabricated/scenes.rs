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
        logs: BTreeMap::new(),
        lost: BTreeSet::new(),
        log_error: None,
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
    orders(&mut state, now);
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
    let of = |name: &'static str, kind: &'static str| {
        let is =
            move |p: &&PairView| p.deployment == name && p.cause.as_ref().is_some_and(|c| c.kind == kind);
        let pairs: Vec<_> = state.pairs.iter().filter(is).collect();
        let devices: Vec<_> = pairs.iter().map(|p| p.device.clone()).collect();
        (pairs.first().and_then(|p| p.cause.clone()), devices)
    };
    let (cause, failed) = of("web", "image-not-found");
    let (init_cause, init_failed) = of("orders", "init-failed");
    let (loop_cause, looping) = of("orders", "container-exited");
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
    let mut init = need(
        AttentionKind::Failed,
        "orders failed on basement-lyon-3",
        "read `fleetctl logs orders --device basement-lyon-3 --init migrate`, correct the init container and apply the specification again. Until then it is tried again by itself",
        2,
        init_failed,
    );
    init.deployment = Some("orders".to_owned());
    init.cause = init_cause;
    let mut ends = need(
        AttentionKind::Failed,
        "orders failed on basement-lyon-6",
        "read `fleetctl logs orders --device basement-lyon-6 --previous`, correct the application or its specification, and apply it again. Until then it is tried again by itself",
        2,
        looping,
    );
    ends.deployment = Some("orders".to_owned());
    ends.cause = loop_cause;
    state.attention = vec![
        first,
        init,
        ends,
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

/// A deployment with init containers, at every step that such a one can be at.
fn orders(state: &mut State, now: DateTime<Utc>) {
    let orders = deployment("orders", "registry.example.com/shop/orders:2.4", 4, now);
    let id = |n: usize| state.devices[n].id.clone();
    let placed = |n: usize| {
        let mut pair = pair(&orders, &id(n), now);
        pair.init_containers = ["wait-db", "migrate", "seed"].map(str::to_owned).to_vec();
        pair
    };
    let words = |text: &[&str]| text.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let migration = words(&[
        "migrate: 41 migrations known, 38 applied",
        "\u{1b}[32m✓\u{1b}[0m 039_add_currency.sql  0.04 s",
        "\u{1b}[31m✗\u{1b}[0m 040_seed_rates.sql",
        "\u{1b}[1;31mERROR\u{1b}[0m:  duplicate key value violates unique constraint \u{1b}[33m\"rates_pkey\"\u{1b}[0m",
        "DETAIL:  Key (code)=(EUR) already exists.",
        "migrate: stopped at 040, nothing of it was kept",
    ]);
    let mut cause = Cause::new(
        "init-failed",
        "The init container migrate ended with exit status 1, so the container was not started. It is run again with growing pauses.",
    )
    .with_log(&migration);
    cause.exit = Some(Exit::Status(1));
    cause.init = Some("migrate".to_owned());
    let unit = "`fleet-orders.init-migrate.service` ended with exit status 1, so `fleet-orders.service` was not started";
    let next = "read `fleetctl logs orders --device basement-lyon-3 --init migrate`, correct the init container and apply the specification again. Until then it is tried again by itself";
    let mut init_failed = broken(placed(5), cause, [unit, next], now);
    init_failed.failed_tries = 3;
    init_failed.next_try_at = Some(now + TimeDelta::seconds(8));
    state
        .logs
        .insert(format!("orders/{}/migrate", init_failed.device), migration);

    let panic = words(&[
        "listening on :8080",
        "\u{1b}[31mthread 'main' panicked at src/config.rs:41:\u{1b}[0m",
        "ORDERS_DSN is not set",
        "note: run with `RUST_BACKTRACE=1` to see where",
    ]);
    let mut cause = Cause::new(
        "container-exited",
        "The container ended with exit status 101, though it is to run. systemd starts it again with growing pauses.",
    )
    .with_log(&panic);
    cause.exit = Some(Exit::Status(101));
    let unit = "`fleet-orders.service` ends again and again with exit status 101, restarted 12 times; systemd starts it again";
    let next = "read `fleetctl logs orders --device basement-lyon-6 --previous`, correct the application or its specification, and apply it again. Until then it is tried again by itself";
    let mut looping = broken(placed(6), cause, [unit, next], now);
    looping.crash_loop = Some(CrashLoop {
        restarts: 12,
        next_restart_at: Some(now + TimeDelta::seconds(41)),
    });
    for run in ["", "~"] {
        state
            .logs
            .insert(format!("orders/{}{run}", looping.device), panic.clone());
    }

    let step = InitProgress {
        name: "migrate".to_owned(),
        step: 2,
        of: 3,
    };
    let mut starting = on_its_way(placed(7), PairState::Starting, now);
    starting.chain[2].text = "Starting · init container migrate (2 of 3)".to_owned();
    starting.init = Some(step);
    let mut upgrading = on_its_way(placed(8), PairState::Upgrading, now);
    upgrading.running = placed(8).running.map(|running| Running {
        generation: 3,
        ..running
    });
    upgrading.chain[2].text = "replacing the old container: generation 3 is being stopped".to_owned();
    let mut replaced = placed(10);
    replaced.cutover = Some(Cutover {
        from_generation: 3,
        stop_millis: 2310,
        down_millis: 940,
    });
    replaced.chain[2].text = "running; replaced generation 3: 2.3 s to stop, 0.9 s down".to_owned();
    state
        .pairs
        .extend([init_failed, looping, starting, upgrading, replaced]);
    state.deployments.insert(1, orders);
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

/// Lines of a container that wants more than to be read.
pub fn hostile_log() -> Vec<String> {
    [
        HOSTILE,
        "\u{1b}]8;;javascript:alert(1)\u{1b}\\click\u{1b}]8;;\u{1b}\\",
        "\u{1b}[2J\u{1b}[1;1Hnothing above this line",
        "\u{1b}]52;c;cm0gLXJmIH4=\u{7}",
        "user\u{202e}gpj.exe\u{2066}",
        "\u{9b}31m\u{85}\0\r\u{8}",
        "\u{1b}[31m<b>bold?</b>\u{1b}[0m </code></pre></div><script>alert(2)</script>",
        "\u{1b}]0;never ends <script>alert(3)</script>",
    ]
    .map(str::to_owned)
    .to_vec()
}

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
        p.chain.push(Link {
            lines: hostile_log(),
            ..link(LinkKind::Log, LinkState::Blocked, HOSTILE, None)
        });
        p.init_containers = vec![bad.clone()];
        p.marks.push(PhaseMark {
            phase: Phase::Unknown(bad.clone()),
            at: now,
        });
    }
    state.pairs[0].device.clone_from(&id);
    state.pairs[0].deployment = "web".to_owned();
    state.logs.insert(format!("web/{id}"), hostile_log());
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
