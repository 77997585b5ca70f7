//! What goes wrong around the agent of the booted device: bad values, a full disk, and its own death.
//! After each the device converges or says why not, and what ran goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{DEVICE, Trial, score, web};
use fleet_protocol::{Phase, Score, bucket, wire};
use serde_json::json;

const DEPLOY: Duration = Duration::from_secs(180);
const RECOVER: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(120);

#[test]
fn bad_values_are_answered_with_their_reason_while_the_last_good_one_runs_on() -> Result<()> {
    Trial::run("bad-input", |trial| {
        trial.kv.desire("web", 1, web("1", json!({})))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        let run = trial.invocation("web")?;
        let agent = trial.agent()?;

        let key = format!("{DEVICE}.web");
        let image = "10.0.2.100:5000/sample-web:1";
        let score_of = |more: &str| format!(r#"{{"podman_v0":{{"image":"{image}"{more}}}}}"#);
        let value = |protocol: u32, generation: u64, score: &str| {
            format!(r#"{{"protocol":{protocol},"generation":{generation},"score":{score}}}"#)
        };
        let bad = [
            (
                "value-malformed",
                r#"{"protocol":0,"generation":"#.to_owned(),
                "EOF",
            ),
            ("value-malformed", "\u{0}\u{1b}[2J".to_owned(), "expected value"),
            (
                "value-of-newer-version",
                value(99, 12, r#"{"podman_v9":{}}"#),
                "99",
            ),
            (
                "value-malformed",
                value(0, 13, &score_of(r#","privileged":true"#)),
                "privileged",
            ),
            ("value-malformed", value(0, 14, r#"{"wasm_v1":{}}"#), "wasm_v1"),
            (
                "spec-invalid",
                value(0, 15, &score_of(r#","ports":[{"host":80,"container":80}]"#)),
                "ports[0].host",
            ),
        ];
        for (kind, bytes, word) in bad {
            trial.kv.put(&bucket::DESIRED_STATE, &key, bytes.as_bytes())?;
            // The detail tells one malformed value from the one before it.
            let state = trial.kv.wait_for_state("web", word, SOON, |state| {
                state
                    .cause
                    .as_ref()
                    .is_some_and(|cause| cause.kind == kind && cause.detail.contains(word))
            })?;
            eprintln!("{}", state.cause.as_ref().context("it has a cause")?);
            ensure!(state.phase == Phase::Failed, "{state:?}");
            let running = state.running.context("the last good one is still reported")?;
            ensure!(
                running.generation == 1 && running.invocation_id == run,
                "{running:?}"
            );
        }

        // The server itself refuses what is huge; what passes it by the room that it leaves for headers, the agent refuses.
        let huge = vec![b' '; wire::MAX_VALUE_BYTES + (2 << 10)];
        let refused = trial.kv.put(&bucket::DESIRED_STATE, &key, &huge).err();
        let refused = refused.context("the server takes no huge value")?.to_string();
        eprintln!("{refused}");
        ensure!(refused.contains("maximum"), "{refused}");
        trial
            .kv
            .put(&bucket::DESIRED_STATE, &key, &huge[..=wire::MAX_VALUE_BYTES])?;
        trial.kv.wait_for_cause("web", "value-too-large", SOON)?;

        // Names that cannot be: one that is no id, one that would replace the agent's own unit.
        let good = value(0, 1, &score_of(""));
        for name in ["Bad_Name", "a.b", "-x"] {
            trial.kv.put(
                &bucket::DESIRED_STATE,
                &format!("{DEVICE}.{name}"),
                good.as_bytes(),
            )?;
        }
        trial.until_fleet(
            "journalctl --user -b -o cat -u fleet-agent | grep 'Bad_Name is ignored'",
            SOON,
        )?;
        trial.kv.put(
            &bucket::DESIRED_STATE,
            &format!("{DEVICE}.agent"),
            good.as_bytes(),
        )?;
        trial
            .kv
            .wait_for_state("agent", "a refusal of the name", SOON, |state| {
                state.phase == Phase::Failed && state.cause.is_some()
            })?;

        ensure!(
            trial.agent()? == agent,
            "the agent was restarted: {:?}, before {agent:?}",
            trial.agent()?
        );
        ensure!(trial.invocation("web")? == run);
        trial.wait_for_page("sample-web 1", SOON)?;
        let files = trial.fleet("ls ~/.config/containers/systemd")?;
        ensure!(files == "fleet-web.container", "{files}");

        trial.kv.desire("web", 16, web("2", json!({})))?;
        trial.kv.wait_for_phase("web", 16, &Phase::Running, DEPLOY)?;
        trial.wait_for_page("sample-web 2", SOON)?;
        Ok(())
    })
}

#[test]
fn a_full_disk_is_told_and_overcome_once_there_is_room() -> Result<()> {
    Trial::run("disk-full", |trial| {
        trial.kv.desire("web", 1, web("1", json!({})))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        let run = trial.invocation("web")?;
        let agent = trial.agent()?;

        // To the last block, those reserved for root too.
        let fill = "cd /var/lib/fleet && fallocate -l $(df --output=avail -B1 . | tail -1) full; \
                    dd if=/dev/zero of=full2 bs=4k status=none 2>&1 | grep 'No space'; df --output=avail -B1 . | tail -1";
        let free = trial.root(fill)?;
        ensure!(
            free.lines().last().is_some_and(|bytes| bytes.trim() == "0"),
            "the disk is not full: {free}"
        );

        trial.kv.desire("web", 2, web("2", json!({})))?;
        trial
            .kv
            .desire("fresh", 1, score("sample-ignores-term:1", json!({})))?;
        for deployment in ["web", "fresh"] {
            let state = trial.kv.wait_for_cause(deployment, "no-space", SOON)?;
            ensure!(
                state.next_try_at.is_some(),
                "it says when it tries again: {state:?}"
            );
        }
        let health = trial.kv.wait_for_health("a full disk", SOON, |health| {
            health.iter().any(|cause| cause.kind == "disk-full")
        })?;
        eprintln!("health: {health:?}");
        ensure!(
            trial.invocation("web")? == run,
            "the old version serves on a full disk"
        );
        trial.wait_for_page("sample-web 1", SOON)?;
        ensure!(trial.agent()? == agent, "the agent died of a full disk");

        trial.root("rm /var/lib/fleet/full /var/lib/fleet/full2")?;
        let start = Instant::now();
        trial.kv.wait_for_phase("web", 2, &Phase::Running, RECOVER)?;
        trial.kv.wait_for_phase("fresh", 1, &Phase::Running, RECOVER)?;
        eprintln!("both run {:.1?} after there is room", start.elapsed());
        trial.wait_for_page("sample-web 2", SOON)?;
        for deployment in ["web", "fresh"] {
            trial.record("desired", deployment)?;
        }
        trial
            .kv
            .wait_for_health("a device that is well", SOON, <[_]>::is_empty)?;
        Ok(())
    })
}

/// Kills the agent, proves by its own last words that it was in `phases`, and returns when the next one is up.
/// systemd is asked afterwards only: while it reloads it answers nobody.
fn kill_in(trial: &mut Trial, phases: &[(&str, Phase)]) -> Result<()> {
    let shown = trial.kill_agent()?;
    for (deployment, phase) in phases {
        let was = &shown["deployments"][deployment]["phase"];
        ensure!(
            was == phase.as_str(),
            "{deployment} was {was}, not {phase}, when the agent was killed"
        );
    }
    trial.wait_for_next_agent(&shown["pid"].to_string(), SOON)?;
    let restarts = trial.agent()?.1;
    ensure!(restarts == 1, "systemd restarted it {restarts} times");
    // systemd lets more and more time pass before each restart; here the deaths have nothing to do with each other.
    trial.fleet("systemctl --user reset-failed fleet-agent.service")?;
    eprintln!("killed in {phases:?}");
    Ok(())
}

/// A page that is up only after a while: it is starting until then.
fn late_page() -> Score {
    let late = json!({
        "env": [{ "name": "START_SECONDS", "value": "15" }],
        "health": { "command": ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"], "interval": "3s", "retries": 20 },
    });
    score("sample-web:1", late)
}

#[test]
fn an_agent_killed_before_in_and_after_a_start_is_started_again_and_finishes_the_work() -> Result<()> {
    Trial::run("agent-killed", |trial| {
        // A registry that hangs holds one deployment in its pull and the next one before it.
        trial.site.registry.pause()?;
        trial.kv.desire("web", 1, web("1", json!({})))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Pulling, SOON)?;
        trial
            .kv
            .desire("stubborn", 1, score("sample-ignores-term:1", json!({})))?;
        trial.kv.wait_for_phase("stubborn", 1, &Phase::Pending, SOON)?;
        kill_in(trial, &[("web", Phase::Pulling), ("stubborn", Phase::Pending)])?;
        trial.site.registry.resume()?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        trial.kv.wait_for_phase("stubborn", 1, &Phase::Running, DEPLOY)?;

        let runs = (trial.invocation("web")?, trial.invocation("stubborn")?);
        trial.kv.desire("late", 1, late_page())?;
        trial.kv.wait_for_phase("late", 1, &Phase::Starting, SOON)?;
        kill_in(
            trial,
            &[
                ("late", Phase::Starting),
                ("web", Phase::Running),
                ("stubborn", Phase::Running),
            ],
        )?;
        trial.kv.wait_for_phase("late", 1, &Phase::Running, DEPLOY)?;
        ensure!(
            (trial.invocation("web")?, trial.invocation("stubborn")?) == runs,
            "a container went down with the agent"
        );
        Ok(())
    })
}

#[cfg(feature = "matrix")]
mod matrix {
    use super::*;

    /// An agent killed while a deployment has failed: the next one tells the same failure, disturbs nobody, and takes the next
    /// wish up.
    fn require_a_failure_that_outlives_its_agent(trial: &mut Trial) -> Result<()> {
        let runs = (trial.invocation("web")?, trial.invocation("late")?);
        trial.kv.desire("ghost", 1, score("no-such-image:1", json!({})))?;
        let told = trial.kv.wait_for_cause("ghost", "image-not-found", SOON)?;
        kill_in(
            trial,
            &[
                ("ghost", Phase::Failed),
                ("web", Phase::Running),
                ("late", Phase::Running),
            ],
        )?;
        // The new agent's own view, not what the dead one left in the bucket.
        let shown = trial.until_fleet("fleet-agent status | grep 'ghost .*Failed'", SOON)?;
        eprintln!("{shown}");
        let again = trial.kv.wait_for_cause("ghost", "image-not-found", SOON)?;
        ensure!(
            again.observed_generation == 1 && again.running.is_none() && told.running.is_none(),
            "{again:?}, before {told:?}"
        );
        ensure!(
            (trial.invocation("web")?, trial.invocation("late")?) == runs,
            "a container went down with the agent"
        );
        trial
            .kv
            .desire("ghost", 2, score("sample-ignores-term:1", json!({})))?;
        trial.kv.wait_for_phase("ghost", 2, &Phase::Running, DEPLOY)?;
        Ok(())
    }

    #[test]
    fn an_agent_killed_in_the_rarer_phases_is_started_again_and_finishes_the_work() -> Result<()> {
        Trial::run("agent-killed-rarely", |trial| {
            let stubborn = |more| score("sample-ignores-term:1", more);
            trial.kv.desire("web", 1, web("1", json!({})))?;
            trial.kv.desire("stubborn", 1, stubborn(json!({})))?;
            trial.kv.desire("late", 1, late_page())?;
            for name in ["web", "stubborn", "late"] {
                trial.kv.wait_for_phase(name, 1, &Phase::Running, DEPLOY)?;
            }
            let run = trial.invocation("stubborn")?;

            // systemd waits for its generators when it reloads: a slow one holds the agent between the old container and the new.
            let slow_generator = "/etc/systemd/user-generators/slow";
            trial.root(&format!(
                "mkdir -p /etc/systemd/user-generators && printf '#!/bin/sh\\nsleep 12\\n' > {slow_generator} && chmod 755 {slow_generator}"
            ))?;
            let changed = json!({ "env": [{ "name": "GENERATION", "value": "2" }] });
            trial.kv.desire("stubborn", 2, stubborn(changed))?;
            trial.kv.wait_for_phase("stubborn", 2, &Phase::Upgrading, SOON)?;
            kill_in(trial, &[("stubborn", Phase::Upgrading)])?;
            trial.root(&format!("rm {slow_generator}"))?;
            trial.kv.wait_for_phase("stubborn", 2, &Phase::Running, DEPLOY)?;
            ensure!(trial.invocation("stubborn")? != run);

            require_a_failure_that_outlives_its_agent(trial)?;

            trial.site.registry.stop()?;
            trial.kv.desire("web", 2, web("2", json!({})))?;
            trial.kv.wait_for_cause("web", "registry-unreachable", SOON)?;
            trial.kv.undesire("stubborn")?;
            trial
                .kv
                .wait_for_state("stubborn", "its removal", SOON, |state| {
                    state.phase == Phase::Removing
                })?;
            kill_in(trial, &[("stubborn", Phase::Removing)])?;
            trial.kv.wait_for_no_state("stubborn", DEPLOY)?;
            let left = trial.belongings("stubborn")?;
            ensure!(left.is_empty(), "left behind: {left}");
            trial.site.registry.start_again()?;
            trial.kv.wait_for_phase("web", 2, &Phase::Running, RECOVER)?;
            trial.wait_for_page("sample-web 2", SOON)?;
            Ok(())
        })
    }
}
