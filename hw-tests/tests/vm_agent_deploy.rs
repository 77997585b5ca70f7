//! The main path on the booted device: what was asked for runs as it was asked for, changes, is repaired, and goes without a trace.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{Trial, score, web};
use fleet_hw_tests::{Rig, Service, Weather};
use fleet_protocol::Phase;
use serde_json::json;

const DEPLOY: Duration = Duration::from_secs(180);
const REPAIR: Duration = Duration::from_secs(150);
const SOON: Duration = Duration::from_secs(120);
const UNIT_FILE: &str = "/var/lib/fleet/.config/containers/systemd/fleet-web.container";

#[test]
fn a_deployment_runs_as_specified_changes_without_a_needless_restart_and_leaves_nothing_behind() -> Result<()>
{
    Trial::run("deploy", |trial| {
        let fields = json!({
            "env": [{ "name": "FLEET_DEVICE", "value": "kiosk 7 \"north\"" }],
            "volumes": [{ "source": { "volume": { "name": "data" } }, "path": "/data" }],
            "resources": { "memory": "64Mi", "cpus": "0.5", "pids": 50 },
            "read_only": true,
        });
        let start = Instant::now();
        trial.kv.desire("web", 1, web("1", fields.clone()))?;
        let state = trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        eprintln!("Running after {:.1?}", start.elapsed());
        let running = state.running.context("it says what runs")?;
        ensure!(running.invocation_id == trial.invocation("web")?);
        let page = trial.wait_for_page("sample-web 1", SOON)?;
        ensure!(page.contains("kiosk 7 \"north\""), "{page}");
        require_limits_and_mounts(trial)?;

        // The same image with other bytes of the page, and a health check: Running only once it is healthy.
        let mut healthy = fields;
        healthy["health"] = json!({
            "command": ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"], "interval": "2s", "retries": 5,
        });
        let start = Instant::now();
        trial.kv.desire("web", 2, web("2", healthy.clone()))?;
        let state = trial.kv.wait_for_phase("web", 2, &Phase::Running, DEPLOY)?;
        eprintln!("changed after {:.1?}", start.elapsed());
        let changed = state.running.context("it says what runs")?;
        ensure!(changed.invocation_id != running.invocation_id && changed.image.ends_with("sample-web:2"));
        let phases: Vec<_> = state.marks.iter().map(|mark| mark.phase.as_str()).collect();
        ensure!(phases.contains(&"Upgrading"), "{phases:?}");
        trial.wait_for_page("sample-web 2", SOON)?;
        let health = trial.fleet("podman inspect -f '{{.State.Health.Status}}' fleet-web")?;
        ensure!(health == "healthy", "{health}");
        ensure!(
            trial.fleet("podman exec fleet-web cat /data/kept")? == "kept",
            "the volume stayed"
        );

        trial.kv.desire("web", 3, web("2", healthy))?;
        let same = trial.kv.wait_for_phase("web", 3, &Phase::Running, SOON)?;
        let same = same.running.context("it says what runs")?;
        ensure!(
            same.invocation_id == changed.invocation_id,
            "a generation that changes nothing restarts nothing"
        );
        ensure!(trial.invocation("web")? == changed.invocation_id);

        ensure!(
            trial.belongings("web")?.lines().count() >= 5,
            "the look for belongings sees them"
        );
        let start = Instant::now();
        trial.kv.undesire("web")?;
        trial.kv.wait_for_no_state("web", DEPLOY)?;
        eprintln!("removed after {:.1?}", start.elapsed());
        let left = trial.belongings("web")?;
        ensure!(left.is_empty(), "left behind: {left}");
        ensure!(trial.page().is_none());
        ensure!(
            trial
                .fleet("systemctl --user --failed --plain --no-legend")?
                .is_empty(),
            "a failed unit is left behind"
        );
        Ok(())
    })
}

/// The kernel itself holds the container to its limits, and the mounts are what they should be.
fn require_limits_and_mounts(trial: &mut Trial) -> Result<()> {
    // The container's own group, or the one above it where podman set the limits.
    let limits = trial.fleet(
        "group=/sys/fs/cgroup$(cut -d: -f3 /proc/$(podman inspect -f '{{.State.Pid}}' fleet-web)/cgroup); \
         cat $group/memory.max $group/memory.swap.max $group/cpu.max $group/pids.max",
    )?;
    let limits: Vec<_> = limits.lines().collect();
    ensure!(
        limits == [&(64 << 20).to_string(), "0", "50000 100000", "50"],
        "{limits:?}"
    );
    ensure!(
        trial
            .fleet("podman exec fleet-web sh -c 'echo kept > /data/kept'")
            .is_ok()
    );
    let refused = trial
        .fleet("podman exec fleet-web touch /x")
        .err()
        .context("the root is read-only")?;
    ensure!(refused.to_string().contains("Read-only"), "{refused}");
    Ok(())
}

#[test]
fn what_is_changed_by_hand_is_repaired_and_an_agent_that_restarts_disturbs_no_container() -> Result<()> {
    Trial::run("drift", |trial| {
        // Files are compared at each look; the default lets up to ten minutes pass between two when no unit changes.
        trial.tune_agent("drift_check_minutes = 1\n")?;
        trial.kv.desire("web", 1, web("1", json!({})))?;
        let state = trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        let first = state.running.context("it says what runs")?.invocation_id;

        require_an_ordered_restart(trial, &first)?;

        trial.fleet("podman rm --force --time 0 fleet-web")?;
        let start = Instant::now();
        let state = trial.kv.wait_for_state("web", "another run", REPAIR, |state| {
            state.phase == Phase::Running
                && state
                    .running
                    .as_ref()
                    .is_some_and(|run| run.invocation_id != first)
        })?;
        eprintln!("a removed container runs again after {:.1?}", start.elapsed());
        let second = state.running.context("it says what runs")?.invocation_id;
        ensure!(trial.invocation("web")? == second);
        trial.wait_for_page("sample-web 1", SOON)?;

        let sum = trial.root(&format!("sha256sum {UNIT_FILE}"))?;
        let same = format!("[ \"$(sha256sum {UNIT_FILE})\" = '{sum}' ]");
        trial.fleet(&format!("echo 'Environment=EVIL=1' >> {UNIT_FILE} && systemctl --user daemon-reload && systemctl --user restart fleet-web"))?;
        let start = Instant::now();
        trial.until_fleet(&same, REPAIR)?;
        eprintln!("an edited file is restored after {:.1?}", start.elapsed());
        trial.until_fleet("! podman inspect -f '{{.Config.Env}}' fleet-web | grep EVIL && podman inspect fleet-web >/dev/null", REPAIR)?;

        trial.fleet(&format!("rm {UNIT_FILE} && systemctl --user daemon-reload"))?;
        let start = Instant::now();
        trial.until_fleet(&same, REPAIR)?;
        eprintln!("a removed file is written again after {:.1?}", start.elapsed());
        trial.kv.wait_for_phase("web", 1, &Phase::Running, REPAIR)?;
        trial.until_fleet(
            "[ $(systemctl --user show -P LoadState fleet-web) = loaded ]",
            REPAIR,
        )?;
        trial.wait_for_page("sample-web 1", SOON)?;
        Ok(())
    })
}

/// An agent that is asked to go, goes in order; systemd calls the next one ready; containers do not notice.
fn require_an_ordered_restart(trial: &mut Trial, run: &str) -> Result<()> {
    let (before, _) = trial.agent()?;
    trial.fleet("systemctl --user restart fleet-agent.service")?;
    let (after, _) = trial.agent()?;
    ensure!(before != after, "the agent was restarted");
    ensure!(
        trial.invocation("web")? == run,
        "a restart of the agent restarted the container"
    );
    let log = trial.fleet(&format!("journalctl --user -o cat _PID={before} -n 3"))?;
    ensure!(log.contains("going down; containers keep running"), "{log}");

    trial.fleet("systemctl --user kill --kill-whom=main --signal=TERM fleet-agent")?;
    trial.wait_for_next_agent(&after, SOON)?;
    ensure!(
        trial.invocation("web")? == run,
        "SIGTERM of the agent restarted the container"
    );
    Ok(())
}

#[test]
fn the_agent_answers_offline_shows_no_secret_and_is_watched_by_systemd() -> Result<()> {
    Trial::run("agent-unit", |trial| {
        trial
            .kv
            .desire("sleeper", 1, score("sample-ignores-term:1", json!({})))?;
        trial.kv.wait_for_phase("sleeper", 1, &Phase::Running, DEPLOY)?;
        let run = trial.invocation("sleeper")?;
        trial.rig.set_link(false)?;
        // A cable alone is noticed when a ping stays unanswered, which takes a minute.
        trial.rig.way_to(Service::Nats).set_weather(Weather::Refusing);

        // A frozen agent is found out by systemd; meanwhile there is time for questions that need no agent.
        let facts = [
            "Type",
            "ActiveState",
            "WatchdogUSec",
            "WatchdogTimestampMonotonic",
            "NRestarts",
            "MainPID",
        ];
        let before = trial.unit("fleet-agent.service", &facts)?;
        eprintln!("the agent's unit: {before:?}");
        ensure!(
            before[..2] == ["notify", "active"] && before[2] == "30s" && before[3] != "0",
            "{before:?}"
        );
        trial.until_fleet(
            "fleet-agent status | grep 'connection  offline'",
            Duration::from_secs(120),
        )?;
        trial.fleet("systemctl --user kill --kill-whom=main --signal=STOP fleet-agent")?;
        let frozen = Instant::now();

        let secret = trial.site.keys.device.seed().to_owned();
        for command in [
            "fleet-agent status",
            "fleet-agent status --json",
            "fleet-agent config show",
            "fleet-agent config show --json",
        ] {
            let answer = trial.fleet(command)?;
            ensure!(answer.contains("virtual-1"), "{command}: {answer}");
            ensure!(
                !answer.contains(&secret) && !answer.contains("SUA"),
                "{command} shows the secret: {answer}"
            );
            if command.contains("status") {
                ensure!(
                    answer.contains("sleeper") && answer.contains("Running"),
                    "{command}: {answer}"
                );
            }
        }
        let state = trial.fleet("grep State /proc/$(systemctl --user show -P MainPID fleet-agent)/status")?;
        ensure!(state.contains('T'), "the agent is frozen: {state}");
        let security =
            trial.fleet("systemd-analyze --user --no-pager security fleet-agent.service | tail -n 1")?;
        eprintln!("systemd-analyze: {security}");
        ensure!(security.contains("exposure level"), "{security}");

        trial.wait_for_next_agent(&before[5], Duration::from_secs(180))?;
        eprintln!("a frozen agent is replaced after {:.1?}", frozen.elapsed());
        let log = trial.root("journalctl -b -o cat | grep -i 'fleet-agent.*watchdog'")?;
        ensure!(log.contains("atchdog timeout"), "{log}");
        ensure!(
            trial.invocation("sleeper")? == run,
            "the container did not notice"
        );
        Ok(())
    })
}
