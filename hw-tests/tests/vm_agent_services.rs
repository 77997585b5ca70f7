//! Services that go and come back, even empty, on the booted device: what runs goes on, and everything is told again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{DEVICE, Trial, score, web};
use fleet_hw_tests::{Rig, Service, Weather};
use fleet_protocol::{Phase, bucket};
use serde_json::json;

const DEPLOY: Duration = Duration::from_secs(240);
const RECOVER: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(180);
/// How long NATS is away: several tries to connect again, at [`IMPATIENT`].
const OUTAGE: Duration = Duration::from_secs(20);
/// The default, a minute, would be most of these tests' time.
const IMPATIENT: &str = "reconnect_max_seconds = 5\n";
const IS_OFFLINE: &str = "fleet-agent status | grep 'connection  offline'";
const IS_CONNECTED: &str = "fleet-agent status | grep 'connection  connected'";

#[test]
fn an_image_that_cannot_be_had_is_told_and_had_once_the_registry_is_back() -> Result<()> {
    Trial::run("registry-down", |trial| {
        trial.kv.desire("web", 1, web("1", json!({})))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        let run = trial.invocation("web")?;

        trial.kv.desire("ghost", 1, score("no-such-image:1", json!({})))?;
        let state = trial.kv.wait_for_cause("ghost", "image-not-found", SOON)?;
        let cause = state.cause.context("it has a cause")?;
        eprintln!("{cause}");
        ensure!(cause.detail.contains("no-such-image:1"), "{cause}");

        trial.site.registry.stop()?;
        trial.kv.desire("web", 2, web("2", json!({})))?;
        let state = trial.kv.wait_for_cause("web", "registry-unreachable", SOON)?;
        ensure!(
            state.next_try_at.is_some(),
            "it says when it tries again: {state:?}"
        );
        ensure!(
            trial.invocation("web")? == run,
            "the old version serves while the new one cannot be had"
        );
        trial.wait_for_page("sample-web 1", SOON)?;

        trial.site.registry.start_again()?;
        let start = Instant::now();
        trial.kv.wait_for_phase("web", 2, &Phase::Running, RECOVER)?;
        eprintln!("runs {:.1?} after the registry came back", start.elapsed());
        trial.wait_for_page("sample-web 2", SOON)?;
        Ok(())
    })
}

#[test]
fn nats_that_comes_back_empty_is_told_everything_and_the_containers_notice_nothing() -> Result<()> {
    Trial::run("nats-empty", |trial| {
        trial.tune_agent(IMPATIENT)?;
        trial.kv.desire("web", 1, web("1", json!({})))?;
        trial.kv.desire("ghost", 1, score("no-such-image:1", json!({})))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        trial.kv.wait_for_cause("ghost", "image-not-found", SOON)?;
        let run = trial.invocation("web")?;
        let before = trial.kv.info()?.context("the device said what it is")?;

        outage(trial, &run)?;
        trial.site.nats.start_again_empty()?;
        trial.kv.make_buckets()?;
        ensure!(trial.kv.info()?.is_none(), "the store is not empty");

        let start = Instant::now();
        let state = trial.kv.wait_for_phase("web", 1, &Phase::Running, RECOVER)?;
        eprintln!("state is back {:.1?} after the empty store", start.elapsed());
        ensure!(state.running.is_some_and(|running| running.invocation_id == run));
        trial.kv.wait_for_cause("ghost", "image-not-found", RECOVER)?;
        let after = trial.kv.info()?.context("info is told before state")?;
        ensure!(after.boot_id == before.boot_id && after.agent_started_at == before.agent_started_at);

        // The empty store is no wish to remove; the next wish passes through it.
        ensure!(trial.invocation("web")? == run, "the container was restarted");
        trial.kv.desire("web", 2, web("2", json!({})))?;
        trial.kv.wait_for_phase("web", 2, &Phase::Running, DEPLOY)?;
        trial.wait_for_page("sample-web 2", SOON)?;
        Ok(())
    })
}

/// Stops NATS until the agent says that it is offline, and for [`OUTAGE`] at least.
fn outage(trial: &mut Trial, run: &str) -> Result<()> {
    let gone = Instant::now();
    trial.site.nats.stop()?;
    let shown = trial.until_fleet(IS_OFFLINE, SOON)?;
    eprintln!("{shown}");
    while gone.elapsed() < OUTAGE {
        ensure!(
            trial.invocation("web")? == run,
            "the container was restarted in the outage"
        );
        // The outage itself is the fault; what matters is looked at all along.
        std::thread::sleep(Duration::from_secs(5));
    }
    trial.wait_for_page("sample-web 1", SOON)?;
    Ok(())
}

/// In whichever way and however often the connection is lost: one consumer is left on what is watched, and none elsewhere.
#[test]
fn connections_that_break_again_and_again_leave_one_consumer() -> Result<()> {
    Trial::run("reconnects", |trial| {
        trial.tune_agent(IMPATIENT)?;
        trial.until_fleet(IS_CONNECTED, RECOVER)?;
        let seen = trial.rig.way_to(Service::Nats).connections_seen();
        trial.site.nats.start_again()?;
        // What is in memory goes with the server; the operator makes it again.
        trial.kv.make_buckets()?;
        trial.until_fleet(IS_CONNECTED, RECOVER)?;
        for _ in 0..3 {
            trial.rig.way_to(Service::Nats).set_weather(Weather::Refusing);
            trial.until_fleet(IS_OFFLINE, SOON)?;
            trial.rig.way_to(Service::Nats).set_weather(Weather::Clear);
            trial.until_fleet(IS_CONNECTED, RECOVER)?;
        }
        let connected = trial.rig.way_to(Service::Nats).connections_seen() - seen;
        ensure!(
            connected >= 4,
            "the device connected {connected} times: the fault does not fire"
        );

        // The watch works again once a wish passes through it.
        trial.kv.desire("ghost", 9, score("no-such-image:1", json!({})))?;
        trial
            .kv
            .wait_for_state("ghost", "generation 9", RECOVER, |state| {
                state.observed_generation == 9
            })?;
        let ours = format!("agent-{DEVICE}");
        for bucket in &bucket::ALL {
            let names = trial.kv.consumer_names(bucket)?;
            let expected = usize::from(bucket.name == bucket::DESIRED_STATE.name);
            let of_agent = names.iter().filter(|name| **name == ours).count();
            ensure!(of_agent == expected, "consumers on {}: {names:?}", bucket.name);
        }
        let all = trial.kv.consumer_names(&bucket::DESIRED_STATE)?;
        ensure!(all == [ours], "consumers on desired-state: {all:?}");
        Ok(())
    })
}
