//! Devices, deployments and pairs, one at a time.

use super::*;

pub fn info(summary: &DeviceSummary, now: DateTime<Utc>) -> DeviceInfo {
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

pub fn heartbeat(now: DateTime<Utc>) -> Heartbeat {
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

pub fn link(kind: LinkKind, state: LinkState, text: &str, at: Option<DateTime<Utc>>) -> Link {
    Link {
        kind,
        state,
        text: text.to_owned(),
        at,
        lines: Vec::new(),
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
        init: None,
        init_containers: Vec::new(),
        cutover: None,
        crash_loop: None,
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
    pair.desired_image = Some("registry.example.com/shop/web:1.28".to_owned());
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

/// The same pair, failed by what a container did: its last words are in the cause and in the chain.
pub fn broken(mut pair: PairView, cause: Cause, words: [&str; 2], now: DateTime<Utc>) -> PairView {
    let since = now - TimeDelta::minutes(2);
    pair.state = PairState::Failed;
    pair.phase = Some("Failed".to_owned());
    pair.since = Some(since);
    pair.running = None;
    pair.reported_at = Some(since);
    let [unit, next] = words;
    let blocked = |kind, text: &str| link(kind, LinkState::Blocked, text, Some(since));
    pair.chain.truncate(2);
    pair.chain.push(blocked(LinkKind::Phase, "failed"));
    let exit = cause.exit.map_or_else(String::new, |exit| format!(", {exit}"));
    pair.chain.push(blocked(
        LinkKind::Cause,
        &format!("{} ({}{exit})", cause.detail, cause.kind),
    ));
    pair.chain.push(blocked(LinkKind::Unit, unit));
    let mut log = blocked(LinkKind::Log, "its last words");
    log.lines.clone_from(&cause.log);
    pair.chain.push(log);
    pair.chain.push(blocked(LinkKind::Next, next));
    pair.marks.truncate(3);
    pair.marks.push(PhaseMark {
        phase: Phase::Failed,
        at: since,
    });
    pair.cause = Some(cause);
    pair
}

/// What a log holds when a scene says nothing else: a server with colours, and one line that is longer than a phone is wide.
pub fn usual_log(deployment: &str, n: usize) -> Vec<String> {
    let line = |k: usize| match k % 9 {
        3 => format!(
            "\u{1b}[33mwarn\u{1b}[0m  slow request id={k} path=/api/v1/orders?customer=48151623&expand=lines,customer,payments&sort=-created took=\u{1b}[1m{} ms\u{1b}[0m",
            700 + k
        ),
        7 => format!(
            "\u{1b}[31merror\u{1b}[0m connection to \u{1b}[36mdb-{}\u{1b}[0m refused, trying again",
            k % 3
        ),
        _ => format!(
            "\u{1b}[32minfo\u{1b}[0m  {deployment} GET /health 200 {k} \u{1b}[90m{} ms\u{1b}[0m",
            k % 17
        ),
    };
    (1..=n).map(line).collect()
}

pub fn event(sequence: u64, ago: i64, now: DateTime<Utc>, words: [&str; 4]) -> EventItem {
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
