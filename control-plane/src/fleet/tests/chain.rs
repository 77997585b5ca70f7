//! "Why is it stuck?": the chain says all that is known, from what was asked to the last words and the next action.

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
