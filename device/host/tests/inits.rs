//! A start that waits for init containers, against a real D-Bus and a systemd that misbehaves.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in what it is made of")]

mod bus;

use std::time::Duration;

use bus::{Bus, Ending, INITS, WEB};
use fleet_host::{UnitName, Units, UnitsError, UserUnits};
use fleet_protocol::DeploymentName;
use tokio::time::{Instant, timeout};

/// Far beyond what any of these take; reached only when something hangs.
const LONG: Duration = Duration::from_secs(30);
/// The first poll comes after this long.
const FIRST_POLL: Duration = Duration::from_millis(500);
const UNIT: &str = "org.freedesktop.systemd1.Unit";

fn name() -> DeploymentName {
    DeploymentName::new("web").unwrap()
}

fn web() -> UnitName {
    UnitName::of(&name()).unwrap()
}

fn inits() -> [UnitName; 2] {
    ["a", "b"].map(|init| UnitName::init(&name(), init).unwrap())
}

async fn with_systemd() -> (Bus, UserUnits) {
    let bus = Bus::start().await;
    let units = UserUnits::new(&bus.address);
    // Connected, so that no time of that counts.
    units.facts(&web()).await.unwrap();
    (bus, units)
}

/// Waits until systemd was asked for the start.
async fn begun(bus: &Bus) {
    let asked = async {
        while !bus.calls().iter().any(|call| call.starts_with("StartUnit")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, asked).await.unwrap();
}

fn failed_init(error: &UnitsError) -> (&str, &str, i32) {
    match error {
        UnitsError::InitFailed { unit, facts } => {
            (unit.init_name().unwrap(), error.kind(), facts.exec_main_status)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_init_container_that_fails_ends_the_wait_at_once_and_is_named() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.ending = Ending::Never);
    let (web, inits) = (web(), inits());
    let (outcome, told) = tokio::join!(
        async { (units.start(&web, &inits, LONG).await, Instant::now()) },
        async {
            begun(&bus).await;
            bus.set(|script| script.inits[1].fails("exit-code", 3));
            let told = Instant::now();
            bus.properties_changed(INITS[1], UNIT).await;
            told
        }
    );
    let error = outcome.0.unwrap_err();
    assert_eq!(failed_init(&error), ("b", "init-failed", 3));
    assert_eq!(error.to_string(), "init container b exited with status 3");
    assert!(!error.is_transient());
    assert!(outcome.1 - told < FIRST_POLL, "the signal was not heard");
}

#[tokio::test]
async fn a_failure_whose_signal_is_lost_is_found_by_the_poll() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.ending = Ending::Never);
    let (web, inits) = (web(), inits());
    let (outcome, ()) = tokio::join!(timeout(LONG, units.restart(&web, &inits, LONG)), async {
        let asked = async {
            while !bus.calls().iter().any(|call| call.starts_with("RestartUnit")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, asked).await.unwrap();
        bus.set(|script| script.inits[0].fails("timeout", 15));
    });
    let error = outcome.expect("hangs without the signal").unwrap_err();
    assert_eq!(failed_init(&error), ("a", "init-timeout", 15));
    assert_eq!(
        error.to_string(),
        "init container a was not done in time, and was ended"
    );
}

/// A unit that waits for its next try looks just as it does after a new failure; its run tells them apart.
#[tokio::test]
async fn a_failure_from_before_the_start_is_not_taken_for_a_new_one() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| {
        script.inits[0].fails("exit-code", 1);
        script.takes = Duration::from_millis(1300);
    });
    let (web, inits) = (web(), inits());
    let (outcome, ()) = tokio::join!(units.start(&web, &inits, LONG), async {
        begun(&bus).await;
        bus.properties_changed(INITS[0], UNIT).await;
    });
    assert!(outcome.unwrap().facts.is_up());
    // The control: the same look, with another run.
    bus.set(|script| {
        (script.active, script.sub) = ("inactive", "dead");
        (script.ending, script.calls) = (Ending::Never, Vec::new());
    });
    let (outcome, ()) = tokio::join!(units.start(&web, &inits, LONG), async {
        begun(&bus).await;
        bus.set(|script| script.inits[0].fails("exit-code", 1));
        bus.properties_changed(INITS[0], UNIT).await;
    });
    assert_eq!(failed_init(&outcome.unwrap_err()).0, "a");
}

#[tokio::test]
async fn a_job_that_ends_for_want_of_an_init_container_is_told_as_that_ones_failure() {
    for lost in [false, true] {
        let (bus, units) = with_systemd().await;
        bus.set(|script| {
            (script.ending, script.signal_lost) = (Ending::Dependency, lost);
            script.takes = Duration::from_millis(100);
        });
        let error = timeout(LONG, units.start(&web(), &inits(), LONG))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(failed_init(&error), ("b", "init-failed", 7), "lost: {lost}");
    }
}

/// systemd#8803, with init containers before the main one.
#[tokio::test]
async fn a_start_with_init_containers_whose_job_removed_is_lost_ends_by_the_poll() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.signal_lost = true);
    let before = Instant::now();
    let started = timeout(LONG, units.start(&web(), &inits(), LONG))
        .await
        .expect("hangs without the signal");
    assert!(started.unwrap().facts.is_up());
    assert!(
        before.elapsed() >= FIRST_POLL,
        "the fault did not fire: something else than the poll ended it"
    );
}

#[tokio::test]
async fn the_deadline_covers_the_init_containers() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.ending = Ending::Never);
    let within = Duration::from_millis(800);
    let error = units.start(&web(), &inits(), within).await.unwrap_err();
    assert!(matches!(error, UnitsError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn a_stop_ends_what_init_containers_do_and_leaves_those_at_rest_alone() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| {
        script.inits[0].held = true;
        script.inits[1].fails("exit-code", 1);
    });
    units.stop(&web(), LONG).await.unwrap();
    let calls = bus.calls();
    let stops: Vec<&String> = calls.iter().filter(|call| call.starts_with("StopUnit")).collect();
    assert_eq!(
        stops,
        ["StopUnit fleet-web.service", "StopUnit fleet-web.init-b.service"]
    );
}

/// What runs by older files, or by none, would be taken for a run of the new ones, or be tried for ever.
#[tokio::test]
async fn a_reload_ends_runs_of_older_files_and_no_others() {
    let stopped = |calls: Vec<String>| {
        let stops = calls.into_iter().filter(|call| call.starts_with("StopUnit"));
        stops.collect::<Vec<_>>()
    };
    let (bus, units) = with_systemd().await;
    bus.set(|script| {
        script
            .inits
            .iter_mut()
            .for_each(|init| init.fails("exit-code", 1));
        script.inits[0].outdated = true;
    });
    units.take_up(&web()).await.unwrap();
    assert_eq!(stopped(bus.calls()), ["StopUnit fleet-web.init-a.service"]);
    let at = |word: &str| {
        bus.calls()
            .iter()
            .position(|call| call.starts_with(word))
            .unwrap()
    };
    assert!(
        at("StopUnit") < at("Reload"),
        "the main unit's waiting job would start without the new ones"
    );

    let (bus, units) = with_systemd().await;
    bus.set(|script| {
        script.inits[1].fails("exit-code", 1);
        script.inits[1].load = "not-found";
    });
    units.take_up(&web()).await.unwrap();
    assert_eq!(stopped(bus.calls()), ["StopUnit fleet-web.init-b.service"]);
}

#[tokio::test]
async fn what_a_start_looks_at_is_not_told_to_who_watches_other_units() {
    let (bus, units) = with_systemd().await;
    units.watch([web()].into()).await.unwrap();
    units.start(&web(), &inits(), LONG).await.unwrap();
    bus.properties_changed(INITS[0], UNIT).await;
    let told = timeout(Duration::from_millis(200), units.changed()).await;
    assert!(told.is_err(), "{told:?}");
    bus.properties_changed(WEB, UNIT).await;
    assert_eq!(timeout(LONG, units.changed()).await.unwrap(), [web()].into());
}

/// With its requirements, a second start of the main unit would run those init containers again that are done, beside the one
/// that runs (seen with systemd 257).
#[tokio::test]
async fn a_start_that_is_under_way_is_joined_without_its_requirements() {
    let (bus, units) = with_systemd().await;
    assert!(units.join(&web(), &inits(), LONG).await.unwrap().facts.is_up());
    let asked = |bus: &Bus| bus.calls().into_iter().find(|call| call.starts_with("StartUnit"));
    assert_eq!(
        asked(&bus).unwrap(),
        "StartUnit:ignore-requirements fleet-web.service"
    );
    // The control: a start of what is down needs them.
    let (bus, units) = with_systemd().await;
    units.start(&web(), &inits(), LONG).await.unwrap();
    assert_eq!(asked(&bus).unwrap(), "StartUnit fleet-web.service");
}

/// As after a boot, at which the agent comes when an init container runs already.
#[tokio::test]
async fn a_failure_of_a_run_that_was_under_way_is_told() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| {
        script.ending = Ending::Never;
        script.inits[1].runs();
    });
    let (web, inits) = (web(), inits());
    let (outcome, ()) = tokio::join!(units.join(&web, &inits, LONG), async {
        begun(&bus).await;
        bus.set(|script| script.inits[1].fails_now("exit-code", 5));
        bus.properties_changed(INITS[1], UNIT).await;
    });
    assert_eq!(failed_init(&outcome.unwrap_err()), ("b", "init-failed", 5));
}

/// A restart ends what runs: that this is no success is no failure of the new version.
#[tokio::test]
async fn a_run_that_a_restart_ends_is_no_failure_of_it() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| {
        script.takes = Duration::from_millis(1300);
        script.inits[1].runs();
    });
    let (web, inits) = (web(), inits());
    let (outcome, ()) = tokio::join!(units.restart(&web, &inits, LONG), async {
        let asked = async {
            while !bus.calls().iter().any(|call| call.starts_with("RestartUnit")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, asked).await.unwrap();
        bus.set(|script| script.inits[1].fails_now("signal", 15));
        bus.properties_changed(INITS[1], UNIT).await;
    });
    assert!(outcome.unwrap().facts.is_up());
}
