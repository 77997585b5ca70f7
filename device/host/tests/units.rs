//! `UserUnits` against a real D-Bus and a systemd that misbehaves.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in what it is made of")]

mod bus;

use std::time::Duration;

use bus::{Bus, Ending, WEB};
use fleet_host::{ActiveState, LoadState, UnitFacts, UnitName, Units, UnitsError, UserUnits};
use fleet_protocol::DeploymentName;
use tokio::time::{Instant, timeout};

/// Far beyond what any of these take; reached only when something hangs.
const LONG: Duration = Duration::from_secs(30);
/// The first poll of a job comes after this long.
const FIRST_POLL: Duration = Duration::from_millis(500);

fn web() -> UnitName {
    UnitName::of(&DeploymentName::new("web").unwrap()).unwrap()
}

async fn with_systemd() -> (Bus, UserUnits) {
    let bus = Bus::start().await;
    let units = UserUnits::new(&bus.address);
    (bus, units)
}

#[tokio::test]
async fn a_start_ends_with_the_run_that_it_began() {
    let (bus, units) = with_systemd().await;
    let started = units.start(&web(), &[], LONG).await.unwrap();
    assert_eq!(started.invocation_id.as_str(), "01".repeat(16));
    let facts = units.facts(&web()).await.unwrap();
    assert_eq!(facts.load_state, LoadState::Loaded);
    assert_eq!(
        (facts.active_state.clone(), facts.n_restarts),
        (ActiveState::Active, 3)
    );
    assert_eq!(facts.state_change_monotonic, Duration::from_millis(1500));
    assert_eq!(facts.next_restart, None, "it runs");
    let stamps = |facts: &UnitFacts| {
        let stamps = [facts.active_exit, facts.inactive_enter, facts.active_enter];
        stamps.map(|stamp| stamp.as_millis())
    };
    assert_eq!(stamps(&facts), [1200, 1300, 1400]);
    assert_eq!(
        stamps(&started.facts),
        [1200, 1300, 1400],
        "known right after the start"
    );
    bus.set(|script| script.ending = Ending::Nothing);
    let again = units.start(&web(), &[], LONG).await.unwrap();
    assert_eq!(again.invocation_id, started.invocation_id, "it goes on");
    units.reload().await.unwrap();
    assert_eq!(bus.calls()[0], "Subscribe");
}

/// systemd#8803: `JobRemoved` is lost when a daemon-reload runs at the same time.
#[tokio::test]
async fn a_start_whose_job_removed_is_lost_ends_by_the_poll() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.signal_lost = true);
    let begun = Instant::now();
    let started = timeout(LONG, units.start(&web(), &[], LONG))
        .await
        .expect("hangs without the signal")
        .unwrap();
    assert!(started.facts.is_up());
    assert!(
        begun.elapsed() >= FIRST_POLL,
        "the fault did not fire: something else than the poll ended it"
    );
}

/// The control of the test above: with the signal nothing waits for a poll.
#[tokio::test]
async fn a_start_whose_job_removed_comes_does_not_wait_for_a_poll() {
    let (_bus, units) = with_systemd().await;
    units.facts(&web()).await.unwrap();
    let begun = Instant::now();
    units.start(&web(), &[], LONG).await.unwrap();
    assert!(begun.elapsed() < FIRST_POLL, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_stop_and_a_restart_end_by_the_poll_too() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.signal_lost = true);
    units.start(&web(), &[], LONG).await.unwrap();
    let again = timeout(LONG, units.restart(&web(), &[], LONG))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.invocation_id.as_str(), "02".repeat(16));
    timeout(LONG, units.stop(&web(), LONG)).await.unwrap().unwrap();
}

/// systemd#22369: the job of a unit that a condition skipped is "done".
#[tokio::test]
async fn a_skipped_unit_is_not_called_started() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.ending = Ending::Skipped);
    let error = units.start(&web(), &[], LONG).await.unwrap_err();
    assert!(matches!(error, UnitsError::Skipped(_)), "{error}");
}

/// With `Restart=always` a failed unit reads "activating": the job and `Result` tell.
#[tokio::test]
async fn a_unit_that_fails_and_is_restarted_is_a_failure_with_its_facts() {
    for lost in [false, true] {
        let (bus, units) = with_systemd().await;
        bus.set(|script| (script.ending, script.signal_lost) = (Ending::Fails, lost));
        let error = units.start(&web(), &[], LONG).await.unwrap_err();
        let UnitsError::JobFailed {
            facts, job_result, ..
        } = &error
        else {
            panic!("{error}")
        };
        assert!(facts.is_restarting() && facts.invocation_id.is_some());
        assert_eq!(facts.next_restart, Some(Duration::from_millis(1500 + 4000)));
        assert_eq!(job_result.as_deref(), if lost { None } else { Some("failed") });
        assert_eq!(error.to_string(), "fleet-web.service exited with status 1");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_restart_that_left_the_old_run_in_place_is_an_error() {
    let (bus, units) = with_systemd().await;
    units.start(&web(), &[], LONG).await.unwrap();
    bus.set(|script| script.ending = Ending::Nothing);
    let error = units.restart(&web(), &[], LONG).await.unwrap_err();
    assert!(
        error.is_transient() && matches!(error, UnitsError::JobFailed { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_job_that_never_ends_is_left_at_the_deadline() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.ending = Ending::Never);
    let within = Duration::from_millis(1200);
    let begun = Instant::now();
    let error = units.start(&web(), &[], within).await.unwrap_err();
    assert!(
        matches!(error, UnitsError::Deadline { .. }) && error.is_transient(),
        "{error}"
    );
    assert!(begun.elapsed() >= within);
}

#[tokio::test]
async fn a_unit_without_a_file_cannot_start_and_is_already_stopped() {
    let (bus, units) = with_systemd().await;
    bus.set(|script| script.known = false);
    assert!(matches!(
        units.start(&web(), &[], LONG).await,
        Err(UnitsError::NoSuchUnit(_))
    ));
    units.stop(&web(), LONG).await.unwrap();
    units.reset_failed(&web()).await.unwrap();
    assert_eq!(units.facts(&web()).await.unwrap().load_state, LoadState::NotFound);
}

#[tokio::test]
async fn without_a_bus_the_error_says_what_to_install() {
    let units = UserUnits::new("unix:path=/nonexistent/bus");
    let error = units.facts(&web()).await.unwrap_err();
    assert!(error.is_transient() && error.kind() == "no-session-bus");
    let text = error.to_string();
    assert!(
        text.contains("dbus-user-session") && text.contains("enable-linger"),
        "{text}"
    );
}

#[tokio::test]
async fn only_watched_units_are_told_about_and_changes_are_merged() {
    const OTHER: &str = "/org/freedesktop/systemd1/unit/other_2eservice";
    const UNIT: &str = "org.freedesktop.systemd1.Unit";
    let (bus, units) = with_systemd().await;
    units.watch([web()].into()).await.unwrap();
    bus.properties_changed(OTHER, UNIT).await;
    bus.properties_changed(WEB, "org.freedesktop.systemd1.Service")
        .await;
    assert!(
        timeout(Duration::from_millis(200), units.changed())
            .await
            .is_err()
    );
    bus.properties_changed(WEB, UNIT).await;
    bus.properties_changed(WEB, UNIT).await;
    assert_eq!(timeout(LONG, units.changed()).await.unwrap(), [web()].into());
    units.watch([].into()).await.unwrap();
    bus.properties_changed(WEB, UNIT).await;
    assert!(
        timeout(Duration::from_millis(200), units.changed())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn after_a_lost_bus_it_connects_again_and_every_watched_unit_may_have_changed() {
    let (mut bus, units) = with_systemd().await;
    units.watch([web()].into()).await.unwrap();
    bus.kill();
    assert_eq!(
        timeout(LONG, units.changed())
            .await
            .expect("the loss was not told"),
        [web()].into()
    );
    let error = units.facts(&web()).await.unwrap_err();
    assert!(matches!(error, UnitsError::NoBus { .. }), "{error}");
    let (told, ()) = tokio::join!(timeout(LONG, units.changed()), bus.revive());
    assert_eq!(told.expect("the return was not told"), [web()].into());
    units.facts(&web()).await.unwrap();
    // The match rules are there again.
    let _ = timeout(Duration::from_millis(200), units.changed()).await;
    bus.properties_changed(WEB, "org.freedesktop.systemd1.Unit").await;
    assert_eq!(timeout(LONG, units.changed()).await.unwrap(), [web()].into());
}

#[tokio::test]
async fn a_bus_that_goes_during_a_job_and_comes_back_does_not_lose_the_job() {
    let (mut bus, units) = with_systemd().await;
    bus.set(|script| script.ending = Ending::Never);
    let web = web();
    let (started, ()) = tokio::join!(units.start(&web, &[], LONG), async {
        tokio::time::timeout(LONG, async {
            while !bus.calls().iter().any(|call| call.starts_with("StartUnit")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        // The answer to StartUnit is on its way: let it arrive.
        tokio::time::sleep(Duration::from_millis(100)).await;
        bus.kill();
        bus.set(|script| (script.active, script.invocation) = ("active", 9));
        bus.revive().await;
    });
    assert_eq!(started.unwrap().invocation_id.as_str(), "09".repeat(16));
}

/// A unit that is watched while another call connects again: the connection that stays has to hear of it too.
#[tokio::test]
async fn a_unit_that_is_watched_during_a_reconnect_is_heard_of() {
    let (mut bus, units) = with_systemd().await;
    units.facts(&web()).await.unwrap();
    bus.kill();
    bus.revive().await;
    let subscribed = || {
        let calls = bus.calls();
        calls.iter().filter(|call| *call == "Subscribe").count()
    };
    let before = subscribed();
    bus.set(|script| script.subscribe_takes = Duration::from_millis(300));
    let web = web();
    let (facts, watched) = tokio::join!(units.facts(&web), async {
        // The other call has asked for its rules, and waits for this answer.
        timeout(LONG, async {
            while subscribed() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        units.watch([web.clone()].into()).await
    });
    facts.unwrap();
    watched.unwrap();
    // What the reconnect itself told.
    let _ = timeout(Duration::from_millis(300), units.changed()).await;
    bus.properties_changed(WEB, "org.freedesktop.systemd1.Unit").await;
    let told = timeout(LONG, units.changed()).await;
    assert_eq!(told.expect("nobody hears of it"), [web].into());
}

/// The control of what a connection asks for: a rule for each watched unit, and none for one that no longer is.
#[tokio::test]
async fn what_is_watched_and_let_go_while_connected_is_followed() {
    const UNIT: &str = "org.freedesktop.systemd1.Unit";
    let (bus, units) = with_systemd().await;
    for _ in 0..3 {
        units.watch([web()].into()).await.unwrap();
        bus.properties_changed(WEB, UNIT).await;
        assert_eq!(timeout(LONG, units.changed()).await.unwrap(), [web()].into());
        units.watch([].into()).await.unwrap();
    }
    bus.properties_changed(WEB, UNIT).await;
    let told = timeout(Duration::from_millis(200), units.changed()).await;
    assert!(told.is_err(), "{told:?}");
}
