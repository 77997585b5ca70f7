//! Init containers on the booted device: in order, to completion, before every fresh main container, with the agent or without it;
//! and what a person sees of one that fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{Trial, score};
use fleet_hw_tests::{Rig, Service};
use fleet_protocol::cause::Exit;
use fleet_protocol::{Phase, Score};
use serde_json::{Value, json};

const DEPLOY: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(150);
const BOOT: Duration = Duration::from_secs(240);
const IMAGE: &str = "sample-shell:1";
/// Ends well on its signal, and says that it ran.
const MAIN: &str = "echo main >> /data/log; trap 'exit 0' TERM; while true; do sleep 1; done";
/// The agent's own unit, out of the way at the next boot.
const MASK: &str = "ln -sf /dev/null ~/.config/systemd/user/fleet-agent.service";

fn data() -> Value {
    json!([{ "source": { "volume": { "name": "data" } }, "path": "/data" }])
}

/// An init container that runs `script` with the deployment's volume at `/data`.
fn init(name: &str, script: &str) -> Value {
    let image = format!("{}/{IMAGE}", Service::Registry.device_address());
    json!({ "name": name, "image": image, "args": ["-c", script], "volumes": data() })
}

/// One that says that it ran, and ends well.
fn step(name: &str) -> Value {
    init(name, &format!("echo {name} >> /data/log"))
}

fn app(inits: &[Value], main: &str) -> Score {
    score(
        IMAGE,
        json!({ "args": ["-c", main], "volumes": data(), "init_containers": inits }),
    )
}

/// What the containers of deployment `app` said of themselves, in order.
fn steps(trial: &mut Trial) -> Result<Vec<String>> {
    let log = "cat \"$(podman volume inspect -f '{{.Mountpoint}}' fleet-app.data)/log\"";
    Ok(trial.fleet(log)?.lines().map(str::to_owned).collect())
}

/// Waits until they said exactly this.
fn wait_for_steps(trial: &mut Trial, expected: &[&str]) -> Result<()> {
    let start = Instant::now();
    loop {
        // Before the first of them there is no volume.
        let said = steps(trial).unwrap_or_default();
        if said == expected {
            return Ok(());
        }
        ensure!(
            said.len() <= expected.len() && start.elapsed() < SOON,
            "{said:?} instead of {expected:?}"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Everything on the device that has the name of an init container of `app`.
fn traces(trial: &mut Trial) -> Result<String> {
    Ok(trial.fleet(
        "ls -d ~/.config/containers/systemd/fleet-app.init-* $XDG_RUNTIME_DIR/systemd/generator/fleet-app.init-* 2>/dev/null; \
         podman ps --all --external --format '{{.Names}}' | grep init-; \
         systemctl --user list-units --all --plain --no-legend 'fleet-app.init-*'; true",
    )?)
}

#[test]
fn init_containers_run_in_order_before_each_fresh_main_container_and_leave_with_it() -> Result<()> {
    Trial::run("init-order", |trial| {
        let inits = [step("one"), step("two")];
        trial.kv.desire("app", 1, app(&inits, MAIN))?;
        trial.kv.wait_for_phase("app", 1, &Phase::Running, DEPLOY)?;
        wait_for_steps(trial, &["one", "two", "main"])?;

        // A crash: systemd's own restart runs them again.
        trial.fleet("podman kill --signal KILL fleet-app")?;
        let mut twice = ["one", "two", "main"].repeat(2);
        wait_for_steps(trial, &twice)?;
        trial.kv.wait_for_phase("app", 1, &Phase::Running, SOON)?;

        // The agent's restart stops nothing and runs nothing.
        let before = trial.invocation("app")?;
        let (agent, _) = trial.agent()?;
        trial.fleet("systemctl --user restart fleet-agent.service")?;
        trial.wait_for_next_agent(&agent, SOON)?;

        // An upgrade that drops one of them: the other one runs, nothing of the dropped one is left.
        trial.kv.desire("app", 2, app(&inits[1..], MAIN))?;
        trial.kv.wait_for_phase("app", 2, &Phase::Running, DEPLOY)?;
        ensure!(trial.invocation("app")? != before, "the upgrade started nothing");
        twice.extend(["two", "main"]);
        wait_for_steps(trial, &twice)?;
        let left = traces(trial)?;
        ensure!(left.contains("init-two") && !left.contains("init-one"), "{left}");

        // And one that drops them all.
        trial.kv.desire("app", 3, app(&[], MAIN))?;
        trial.kv.wait_for_phase("app", 3, &Phase::Running, DEPLOY)?;
        twice.push("main");
        wait_for_steps(trial, &twice)?;
        let left = traces(trial)?;
        ensure!(left.is_empty(), "{left}");

        // A removal takes them along.
        trial.kv.desire("app", 4, app(&inits, MAIN))?;
        trial.kv.wait_for_phase("app", 4, &Phase::Running, DEPLOY)?;
        trial.kv.undesire("app")?;
        trial.kv.wait_for_no_state("app", SOON)?;
        let left = format!("{}{}", traces(trial)?, trial.belongings("app")?);
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// The main container takes the mark away, so that a second run of it fails without a second run of its init container. And at boot
/// another one fails twice before it passes: with `RestartMode=direct` the main unit waits while systemd tries it again, instead of
/// failing by dependency for good, which nobody would mend on a device whose agent is away.
#[test]
fn init_containers_run_again_after_a_power_cut_and_outlive_a_passing_failure_without_agent_and_nats()
-> Result<()> {
    Trial::run("init-cut", |trial| {
        let mark = init(
            "mark",
            "mkdir -p /data && touch /data/initialized && echo init >> /data/log",
        );
        // Fails in its first two runs after each `armed`.
        let flaky = init(
            "flaky",
            "echo try >> /data/log; [ -e /data/armed ] || exit 0; \
             [ -e /data/second ] && rm /data/armed /data/second && exit 4; touch /data/second; exit 4",
        );
        let main = format!("rm /data/initialized || exit 9; {MAIN}");
        trial.kv.desire("app", 1, app(&[mark, flaky], &main))?;
        trial.kv.wait_for_phase("app", 1, &Phase::Running, DEPLOY)?;
        let first = ["init", "try", "main"];
        wait_for_steps(trial, &first)?;
        trial.fleet(&format!(
            "mkdir -p ~/.config/systemd/user && {MASK} && \
             touch \"$(podman volume inspect -f '{{{{.Mountpoint}}}}' fleet-app.data)/armed\" && sync"
        ))?;

        let before = trial.rig.boot_id(SOON)?;
        trial.rig.cut_power()?;
        trial.rig.power_on()?;
        trial.rig.set_link(false)?;
        ensure!(trial.rig.boot_id(BOOT)? != before, "it is the same boot");
        let mut whole = first.to_vec();
        whole.extend(["init", "try", "try", "try", "main"]);
        wait_for_steps(trial, &whole)?;
        trial.until_fleet("systemctl --user is-active --quiet fleet-app.service", SOON)?;
        let agent = trial.unit("fleet-agent.service", &["ActiveState", "LoadState"])?;
        ensure!(
            agent == ["inactive", "masked"],
            "the agent was at work: {agent:?}"
        );
        let restarts = trial.unit("fleet-app.service", &["NRestarts"])?.concat();
        ensure!(restarts == "0", "it took {restarts} restarts");

        trial.rig.set_link(true)?;
        trial.fleet(
            "rm ~/.config/systemd/user/fleet-agent.service && systemctl --user daemon-reload && \
             systemctl --user start fleet-agent.service",
        )?;
        let run = trial.invocation("app")?;
        trial
            .kv
            .wait_for_state("app", "a state of this boot", SOON, |state| {
                state.phase == Phase::Running
                    && state.running.as_ref().is_some_and(|now| now.invocation_id == run)
            })?;
        ensure!(steps(trial)? == whole, "the agent's start ran something again");
        Ok(())
    })
}

#[test]
fn an_init_container_that_fails_is_named_with_its_exit_and_words_and_a_new_specification_rolls_forward()
-> Result<()> {
    Trial::run("init-fails", |trial| {
        let broken = init(
            "migrate",
            "echo broken >> /data/log; echo table is locked; exit 3",
        );
        trial
            .kv
            .desire("app", 1, app(&[step("one"), broken, step("three")], MAIN))?;
        let state = trial.kv.wait_for_cause("app", "init-failed", DEPLOY)?;
        let cause = state.cause.context("it has a cause")?;
        eprintln!("{cause:?}");
        ensure!(cause.init.as_deref() == Some("migrate"), "{cause:?}");
        ensure!(cause.exit == Some(Exit::Status(3)), "{cause:?}");
        ensure!(
            cause.log.iter().any(|line| line.contains("table is locked")),
            "{cause:?}"
        );
        let said = steps(trial)?;
        ensure!(
            !said.contains(&"main".to_owned()) && !said.contains(&"three".to_owned()),
            "{said:?}"
        );
        // Tries of systemd and of the agent repeat only the one that fails.
        let count = |said: &[String], step: &str| said.iter().filter(|line| *line == step).count();
        let start = Instant::now();
        while count(&steps(trial)?, "broken") < 5 {
            ensure!(start.elapsed() < SOON, "it is not tried again");
            std::thread::sleep(Duration::from_millis(500));
        }
        let said = steps(trial)?;
        ensure!(count(&said, "one") == 1, "{said:?}");

        trial
            .kv
            .desire("app", 2, app(&[step("one"), step("migrate")], MAIN))?;
        trial.kv.wait_for_phase("app", 2, &Phase::Running, DEPLOY)?;
        let said = steps(trial)?;
        ensure!(
            said.ends_with(&["one".into(), "migrate".into(), "main".into()]),
            "{said:?}"
        );
        ensure!(
            said.iter().filter(|line| *line == "main").count() == 1,
            "{said:?}"
        );
        let left = traces(trial)?;
        ensure!(!left.contains("three"), "{left}");
        Ok(())
    })
}

#[test]
fn an_init_container_that_takes_too_long_is_ended_and_named() -> Result<()> {
    Trial::run("init-late", |trial| {
        // Deaf to SIGTERM, so that it has to be killed.
        let mut slow = init(
            "slow",
            "echo slow >> /data/log; trap '' TERM; while true; do sleep 1; done",
        );
        slow["timeout"] = "6s".into();
        trial.kv.desire("app", 1, app(&[slow], MAIN))?;
        let state = trial.kv.wait_for_cause("app", "init-timeout", DEPLOY)?;
        let cause = state.cause.context("it has a cause")?;
        eprintln!("{cause:?}");
        ensure!(cause.init.as_deref() == Some("slow"), "{cause:?}");
        trial.until_fleet(
            "[ $(systemctl --user show -P SubState fleet-app.init-slow.service) = auto-restart ] && \
             ! podman container exists fleet-app.init-slow",
            SOON,
        )?;
        let said = steps(trial)?;
        ensure!(!said.contains(&"main".to_owned()), "{said:?}");
        // A try that runs while the specification changes is not waited for, and not taken for one of the new one.
        trial.kv.desire("app", 2, app(&[step("quick")], MAIN))?;
        trial.kv.wait_for_phase("app", 2, &Phase::Running, DEPLOY)?;
        let said = steps(trial)?;
        ensure!(said.ends_with(&["quick".into(), "main".into()]), "{said:?}");
        let left = traces(trial)?;
        ensure!(!left.contains("slow"), "{left}");
        Ok(())
    })
}

#[cfg(feature = "matrix")]
mod matrix {
    use super::*;

    /// One that takes its time, and says when it begins and when it is done.
    fn slow_step(name: &str) -> Value {
        let script = format!("echo {name}-begins >> /data/log; sleep 5; echo {name}-ends >> /data/log");
        init(name, &script)
    }

    /// The agent takes part in each start: it must not start again what is done, run two at once, or end one in its midst.
    #[test]
    fn slow_init_containers_run_once_and_one_at_a_time_whoever_dies_meanwhile() -> Result<()> {
        Trial::run("init-slow", |trial| {
            let inits = [slow_step("one"), slow_step("two")];
            let whole = ["one-begins", "one-ends", "two-begins", "two-ends", "main"];
            trial.kv.desire("app", 1, app(&inits, MAIN))?;
            trial.kv.wait_for_phase("app", 1, &Phase::Running, DEPLOY)?;
            wait_for_steps(trial, &whole)?;

            // The container dies; systemd and the agent both see it.
            trial.fleet("podman kill --signal KILL fleet-app")?;
            let mut said = whole.repeat(2);
            wait_for_steps(trial, &said)?;
            trial.kv.wait_for_phase("app", 1, &Phase::Running, SOON)?;

            // The agent dies in the midst of it.
            trial.fleet("podman kill --signal KILL fleet-app")?;
            said.extend(&whole[..3]);
            wait_for_steps(trial, &said)?;
            let shown = trial.kill_agent()?;
            said.extend(&whole[3..]);
            wait_for_steps(trial, &said)?;
            trial.wait_for_next_agent(&shown["pid"].to_string(), SOON)?;

            // The power goes; at boot systemd is at it when the agent comes.
            let before = trial.rig.boot_id(SOON)?;
            trial.fleet("sync")?;
            trial.rig.cut_power()?;
            trial.rig.power_on()?;
            ensure!(trial.rig.boot_id(BOOT)? != before, "it is the same boot");
            said.extend(whole);
            wait_for_steps(trial, &said)?;
            let run = trial.invocation("app")?;
            trial.kv.wait_for_state("app", "this boot's run", SOON, |state| {
                state.phase == Phase::Running
                    && state.running.as_ref().is_some_and(|now| now.invocation_id == run)
            })?;
            ensure!(steps(trial)? == said, "the agent ran something again");
            Ok(())
        })
    }
}
