//! Containers that end, on the booted device: one that does its work is told from one that fails, and is run once; one that
//! does not want to end is shown as being replaced for as long as that takes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::Rig;
use fleet_hw_tests::site::{Trial, score};
use fleet_protocol::{Phase, Score};
use serde_json::json;

const DEPLOY: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(180);
const BOOT: Duration = Duration::from_secs(240);
/// Seconds: shorter than systemd's patience with a container that ignores SIGTERM, longer than any look takes.
const STUBBORN: i64 = 3;

fn job(seconds: u32, status: u32) -> Score {
    score(
        "sample-job:1",
        json!({
            "restart": "never",
            "env": [
                { "name": "JOB_SECONDS", "value": seconds.to_string() },
                { "name": "JOB_STATUS", "value": status.to_string() },
            ],
            "volumes": [{ "source": { "volume": { "name": "data" } }, "path": "/data" }],
        }),
    )
}

/// How often the job began, by the lines in its volume.
fn runs(trial: &mut Trial, deployment: &str) -> Result<usize> {
    let path = trial.fleet(&format!(
        "podman volume inspect -f '{{{{.Mountpoint}}}}' fleet-{deployment}.data"
    ))?;
    Ok(trial.fleet(&format!("cat {path}/runs"))?.lines().count())
}

#[test]
fn a_job_is_finished_when_its_work_is_done_and_runs_once_for_each_boot() -> Result<()> {
    Trial::run("jobs", |trial| {
        // Over before anybody can see it up, and up for long enough to be seen; with success, and with a failure.
        let jobs = [("quick", 0, 0), ("slow", 8, 0), ("broken", 0, 3), ("weak", 8, 3)];
        for (name, seconds, status) in jobs {
            trial.kv.desire(name, 1, job(seconds, status))?;
        }
        for name in ["quick", "slow"] {
            let state = trial.kv.wait_for_phase(name, 1, &Phase::Finished, DEPLOY)?;
            ensure!(state.cause.is_none() && state.running.is_none(), "{state:?}");
            ensure!(
                state.next_try_at.is_none() && state.failed_tries == 0,
                "{state:?}"
            );
            ensure!(runs(trial, name)? == 1);
        }
        for (name, kind) in [("broken", "exited-early"), ("weak", "container-failed")] {
            let state = trial.kv.wait_for_cause(name, kind, DEPLOY)?;
            let cause = state.cause.context("it has a cause")?;
            eprintln!("{cause}");
            ensure!(cause.detail.contains("status 3"), "{cause}");
            ensure!(state.next_try_at.is_none(), "its policy forbids another run");
        }

        let (before, _) = trial.agent()?;
        trial.fleet("systemctl --user restart fleet-agent.service")?;
        trial.wait_for_next_agent(&before, SOON)?;
        trial.kv.desire("quick", 2, job(0, 0))?;
        trial.kv.wait_for_phase("quick", 2, &Phase::Finished, SOON)?;
        for name in ["quick", "slow", "broken", "weak"] {
            ensure!(runs(trial, name)? == 1, "{name} was run again");
        }

        // systemd runs it at boot, without the agent's doing.
        trial.rig.power_off(BOOT)?;
        trial.rig.power_on()?;
        trial.rig.wait_for_shell(BOOT)?;
        trial.until_fleet("fleet-agent status | grep 'connection  connected'", SOON)?;
        let start = Instant::now();
        while runs(trial, "slow")? < 2 {
            ensure!(start.elapsed() < SOON, "the job did not run at boot");
            std::thread::sleep(Duration::from_secs(1));
        }
        trial.kv.wait_for_phase("slow", 1, &Phase::Finished, SOON)?;
        ensure!(runs(trial, "slow")? == 2);
        Ok(())
    })
}

#[test]
fn a_container_that_ignores_the_signal_to_end_is_upgrading_until_it_is_down() -> Result<()> {
    Trial::run("stubborn", |trial| {
        trial
            .kv
            .desire("web", 1, score("sample-ignores-term:1", json!({})))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        let env = json!({ "env": [{ "name": "ANOTHER", "value": "one" }] });
        trial.kv.desire("web", 2, score("sample-ignores-term:1", env))?;
        trial.kv.wait_for_phase("web", 2, &Phase::Upgrading, SOON)?;
        let state = trial.kv.wait_for_phase("web", 2, &Phase::Running, DEPLOY)?;
        let mark = |phase: Phase| state.marks.iter().find(|mark| mark.phase == phase);
        let upgrading = mark(Phase::Upgrading).context("it was replaced")?.at;
        let starting = mark(Phase::Starting).context("it was started")?.at;
        let seconds = (starting - upgrading).num_seconds();
        eprintln!("the old one took {seconds} s to end");
        ensure!(seconds >= STUBBORN, "{:?}", state.marks);
        Ok(())
    })
}
