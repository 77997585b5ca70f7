//! A device whose clock is wrong, and a real time server that says so: the agent refuses to start with the agreed sentence, what runs
//! goes on, and once the clock is right the agent comes up by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::Rig;
use fleet_hw_tests::site::{Trial, come_back, web};
use fleet_protocol::Phase;
use fleet_testbed::ntp::Chrony;
use serde_json::json;

const DEPLOY: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(180);
const BOOT: Duration = Duration::from_secs(240);

/// The agent is down for the clock: the journal and `fleet-agent status` say `skew` in the agreed sentence.
fn require_refusal(trial: &mut Trial, skew: &str) -> Result<()> {
    let journal = "journalctl --user -b -o cat -u fleet-agent.service";
    let sentence = format!(
        "^system clock skew is {skew}; JWT validation will fail. Enable systemd-timesyncd or chrony.$"
    );
    let said = trial.until_fleet(&format!("{journal} | grep -E '{sentence}'"), SOON)?;
    eprintln!("{said}");
    let status = trial.until_fleet(
        "fleet-agent status | tee /dev/stderr | grep '^clock .*The agent does not start before'",
        SOON,
    )?;
    eprintln!("{status}");
    Ok(())
}

#[test]
fn an_agent_refuses_a_clock_that_is_wrong_and_comes_up_by_itself_once_it_is_right() -> Result<()> {
    let chrony = Chrony::start()?;
    Trial::run_with_a_way_out("clock", |trial| {
        ensure!(
            trial.root("systemctl is-enabled systemd-timesyncd.service")? == "enabled",
            "nothing on the device sets its clock"
        );
        // It would put right what is set wrong here, where this machine lets it reach a server.
        trial.root("systemctl mask --now systemd-timesyncd.service")?;
        let servers = format!("clock_servers = [\"10.0.2.2:{}\"]\n", chrony.address().port());
        trial.tune_agent(&servers)?;
        trial.kv.desire("web", 1, web("1", json!({})))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
        let run = trial.invocation("web")?;
        let right = trial.fleet("fleet-agent status | grep '^clock .*right to'")?;
        eprintln!("{right}");
        let floor = trial.root("cat /var/lib/fleet/agent/clock-floor")?;

        // It goes wrong under a running agent, which tells it and goes on.
        trial.root("date -s '-5 minutes'")?;
        let start = Instant::now();
        let health = trial.kv.wait_for_health("a skewed clock", SOON, |health| {
            health.iter().any(|cause| cause.kind == "clock-skewed")
        })?;
        eprintln!("told {:.1?} after the clock was set: {health:?}", start.elapsed());
        ensure!(
            health.iter().any(|cause| cause
                .detail
                .contains("It is behind, by the one time server that answers")),
            "{health:?}"
        );

        // The next one does not start with it.
        trial.fleet("systemctl --user restart fleet-agent.service || true")?;
        require_refusal(trial, "(4m5[5-9]|5m0[0-5])s")?;
        ensure!(trial.invocation("web")? == run, "the container was restarted");
        trial.wait_for_page("sample-web 1", SOON)?;

        trial.root("date -s '+5 minutes'")?;
        let start = Instant::now();
        trial.until_fleet("systemctl --user is-active --quiet fleet-agent.service", SOON)?;
        trial
            .kv
            .wait_for_health("a device that is well", SOON, <[_]>::is_empty)?;
        eprintln!("well {:.1?} after the clock was right", start.elapsed());
        ensure!(trial.invocation("web")? == run, "the container was restarted");

        wakes_in_the_past(trial, &floor)
    })
}

/// A board without a battery: the containers run, the agent waits for the time.
fn wakes_in_the_past(trial: &mut Trial, floor: &str) -> Result<()> {
    trial.rig.power_off(BOOT)?;
    trial.rig.set_wakes_at("1970-01-01T00:00:00");
    come_back(&mut trial.rig)?;
    let woke = trial.root("date -u +%FT%TZ")?;
    eprintln!("it wakes at {woke}; it was last known to be right at {floor}");
    ensure!(
        woke.as_str() < floor,
        "it did not wake in the past: nothing is proved"
    );
    trial.wait_for_page("sample-web 1", DEPLOY)?;
    // The agent may have come before the network, and found nobody to ask: then it told that the clock is behind, and began. The next
    // one is to ask itself.
    trial.root("until ip route | grep -q ^default; do sleep 1; done")?;
    trial.fleet(
        "rm -f $XDG_RUNTIME_DIR/fleet-agent/clock.json; systemctl --user restart fleet-agent.service || true",
    )?;
    require_refusal(trial, "[0-9]+d[0-9]{2}h")?;

    let now = true_time()?;
    trial.root(&format!("date -u -s @{now}"))?;
    let start = Instant::now();
    trial.until_fleet("fleet-agent status | grep 'connection  connected'", SOON)?;
    eprintln!("connected {:.1?} after the clock was right", start.elapsed());
    trial
        .kv
        .wait_for_health("a device that is well", SOON, <[_]>::is_empty)?;
    trial.kv.wait_for_phase("web", 1, &Phase::Running, SOON)?;
    Ok(())
}

/// Seconds since the epoch on this machine, whose time the server tells.
fn true_time() -> Result<u64> {
    let file = tempfile::tempfile().context("a file")?;
    let written = file.metadata()?.modified()?;
    Ok(written.duration_since(std::time::UNIX_EPOCH)?.as_secs())
}
