//! `deploy-latency`: from the put of a desired state to `Running` seen in KV, against `systemctl --user start` of the same Quadlet.
//!
//! Both start a container whose image is on the device. Ours includes the way over NATS, the unit file, the reload of systemd, the
//! start and the report; the baseline is the start alone, timed inside the device, with file and reload done before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fleet_protocol::Phase;
use fleet_testbed::interrupt;
use serde_json::json;

use super::scores::web;
use super::{BenchLine, Goal, Measured, median, samples_folder, write_samples};
use crate::qemu::QemuRig;
use crate::rig::Rig;
use crate::site::{FleetKv, Site};

const RUNNING: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(120);
const QUADLET: &str = "/var/lib/fleet/.config/containers/systemd";

/// Measures `rounds` pairs, ours and the baseline by turns.
pub fn deploy_latency(rounds: u32) -> Result<BenchLine> {
    let site = Site::open()?;
    let kv = site.kv()?;
    let mut rig = site.device_running("bench-deploy")?;
    write_the_same_by_hand(&kv, &mut rig)?;
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        interrupt::check()?;
        ours.push(one_deployment(&kv, round)?);
        baseline.push(one_start(&mut rig)?);
        eprintln!(
            "round {round} of {rounds}: {:.0} ms, by hand {:.0} ms",
            ours[ours.len() - 1],
            baseline[baseline.len() - 1]
        );
    }
    let samples = write_samples(&samples_folder()?, "deploy-latency", &ours, &baseline)?;
    let measured = Measured {
        value: median(&ours)?,
        baseline: Some(median(&baseline)?),
        unit: "ms",
    };
    Ok(BenchLine::judge(
        "deploy-latency",
        json!({ "rounds": rounds }),
        measured,
        Goal::RatioAtMost(1.25),
        samples,
    ))
}

/// Deploys once, so that the image is on the device, and keeps a copy of the agent's own unit under another name.
fn write_the_same_by_hand(kv: &FleetKv, rig: &mut QemuRig) -> Result<()> {
    kv.desire("bench", 1, web(false))?;
    kv.wait_for_phase("bench", 1, &Phase::Running, RUNNING)?;
    let copy = format!(
        "sed s/fleet-bench/by-hand/ {QUADLET}/fleet-bench.container > {QUADLET}/by-hand.container && \
         systemctl --user daemon-reload && systemctl --user cat by-hand.service > /dev/null"
    );
    let output = rig.run_as("fleet", &copy, COMMAND)?;
    anyhow::ensure!(
        output.success(),
        "cannot write the unit by hand: {}",
        output.said()
    );
    remove(kv)
}

fn remove(kv: &FleetKv) -> Result<()> {
    kv.undesire("bench")?;
    Ok(kv.wait_for_no_state("bench", RUNNING)?)
}

/// Milliseconds from put to `Running`.
fn one_deployment(kv: &FleetKv, round: u32) -> Result<f64> {
    let generation = u64::from(round) + 1;
    let start = Instant::now();
    kv.desire("bench", generation, web(false))?;
    kv.wait_for_phase("bench", generation, &Phase::Running, RUNNING)?;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    remove(kv)?;
    Ok(took)
}

/// Milliseconds of the start alone, timed inside the device.
fn one_start(rig: &mut QemuRig) -> Result<f64> {
    let script = "before=$(date +%s%N); systemctl --user start by-hand.service || exit 1; after=$(date +%s%N); \
                  systemctl --user stop by-hand.service; echo $((after - before))";
    let output = rig.run_as("fleet", script, COMMAND)?;
    anyhow::ensure!(output.success(), "the start by hand failed: {}", output.said());
    let nanos: f64 = output
        .text()
        .parse()
        .with_context(|| format!("{:?} is no number", output.text()))?;
    Ok(nanos / 1e6)
}
