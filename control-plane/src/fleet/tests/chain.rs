//! "Why is it stuck?": the chain says all that is known, from what was asked to the last words and the next action.

use chrono::{DateTime, Utc};
use fleet_protocol::DeploymentState;
use fleet_protocol::cause::Exit;
use fleet_protocol::state::{CrashLoop, Cutover, InitProgress, Running};

use super::*;

/// The chain of the one pair, after the device reported this: `Kind State: text`, and the lines of a log.
fn chain(report: impl FnOnce(&mut DeploymentState)) -> String {
    let bytes = state(3, Phase::Failed, None);
    let mut read: DeploymentState = serde_json::from_slice(&bytes).unwrap();
    report(&mut read);
    let mut events = running_pair();
    let bytes = fleet_protocol::wire::encode(&read).into();
    events.push(entry(BucketId::Reported, "pi-1.web", 2, Some(bytes)));
    let fleet = fleet_of(&events);
    let view = fleet.pair_view(&fleet.pairs().next().unwrap().0.clone()).unwrap();
    let kinds: Vec<_> = view.chain.iter().map(|link| link.kind).collect();
    assert!(kinds.is_sorted(), "always in this order: {kinds:?}");
    let lines = view.chain.iter().map(|link| {
        let words: String = link.lines.iter().map(|line| format!("\n    | {line}")).collect();
        format!("{} {}: {}{words}", link.kind, link.state, link.text)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn running(generation: u64) -> Running {
    Running {
        generation,
        image: IMAGE.to_owned(),
        digest: None,
        unit: "fleet-web.service".to_owned(),
        invocation_id: "x".to_owned(),
        started_at: noon(),
    }
}

fn cause(kind: &str, exit: Option<Exit>) -> Cause {
    let mut cause = Cause::new(kind, "It did not work").with_log(&["one".to_owned(), "two".to_owned()]);
    cause.exit = exit;
    cause
}

#[test]
fn an_init_container_that_failed_is_named_with_its_exit_its_words_and_where_to_look() {
    let text = chain(|report| {
        let mut cause = cause("init-failed", Some(Exit::Status(3)));
        cause.init = Some("migrate".to_owned());
        report.cause = Some(cause);
        report.failed_tries = 2;
        report.next_try_at = Some(noon());
    });
    insta::assert_snapshot!(text);
}

#[test]
fn an_init_container_that_runs_is_a_step_of_the_start() {
    let text = chain(|report| {
        report.phase = Phase::Starting;
        report.init = Some(InitProgress {
            name: "migrate".to_owned(),
            step: 2,
            of: 3,
        });
    });
    assert!(
        text.contains("Phase Waiting: Starting · init container migrate (2 of 3)"),
        "{text}"
    );
    assert!(
        text.contains("Unit Waiting: `fleet-web.init-migrate.service` runs"),
        "{text}"
    );
    assert!(
        text.contains("Next Later: nothing: it goes on by itself"),
        "{text}"
    );
}

#[test]
fn a_crash_loop_tells_how_often_and_that_it_goes_on() {
    let text = chain(|report| {
        report.cause = Some(cause("container-exited", Some(Exit::Signal(11))));
        report.crash_loop = Some(CrashLoop {
            restarts: 12,
            next_restart_at: Some(noon()),
        });
    });
    insta::assert_snapshot!(text);
}

#[test]
fn a_pull_that_failed_says_what_goes_on_running() {
    let text = chain(|report| {
        report.cause = Some(cause("image-not-found", None));
        report.running = Some(running(2));
        report.failed_tries = 4;
    });
    assert!(
        text.contains("Phase Blocked: failed 4 times; generation 2 goes on running"),
        "{text}"
    );
    assert!(
        text.contains("Unit Done: `fleet-web.service` is active with generation 2"),
        "{text}"
    );
}

#[test]
fn an_upgrade_is_told_step_by_step_and_what_it_cost() {
    let pulling = chain(|report| {
        report.phase = Phase::Pulling;
        report.running = Some(running(2));
    });
    assert!(
        pulling.contains("pulling the image; generation 2 goes on running"),
        "{pulling}"
    );
    let upgrading = chain(|report| {
        report.phase = Phase::Upgrading;
        report.running = Some(running(2));
    });
    assert!(
        upgrading.contains("replacing the old container: generation 2 is being stopped"),
        "{upgrading}"
    );
    let done = chain(|report| {
        report.phase = Phase::Running;
        report.running = Some(running(3));
        report.cutover = Some(Cutover {
            from_generation: 2,
            stop_millis: 2_310,
            down_millis: 940,
        });
    });
    assert!(
        done.contains("Phase Done: running; replaced generation 2: 2.3 s to stop, 0.9 s down"),
        "{done}"
    );
    assert!(!done.contains("Next"), "{done}");
}

#[test]
fn a_stop_signal_that_is_ignored_says_what_would_help() {
    let text = chain(|report| {
        report.cause = Some(cause("stop-signal-ignored", None));
        report.running = Some(running(2));
        report.next_try_at = Some(noon());
    });
    assert!(text.contains("generation 2 goes on running"), "{text}");
    assert!(
        text.contains("set `lifecycle.stop_signal`") && text.contains("tried again by itself"),
        "{text}"
    );
}

/// Its image could not be had, so it never ran, and the old version runs on.
#[test]
fn an_image_of_an_init_container_that_cannot_be_had_is_no_init_container_that_failed() {
    let text = chain(|report| {
        let mut cause = cause("image-not-found", None);
        cause.init = Some("migrate".to_owned());
        report.cause = Some(cause);
        report.running = Some(running(2));
    });
    assert!(
        text.contains("Unit Done: `fleet-web.service` is active with generation 2"),
        "{text}"
    );
    assert!(
        text.contains("push the image, or correct its name") && !text.contains("--init"),
        "{text}"
    );
}

#[test]
fn what_to_do_goes_by_what_failed_and_nobody_is_told_to_apply_what_is_the_same() {
    for (kind, words) in [
        ("no-space", "make room on pi-1"),
        ("disk-full", "make room on pi-1"),
        ("registry-unreachable", "check the registry"),
        ("pull-timeout", "check the registry"),
        ("image-not-found", "push the image"),
        ("image-wrong-architecture", "push the image"),
        ("image-corrupt", "what it sends is not what it promised"),
        ("container-exited", "correct the application"),
        ("container-failed", "correct the application"),
        ("exited-early", "correct the application"),
        ("unhealthy", "correct the application"),
        ("start-timeout", "correct the application"),
        ("no-session-bus", "reboot it"),
        ("systemd-refused", "reboot it"),
        ("unit-refused", "reboot it"),
        ("podman-failed", "reboot it"),
        ("stop-failed", "reboot it"),
        ("unit-stopped", "find out who"),
        ("unit-file-changed", "find out who"),
        ("unit-file-removed", "find out who"),
        ("spec-invalid", "apply the specification again"),
    ] {
        let text = chain(|report| report.cause = Some(cause(kind, None)));
        assert!(text.contains(words), "{kind}: {text}");
    }
}

/// The last link of the chain of a failure with this cause that the agent tries again.
fn next_of(kind: &str, device_online: bool) -> String {
    let mut events = running_pair();
    events.push(reported(|report| {
        report.phase = Phase::Failed;
        report.cause = Some(cause(kind, None));
        report.next_try_at = Some(noon());
    }));
    if !device_online {
        events.push(entry(BucketId::Heartbeat, "pi-1", 4, None));
    }
    told(&events).0.lines().last().unwrap().to_owned()
}

#[test]
fn what_goes_on_by_itself_is_said_once() {
    assert_eq!(
        next_of("unit-stopped", true),
        "Next Blocked: find out who changes things by hand on pi-1. It is repaired by itself"
    );
    assert_eq!(
        next_of("unit-stopped", false),
        "Next Blocked: bring pi-1 back: check its power and its network; then find out who changes things by hand on pi-1"
    );
    for kind in super::runbook::kinds() {
        let (online, offline) = (next_of(&kind, true), next_of(&kind, false));
        assert_eq!(online.matches("by itself").count(), 1, "{kind}: {online}");
        assert_eq!(offline.matches("by itself").count(), 0, "{kind}: {offline}");
        assert!(
            !online.contains("nothing") && !offline.contains("nothing"),
            "{kind}: {online} {offline}"
        );
    }
}

/// The pair's chain after these events, its state, and whether it needs a person.
fn told(events: &[StoreEvent]) -> (String, PairState, bool) {
    let fleet = fleet_of(events);
    let view = fleet.pair_view(&fleet.pairs().next().unwrap().0.clone()).unwrap();
    let lines = view
        .chain
        .iter()
        .map(|link| format!("{} {}: {}", link.kind, link.state, link.text));
    let needed = fleet
        .status()
        .attention
        .iter()
        .any(|item| item.kind == AttentionKind::Failed);
    (lines.collect::<Vec<_>>().join("\n"), view.state, needed)
}

fn reported(report: impl FnOnce(&mut DeploymentState)) -> StoreEvent {
    let mut read: DeploymentState = serde_json::from_slice(&state(3, Phase::Removing, None)).unwrap();
    report(&mut read);
    let bytes = fleet_protocol::wire::encode(&read).into();
    entry(BucketId::Reported, "pi-1.web", 3, Some(bytes))
}

#[test]
fn a_removal_that_does_not_get_on_needs_a_person_and_says_why() {
    for (kind, next) in [
        ("stop-signal-ignored", "end the container by hand on pi-1"),
        ("removal-failed", "read the agent's log on pi-1"),
        // What is on its way out is not repaired.
        ("unit-stopped", "read the agent's log on pi-1"),
    ] {
        let mut events = running_pair();
        events.push(entry(BucketId::Desired, "pi-1.web", 2, None));
        events.push(reported(|report| {
            report.cause = Some(cause(kind, None));
            report.failed_tries = 2;
            report.next_try_at = Some(noon());
        }));
        let (text, state, needed) = told(&events);
        assert_eq!((state, needed), (PairState::Failed, true), "{text}");
        assert!(text.contains("Cause Blocked: It did not work"), "{text}");
        assert!(text.contains(&format!("Next Blocked: {next}")), "{text}");
        assert!(
            text.ends_with(". Until then it is tried again by itself"),
            "{text}"
        );
        // Once may pass by itself.
        *events.last_mut().unwrap() = reported(|report| {
            report.cause = Some(cause(kind, None));
            report.failed_tries = 1;
        });
        let (text, state, needed) = told(&events);
        assert_eq!((state, needed), (PairState::Removing, false), "{text}");
    }
}

#[test]
fn a_failure_from_before_a_removal_is_no_failure_of_it() {
    let mut events = running_pair();
    events.push(entry(BucketId::Desired, "pi-1.web", 2, None));
    events.push(entry(
        BucketId::Reported,
        "pi-1.web",
        3,
        Some(state(3, Phase::Failed, Some(cause("exited-early", None)))),
    ));
    let (text, state, needed) = told(&events);
    assert_eq!((state, needed), (PairState::Removing, false), "{text}");
    assert!(
        text.contains("Gate Waiting: the device is online and has not begun with the removal"),
        "{text}"
    );
    assert!(!text.contains("apply it again"), "{text}");
}

#[test]
fn of_a_device_that_is_away_the_first_thing_to_do_is_to_bring_it_back() {
    let mut events = running_pair();
    events.push(reported(|report| {
        report.phase = Phase::Failed;
        report.cause = Some(cause("exited-early", None));
        report.next_try_at = Some(noon());
    }));
    events.push(entry(BucketId::Heartbeat, "pi-1", 4, None));
    let (text, _, _) = told(&events);
    assert!(
        text.contains(
            "Next Blocked: bring pi-1 back: check its power and its network; then read `fleetctl logs web"
        ),
        "{text}"
    );
    assert!(!text.contains("tried again"), "{text}");
    assert!(
        text.contains("Gate Waiting: the device is offline: all below is what it said last"),
        "{text}"
    );
}

/// When the link of this kind came about or comes about, after the device reported this.
fn at(kind: LinkKind, online: bool, report: impl FnOnce(&mut DeploymentState)) -> Option<DateTime<Utc>> {
    let mut events = running_pair();
    events.push(reported(report));
    if !online {
        events.push(entry(BucketId::Heartbeat, "pi-1", 4, None));
    }
    let fleet = fleet_of(&events);
    let view = fleet.pair_view(&fleet.pairs().next().unwrap().0.clone()).unwrap();
    let link = view.chain.iter().find(|link| link.kind == kind);
    link.unwrap_or_else(|| panic!("no {kind}: {:?}", view.chain)).at
}

#[test]
fn each_step_has_its_time_and_nobody_knows_when_a_device_that_is_away_tries_again() {
    let minute = |minute| noon() + TimeDelta::minutes(minute);
    let failed = |report: &mut DeploymentState| {
        report.phase = Phase::Failed;
        report.since = minute(3);
        report.cause = Some(cause("container-exited", Some(Exit::Status(3))));
        report.next_try_at = Some(minute(9));
    };
    let looping = |report: &mut DeploymentState| {
        failed(report);
        report.running = Some(running(3));
        report.crash_loop = Some(CrashLoop {
            restarts: 2,
            next_restart_at: Some(minute(5)),
        });
    };
    let inits = |report: &mut DeploymentState| {
        looping(report);
        report.cause = Some(cause("init-failed", None));
        report.cause.as_mut().unwrap().init = Some("migrate".to_owned());
    };
    let runs = |report: &mut DeploymentState| {
        failed(report);
        report.running = Some(Running {
            started_at: minute(1),
            ..running(2)
        });
    };
    assert_eq!(at(LinkKind::Next, true, failed), Some(minute(9)));
    assert_eq!(at(LinkKind::Next, false, failed), None);
    assert_eq!(at(LinkKind::Unit, true, failed), Some(minute(3)));
    assert_eq!(at(LinkKind::Unit, true, looping), Some(minute(5)));
    assert_eq!(at(LinkKind::Unit, true, inits), Some(minute(3)));
    assert_eq!(at(LinkKind::Unit, true, runs), Some(minute(1)));
}

#[test]
fn what_ended_once_is_told_with_its_exit_and_without_a_count() {
    let text = chain(|report| {
        report.cause = Some(cause("container-failed", Some(Exit::Status(3))));
        report.failed_tries = 1;
    });
    assert!(text.contains("Phase Blocked: failed\n"), "{text}");
    assert!(
        text.contains("Unit Blocked: `fleet-web.service` ended with exit status 3"),
        "{text}"
    );
}
