//! `agent-footprint`: memory, processor time and disk writes of an agent that has nothing to do but one running deployment.
//!
//! Memory is the proportional set size at the end, from `smaps_rollup`; its baseline is that of the user's own systemd in the same
//! device. Disk writes are the kernel's count of what the process caused (`write_bytes` of `/proc/<pid>/io`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_protocol::Phase;
use fleet_testbed::interrupt;
use fleet_testbed::progress::Progress;
use serde_json::json;

use super::scores::web;
use super::{BenchLine, Goal, Limit, Measured, samples_folder, write_samples};
use crate::qemu::QemuRig;
use crate::rig::Rig;
use crate::site::Site;

const RUNNING: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(30);
const TICKS_PER_SECOND: f64 = 100.0;
/// The deployment's own last words: reports, and pages that are given back.
const SETTLE: Duration = Duration::from_secs(30);
const BETWEEN: Duration = Duration::from_secs(60);
/// One line: pid, PSS in KiB, CPU ticks, bytes written, PSS of the user's systemd in KiB.
const LOOK: &str = r#"
set -e
pid=$(systemctl --user -M fleet@ show -P MainPID fleet-agent.service)
manager=$(systemctl show -P MainPID user@$(id -u fleet).service)
pss() { awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup"; }
ticks=$(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')
written=$(awk '/^write_bytes:/ { print $2 }' "/proc/$pid/io")
echo "$pid $(pss "$pid") $ticks $written $(pss "$manager")"
"#;

#[derive(Debug, Clone, Copy)]
struct Look {
    pid: u32,
    pss_kib: f64,
    ticks: f64,
    written: f64,
    manager_pss_kib: f64,
}

/// Watches the agent for `minutes`.
pub fn agent_footprint(minutes: u32) -> Result<BenchLine> {
    let site = Site::open()?;
    let kv = site.kv()?;
    let mut rig = site.device_running("bench-footprint")?;
    // A fresh process, as after a boot, and not one that was frozen and thawed.
    rig.run_ok("systemctl --user -M fleet@ restart fleet-agent.service", COMMAND)?;
    kv.desire("bench", 1, web(false))?;
    kv.wait_for_phase("bench", 1, &Phase::Running, RUNNING)?;
    wait(SETTLE, "settling")?;

    let first = look(&mut rig)?;
    let start = Instant::now();
    let mut looks = vec![first];
    for minute in 1..=minutes {
        wait(BETWEEN, &format!("minute {minute} of {minutes}"))?;
        looks.push(look(&mut rig)?);
    }
    let seconds = start.elapsed().as_secs_f64();
    let last = looks[looks.len() - 1];
    ensure!(last.pid == first.pid, "the agent was restarted in between");

    let binary: f64 = rig
        .run_ok("stat -L -c %s /usr/local/bin/fleet-agent", COMMAND)?
        .parse()?;
    let pss: Vec<f64> = looks.iter().map(|look| look.pss_kib / 1024.0).collect();
    let manager: Vec<f64> = looks.iter().map(|look| look.manager_pss_kib / 1024.0).collect();
    let samples = write_samples(&samples_folder()?, "agent-footprint", &pss, &manager)?;
    let measured = Measured {
        value: last.pss_kib / 1024.0,
        baseline: Some(last.manager_pss_kib / 1024.0),
        unit: "MiB",
    };
    let cpu = (last.ticks - first.ticks) / TICKS_PER_SECOND / seconds * 100.0;
    let params = json!({ "minutes": minutes, "deployments": 1, "baseline": "systemd --user" });
    let line = BenchLine::judge(
        "agent-footprint",
        params,
        measured,
        Goal::ValueAtMost(6.0),
        samples,
    )
    .with("cpu_percent", cpu, Some(Limit::Below(0.1)))
    .with(
        "disk_bytes",
        last.written - first.written,
        Some(Limit::Exactly(0.0)),
    )
    .with("binary_bytes", binary, None);
    Ok(line)
}

fn look(rig: &mut QemuRig) -> Result<Look> {
    let text = rig.run_ok(LOOK, COMMAND)?;
    let numbers: Vec<f64> = text
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{text:?}"))?;
    let [pid, pss_kib, ticks, written, manager_pss_kib] = numbers[..] else {
        anyhow::bail!("{text:?} is not five numbers");
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a process id is a small whole number"
    )]
    let pid = pid as u32;
    Ok(Look {
        pid,
        pss_kib,
        ticks,
        written,
        manager_pss_kib,
    })
}

/// Idle time is what is measured here: nothing to wait for but the clock.
fn wait(time: Duration, title: &str) -> Result<()> {
    let mut progress = Progress::start(title);
    let start = Instant::now();
    while start.elapsed() < time {
        interrupt::check()?;
        progress.tick(String::new);
        std::thread::sleep(Duration::from_millis(200).min(time));
    }
    progress.finish("done");
    Ok(())
}
