//! The long one for the agent: the power goes again and again while an image is pulled, while a container starts, all through an
//! upgrade, and right after a record was written; and the agent is killed all through an upgrade.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{
    Moment, Trial, Version, careful, come_back, require_initialized_in_this_boot, web,
};
use fleet_hw_tests::{Rig, Service, Weather};
use fleet_protocol::{Phase, Score};
use fleet_testbed::sample;
use serde_json::json;

/// Limits for hangs, not for speed: the machine may be doing a lot else.
const LONG: Duration = Duration::from_secs(300);
/// What is pulled when the power goes, in MiB.
const BALLAST: usize = 48;
/// At which rate, in bytes a second: slow enough that a look and a cut fall into the pull.
const RATE: u32 = 1 << 20;

/// Cuts the power and boots; the boot's id proves that it is another one.
fn cut(trial: &mut Trial, when: &str) -> Result<()> {
    let before = trial.rig.boot_id(LONG)?;
    trial.rig.cut_power()?;
    let start = Instant::now();
    come_back(&mut trial.rig).with_context(|| format!("after the cut when {when}"))?;
    eprintln!("cut when {when}: back after {:.0?}", start.elapsed());
    // The shell is there before the volumes.
    trial
        .rig
        .run_until_ok("systemctl is-active var-lib-fleet.mount", LONG)?;
    ensure!(trial.rig.boot_id(LONG)? != before, "it is the same boot");
    Ok(())
}

/// Waits until the device itself, not the last report of an earlier boot, shows `phase`.
fn shown_in(trial: &mut Trial, phase: &Phase) -> Result<()> {
    trial.until_fleet(&format!("fleet-agent status | grep 'web .*{phase}'"), LONG)?;
    Ok(())
}

/// Waits until the device received so many MiB in this boot. What it stored says less: an earlier cut leaves some of it, and the agent
/// clears that away while the next pull writes.
fn wait_for_received(trial: &mut Trial, mebibytes: u64) -> Result<()> {
    let bytes = mebibytes << 20;
    trial.rig.run_ok(
        &format!("until [ $(cat /sys/class/net/e*/statistics/rx_bytes) -ge {bytes} ]; do sleep 0.1; done"),
        LONG,
    )?;
    Ok(())
}

#[test]
fn cuts_all_through_a_pull_cost_no_more_than_the_pull() -> Result<()> {
    Trial::run("pull-cuts", |trial| {
        let ballast = sample::ballast(BALLAST)?;
        trial
            .site
            .registry
            .push(&ballast.image, ballast.repository, ballast.tag)?;
        let way = trial.rig.way_to(Service::Registry);
        way.set_weather(Weather::Narrow(RATE));
        let mut desired = web("1", json!({}));
        let Score::PodmanV0(score) = &mut desired;
        score.image = format!("{}/{}", Service::Registry.device_address(), ballast.name()).parse()?;
        trial.kv.desire("web", 1, desired)?;

        for received in [0, 6, 16, 28] {
            shown_in(trial, &Phase::Pulling)?;
            wait_for_received(trial, received)?;
            let shown = trial.fleet("fleet-agent status | grep 'web .*Pulling'");
            ensure!(shown.is_ok(), "the pull was over before {received} MiB came");
            cut(trial, &format!("{received} MiB had come"))?;
        }
        let way = trial.rig.way_to(Service::Registry);
        way.set_weather(Weather::Clear);
        trial.wait_for_page("sample-web 1", LONG)?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, LONG)?;
        // Every layer is whole.
        let size = trial.fleet("podman exec fleet-web sh -c 'ls -l /ballast' | tr -s ' ' | cut -d' ' -f5")?;
        ensure!(
            size == (BALLAST << 20).to_string(),
            "the ballast has {size} bytes"
        );
        Ok(())
    })
}

#[test]
fn cuts_while_a_container_starts_are_followed_by_its_start() -> Result<()> {
    Trial::run("start-cuts", |trial| {
        let late = json!({
            "env": [{ "name": "START_SECONDS", "value": "60" }],
            "health": { "command": ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"], "interval": "3s", "retries": 60 },
        });
        trial.kv.desire("web", 1, web("1", late))?;
        let moments = [
            (
                "its unit starts",
                "systemctl --user show -P ActiveState fleet-web.service | grep -x activating",
            ),
            (
                "its container is made",
                "podman ps --all --format '{{.Names}}' | grep -x fleet-web",
            ),
            (
                "it runs and is not healthy yet",
                "podman ps --format '{{.Names}} {{.Status}}' | grep 'fleet-web.*starting'",
            ),
            (
                "it runs and is not healthy yet, again",
                "podman ps --format '{{.Names}} {{.Status}}' | grep 'fleet-web.*starting'",
            ),
        ];
        for (name, condition) in moments {
            trial.until_fleet(condition, LONG)?;
            cut(trial, name)?;
        }
        trial.wait_for_page("sample-web 1", LONG)?;
        let run = trial.invocation("web")?;
        trial.kv.wait_for_state("web", "this boot's run", LONG, |state| {
            let of_this_run = state.running.as_ref().is_some_and(|now| now.invocation_id == run);
            state.phase == Phase::Running && of_this_run
        })?;
        Ok(())
    })
}

/// The first version runs, and every moment of the upgrades from there has its own next version.
fn through_upgrades(
    trial: &mut Trial,
    mut fault: impl FnMut(&mut Trial, Moment) -> Result<()>,
) -> Result<()> {
    let first = Version::page("1")?;
    trial.push(&first)?;
    trial.kv.desire("web", 1, careful(&first))?;
    trial.kv.wait_for_phase("web", 1, &Phase::Running, LONG)?;
    for (generation, moment) in (2..).zip(Moment::ALL) {
        let version = moment.version(&generation.to_string())?;
        moment.reach(trial, generation, &version)?;
        fault(trial, moment)?;
        Moment::pass(trial);
        trial.wait_for_page(&version.line(), LONG)?;
        let run = trial.invocation("web")?;
        trial
            .kv
            .wait_for_state("web", "the run of the new version", LONG, |state| {
                state.observed_generation == generation
                    && state.phase == Phase::Running
                    && state.running.as_ref().is_some_and(|now| now.invocation_id == run)
            })?;
        require_initialized_in_this_boot(trial)?;
    }
    Ok(())
}

#[test]
fn cuts_all_through_an_upgrade_are_followed_by_the_new_version() -> Result<()> {
    Trial::run("upgrade-cuts", |trial| {
        through_upgrades(trial, |trial, moment| cut(trial, moment.when()))
    })
}

#[test]
fn an_agent_killed_all_through_an_upgrade_finishes_it() -> Result<()> {
    Trial::run("upgrade-kills", |trial| {
        through_upgrades(trial, |trial, moment| {
            let shown = trial.kill_agent()?;
            let phase = &shown["deployments"]["web"]["phase"];
            trial.wait_for_next_agent(&shown["pid"].to_string(), LONG)?;
            // Each death is one of its own here: systemd's growing patience is not what is tried.
            trial.fleet("systemctl --user reset-failed fleet-agent.service")?;
            eprintln!("killed when {}, in {phase}", moment.when());
            Ok(())
        })?;
        // Each start of the container had its own run of the init container before, and there was no start too many.
        let ran = trial
            .fleet("podman exec fleet-web cat /data/runs")?
            .lines()
            .count();
        let started = trial
            .fleet("podman exec fleet-web cat /data/notes")?
            .lines()
            .count();
        ensure!(
            started == 1 + Moment::ALL.len() && ran >= started,
            "{started} starts, {ran} runs of the init container"
        );
        Ok(())
    })
}

/// Both faults in one upgrade.
#[test]
fn an_upgrade_that_loses_its_agent_and_then_its_power_ends_with_the_new_version() -> Result<()> {
    Trial::run("upgrade-hit", |trial| {
        let (one, two) = (Version::page("1")?, Version::page("2")?);
        trial.push(&one)?;
        trial.kv.desire("web", 1, careful(&one))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, LONG)?;

        Moment::Stopping.reach(trial, 2, &two)?;
        let shown = trial.kill_agent()?;
        let phase = &shown["deployments"]["web"]["phase"];
        ensure!(
            phase == Phase::Upgrading.as_str(),
            "the agent was killed in {phase}"
        );
        trial.until_fleet(
            "podman ps --format '{{.Names}}' | grep -x fleet-web.init-prepare",
            LONG,
        )?;
        cut(trial, "the init container runs")?;

        trial.wait_for_page(&two.line(), LONG)?;
        let run = trial.invocation("web")?;
        trial.kv.wait_for_state("web", "this boot's run", LONG, |state| {
            state.observed_generation == 2
                && state.phase == Phase::Running
                && state.running.as_ref().is_some_and(|now| now.invocation_id == run)
        })?;
        require_initialized_in_this_boot(trial)?;
        Ok(())
    })
}

#[test]
fn a_record_is_whole_however_soon_after_its_write_the_power_goes() -> Result<()> {
    Trial::run("record-cuts", |trial| {
        let wish = |generation: u64| {
            let env = json!({ "env": [{ "name": "FLEET_DEVICE", "value": format!("wish {generation}.") }] });
            web("1", env)
        };
        trial.kv.desire("web", 1, wish(1))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, LONG)?;
        for generation in 2..=5 {
            trial.kv.desire("web", generation, wish(generation))?;
            let told = generation % 2 == 1;
            if told {
                // What it tells is written down already, flush and all.
                let what = format!("generation {generation}");
                trial.kv.wait_for_state("web", &what, LONG, |state| {
                    state.observed_generation == generation
                })?;
            } else {
                // The name appears before the folder is flushed: whole, but old or new.
                trial.rig.run_ok(
                    &format!(
                        "until grep -q 'wish {generation}[.]' /var/lib/fleet/agent/desired/web.json; do :; done"
                    ),
                    LONG,
                )?;
            }
            // Nobody tells the device again what it may have forgotten.
            let way = trial.rig.way_to(Service::Nats);
            way.set_weather(Weather::Refusing);
            let when = if told { "it was told" } else { "it appeared" };
            cut(trial, &format!("generation {generation} was written, {when}"))?;
            let kept = whole_records(trial)?;
            let oldest = if told { generation } else { generation - 1 };
            ensure!(
                (oldest..=generation).contains(&kept),
                "the record holds generation {kept}"
            );
            eprintln!("the record holds generation {kept}");
            let way = trial.rig.way_to(Service::Nats);
            way.set_weather(Weather::Clear);
            trial
                .kv
                .wait_for_phase("web", generation, &Phase::Running, LONG)?;
        }
        trial.wait_for_page("wish 5.", LONG)?;
        Ok(())
    })
}

/// Requires that every record of the agent is JSON and none was put aside as damaged; gives the generation that is desired.
fn whole_records(trial: &mut Trial) -> Result<u64> {
    let records = trial.root("cd /var/lib/fleet/agent && find . -type f | sort")?;
    ensure!(
        records.contains("./desired/web.json") && !records.contains("corrupt"),
        "{records}"
    );
    for record in records.lines().filter(|name| name.ends_with(".json")) {
        let text = trial.root(&format!("cd /var/lib/fleet/agent && cat {record}"))?;
        serde_json::from_str::<serde_json::Value>(&text).with_context(|| format!("{record}: {text}"))?;
    }
    let desired: serde_json::Value = serde_json::from_str(&trial.record("desired", "web")?)?;
    let found = find(&desired, "generation").and_then(serde_json::Value::as_u64);
    found.with_context(|| format!("no generation in {desired}"))
}

/// The first value of that name, at whatever depth.
fn find<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    let object = value.as_object()?;
    object
        .get(name)
        .or_else(|| object.values().find_map(|inner| find(inner, name)))
}
