//! The power of the booted device is cut where it hurts most, and the network with it: the device converges by itself, and what it was
//! asked for before is not forgotten. Cuts at all other moments are in `vm_matrix_agent_cuts`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{Trial, web};
use fleet_hw_tests::{Rig, Service, Weather};
use fleet_protocol::Phase;
use serde_json::json;

const BOOT: Duration = Duration::from_secs(240);
const DEPLOY: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(120);

/// Cuts the power and boots without a cable; the boot's id proves that it is another one.
fn cut_and_boot(trial: &mut Trial) -> Result<()> {
    let before = trial.kv.info()?.context("the device said what it is")?.boot_id;
    trial.rig.cut_power()?;
    let start = Instant::now();
    trial.rig.power_on()?;
    trial.rig.set_link(false)?;
    let after = trial.rig.boot_id(BOOT)?;
    eprintln!("shell {:.1?} after the cut", start.elapsed());
    ensure!(
        after.replace('-', "") != before.replace('-', ""),
        "it is the same boot"
    );
    Ok(())
}

#[test]
fn what_was_asked_for_right_before_a_power_cut_runs_after_it_without_any_network() -> Result<()> {
    Trial::run("cut-offline", |trial| {
        trial.kv.desire("web", 1, web("1", json!({})))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;

        // The next generation changes the environment only, and the power goes as soon as the wish is recorded.
        trial.kv.desire(
            "web",
            2,
            web(
                "1",
                json!({ "env": [{ "name": "FLEET_DEVICE", "value": "second wish" }] }),
            ),
        )?;
        trial.rig.run_ok(
            "until grep -q 'second wish' /var/lib/fleet/agent/desired/web.json; do :; done",
            SOON,
        )?;
        trial.rig.way_to(Service::Nats).set_weather(Weather::Refusing);
        trial.rig.way_to(Service::Registry).set_weather(Weather::Refusing);
        cut_and_boot(trial)?;

        // The page as the device itself sees it: no cable, no server, no registry.
        let page = "exec 4<>/dev/tcp/127.0.0.1/8080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&4 && timeout 10 cat <&4";
        let start = Instant::now();
        trial.until_fleet(&format!("({page}) | grep 'second wish'"), DEPLOY)?;
        eprintln!("the page is there {:.1?} after the shell", start.elapsed());
        ensure!(
            trial.root("cat $(grep -l '' /sys/class/net/e*/carrier)")? == "0",
            "the cable is in"
        );
        let shown = trial.until_fleet(
            "fleet-agent status | tee /dev/stderr | grep -A9 offline | grep 'web .*Running'",
            SOON,
        )?;
        eprintln!("{shown}");
        let run = trial.invocation("web")?;

        trial.rig.way_to(Service::Nats).set_weather(Weather::Clear);
        trial.rig.way_to(Service::Registry).set_weather(Weather::Clear);
        trial.rig.set_link(true)?;
        let start = Instant::now();
        let state = trial
            .kv
            .wait_for_state("web", "generation 2 of this boot", DEPLOY, |state| {
                state.observed_generation == 2
                    && state.phase == Phase::Running
                    && state
                        .running
                        .as_ref()
                        .is_some_and(|running| running.invocation_id == run)
            })?;
        eprintln!("told {:.1?} after the cable was back: {state:?}", start.elapsed());
        trial.wait_for_page("second wish", SOON)?;
        Ok(())
    })
}
