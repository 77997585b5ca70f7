//! The power of the booted device is cut where it hurts most, and the network with it. After each cut the device converges by
//! itself, and what it was asked for before is not forgotten.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{Trial, web};
use fleet_hw_tests::{Rig, Service, Weather};
use fleet_protocol::{Phase, Score};
use fleet_testbed::sample;
use serde_json::json;

const BOOT: Duration = Duration::from_secs(240);
const DEPLOY: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(120);
/// What is pulled when the power goes, in MiB: too much to be over before.
const BALLAST: usize = 48;

/// Cuts the power and boots; the boot's id proves that it is another one.
fn cut_and_boot(trial: &mut Trial, link: bool) -> Result<()> {
    let before = trial.kv.info()?.context("the device said what it is")?.boot_id;
    trial.rig.cut_power()?;
    let start = Instant::now();
    trial.rig.power_on()?;
    trial.rig.set_link(link)?;
    let after = trial.rig.boot_id(BOOT)?;
    eprintln!("shell {:.1?} after the cut", start.elapsed());
    ensure!(
        after.replace('-', "") != before.replace('-', ""),
        "it is the same boot"
    );
    Ok(())
}

#[test]
fn a_power_cut_during_a_pull_costs_no_more_than_the_pull() -> Result<()> {
    Trial::run("cut-pull", |trial| {
        let ballast = sample::ballast(BALLAST)?;
        trial
            .site
            .registry
            .push(&ballast.image, ballast.repository, ballast.tag)?;
        let image = format!("{}/{}", Service::Registry.device_address(), ballast.name());
        trial
            .rig
            .way_to(Service::Registry)
            .set_weather(Weather::Delayed(Duration::from_secs(2)));

        let mut desired = web("1", json!({}));
        let Score::PodmanV0(score) = &mut desired;
        score.image = image.parse()?;
        trial.kv.desire("web", 1, desired)?;
        trial.kv.wait_for_phase("web", 1, &Phase::Pulling, SOON)?;
        // Some of it is on the disk, and most of it is not.
        let staged = trial.until_fleet(
            "size=$(du -sm ~/.local/share/containers | cut -f1) && [ $size -ge 6 ] && echo $size",
            SOON,
        )?;
        let phase = trial.kv.state("web")?.context("it has a state")?.phase;
        ensure!(phase == Phase::Pulling, "{phase} with {staged} MiB on the disk");
        eprintln!("cut while pulling, {staged} MiB on the disk");
        trial.rig.way_to(Service::Registry).set_weather(Weather::Clear);
        cut_and_boot(trial, true)?;

        let start = Instant::now();
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        eprintln!("Running {:.1?} after the shell", start.elapsed());
        trial.wait_for_page("sample-web 1", SOON)?;
        // Every layer is whole, and nothing of the broken pull is left.
        let sum = trial.fleet("podman exec fleet-web sh -c 'ls -l /ballast' | tr -s ' ' | cut -d' ' -f5")?;
        ensure!(sum == (BALLAST << 20).to_string(), "the ballast has {sum} bytes");
        Ok(())
    })
}

#[test]
fn a_power_cut_during_a_start_is_followed_by_a_start() -> Result<()> {
    Trial::run("cut-start", |trial| {
        let late = json!({
            "env": [{ "name": "START_SECONDS", "value": "12" }],
            "health": { "command": ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"], "interval": "3s", "retries": 20 },
        });
        trial.kv.desire("web", 1, web("1", late))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Starting, DEPLOY)?;
        // The container is there and not yet healthy.
        trial.until_fleet(
            "podman ps --format '{{.Names}} {{.Status}}' | grep 'fleet-web.*starting'",
            SOON,
        )?;
        let phase = trial.kv.state("web")?.context("it has a state")?.phase;
        ensure!(phase == Phase::Starting, "{phase}");
        cut_and_boot(trial, true)?;

        let start = Instant::now();
        trial.wait_for_page("sample-web 1", DEPLOY)?;
        let unit = trial.until_fleet("systemctl --user is-active fleet-web.service", DEPLOY)?;
        eprintln!("{unit} {:.1?} after the shell", start.elapsed());
        let run = trial.invocation("web")?;
        trial
            .kv
            .wait_for_state("web", "this boot's run", DEPLOY, |state| {
                state.phase == Phase::Running
                    && state
                        .running
                        .as_ref()
                        .is_some_and(|running| running.invocation_id == run)
            })?;
        Ok(())
    })
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
        cut_and_boot(trial, false)?;

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
