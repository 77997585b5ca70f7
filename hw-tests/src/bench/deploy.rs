//! `deploy-latency`: from the put of a desired state to `Running` seen in KV, against `systemctl --user start` of the same Quadlet.
//!
//! Both start a container whose image is on the device. Ours includes the way over NATS, the unit file, the reload of systemd, the
//! start and the report; the baseline is the start alone, timed inside the device, with file and reload done before.
//!
//! It is measured with more and more other deployments on the device, which run and do not change: a line for each number of them, and
//! the last one says how both sides grew from the first.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_protocol::Phase;
use fleet_testbed::interrupt;
use serde_json::json;

use super::scores::{bystander, web};
use super::{BenchLine, Goal, Limit, Measured, median, samples_folder, write_samples};
use crate::qemu::QemuRig;
use crate::rig::Rig;
use crate::site::{FleetKv, Site};

const RUNNING: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(120);
const QUADLET: &str = "/var/lib/fleet/.config/containers/systemd";
/// What a deployment may cost more on a device that has many: the noise of two medians.
const GROWTH: f64 = 1.25;

/// The medians of one number of bystanders, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Medians {
    ours: f64,
    by_hand: f64,
    reload: f64,
}

/// Measures `rounds` pairs, ours and the baseline by turns, beside each of these numbers of other deployments (ascending).
pub fn deploy_latency(rounds: u32, beside: &[u32]) -> Result<Vec<BenchLine>> {
    ensure!(
        beside.is_sorted_by(|a, b| a < b) && !beside.is_empty(),
        "the numbers of deployments must grow"
    );
    let site = Site::open()?;
    let kv = site.kv()?;
    let mut rig = site.device_running("bench-deploy")?;
    write_the_same_by_hand(&kv, &mut rig)?;
    let mut generation = 1;
    let mut lines: Vec<BenchLine> = Vec::new();
    let mut first: Option<Medians> = None;
    for &count in beside {
        fill_up(&kv, count)?;
        let (line, medians) = beside_others(&kv, &mut rig, (rounds, count), &mut generation)?;
        let line = match first {
            Some(first) => line
                .with("growth", medians.ours / first.ours, Some(Limit::Below(GROWTH)))
                .with("growth_by_hand", medians.by_hand / first.by_hand, None)
                .with("growth_of_reload", medians.reload / first.reload, None),
            None => line,
        };
        first = first.or(Some(medians));
        lines.push(line);
    }
    Ok(lines)
}

fn beside_others(
    kv: &FleetKv,
    rig: &mut QemuRig,
    (rounds, count): (u32, u32),
    generation: &mut u64,
) -> Result<(BenchLine, Medians)> {
    let (mut ours, mut baseline, mut reloads) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        interrupt::check()?;
        *generation += 1;
        ours.push(one_deployment(kv, *generation)?);
        baseline.push(timed(rig, "start by-hand.service", "stop by-hand.service")?);
        reloads.push(timed(rig, "daemon-reload", "is-system-running --quiet --wait")?);
        let at = ours.len() - 1;
        eprintln!(
            "beside {count}, round {round} of {rounds}: {:.0} ms, by hand {:.0} ms, a reload of systemd {:.0} ms",
            ours[at], baseline[at], reloads[at]
        );
    }
    let name = format!("deploy-latency-{count}");
    let samples = write_samples(&samples_folder()?, &name, &ours, &baseline)?;
    let medians = Medians {
        ours: median(&ours)?,
        by_hand: median(&baseline)?,
        reload: median(&reloads)?,
    };
    let measured = Measured {
        value: medians.ours,
        baseline: Some(medians.by_hand),
        unit: "ms",
    };
    let params = json!({ "rounds": rounds, "deployments": count });
    let line = BenchLine::judge(
        "deploy-latency",
        params,
        measured,
        Goal::RatioAtMost(1.25),
        samples,
    )
    .with("reload_ms", medians.reload, None);
    Ok((line, medians))
}

/// Sees to it that `count` deployments run that nobody changes afterwards.
fn fill_up(kv: &FleetKv, count: u32) -> Result<()> {
    let names: Vec<_> = (1..=count).map(|number| format!("bystander-{number}")).collect();
    for name in &names {
        kv.desire(name, 1, bystander())?;
    }
    for name in &names {
        kv.wait_for_phase(name, 1, &Phase::Running, RUNNING * 4)?;
    }
    Ok(())
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
fn one_deployment(kv: &FleetKv, generation: u64) -> Result<f64> {
    let start = Instant::now();
    kv.desire("bench", generation, web(false))?;
    kv.wait_for_phase("bench", generation, &Phase::Running, RUNNING)?;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    remove(kv)?;
    Ok(took)
}

/// Milliseconds of one order to the user's systemd, timed inside the device; `after` is not timed.
fn timed(rig: &mut QemuRig, order: &str, after: &str) -> Result<f64> {
    let script = format!(
        "before=$(date +%s%N); systemctl --user {order} || exit 1; after=$(date +%s%N); \
         systemctl --user {after}; echo $((after - before))"
    );
    let output = rig.run_as("fleet", &script, COMMAND)?;
    ensure!(output.success(), "`{order}` by hand failed: {}", output.said());
    let text = output.text();
    let nanos: f64 = text
        .lines()
        .last()
        .unwrap_or_default()
        .parse()
        .with_context(|| format!("{text:?} is no number"))?;
    Ok(nanos / 1e6)
}
