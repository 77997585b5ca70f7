//! `boot-to-running`: from power on to the container's first answer, against the end of the same boot: the line in which systemd says
//! that the multi-user target is reached, which is when a login prompt comes.
//!
//! The device was enrolled and had its deployment before; NATS is there, but nothing of the way to the container needs it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_protocol::Phase;
use fleet_testbed::interrupt;
use serde_json::json;

use super::scores::{WEB_PORT, web};
use super::{BenchLine, Goal, Measured, median, samples_folder, write_samples};
use crate::qemu::{Forward, QemuSettings};
use crate::rig::Rig;
use crate::site::Site;

const RUNNING: Duration = Duration::from_secs(180);
const BOOT: Duration = Duration::from_secs(300);
const OFF: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// Boots `rounds` times.
pub fn boot_to_running(rounds: u32) -> Result<BenchLine> {
    let site = Site::open()?;
    let kv = site.kv()?;
    let forward = Forward {
        device_port: WEB_PORT,
        host_port: None,
    };
    let settings = QemuSettings {
        forwards: vec![forward],
        ..site.settings("bench-boot")
    };
    let mut rig = site.prepared()?.restore(settings)?;
    kv.desire("bench", 1, web(true))?;
    kv.wait_for_phase("bench", 1, &Phase::Running, RUNNING)?;
    let page = rig.host_address(WEB_PORT).context("the port was asked for")?;

    let (mut answers, mut logins) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        interrupt::check()?;
        rig.power_off(OFF)?;
        let start = Instant::now();
        rig.power_on()?;
        let (login, answer) = std::thread::scope(|scope| {
            let rig = &rig;
            let login = scope.spawn(move || {
                rig.console()
                    .wait_for("multi-user.target", BOOT)
                    .map(|_| start.elapsed())
            });
            let answer = first_answer(page, start);
            (login.join(), answer)
        });
        let login = login.map_err(|_| anyhow::anyhow!("the watch of the console panicked"))??;
        answers.push(answer?.as_secs_f64());
        logins.push(login.as_secs_f64());
        eprintln!(
            "round {round} of {rounds}: answer after {:.1} s, login after {:.1} s",
            answers[answers.len() - 1],
            logins[logins.len() - 1]
        );
    }
    let samples = write_samples(&samples_folder()?, "boot-to-running", &answers, &logins)?;
    let measured = Measured {
        value: median(&answers)?,
        baseline: Some(median(&logins)?),
        unit: "s",
    };
    Ok(BenchLine::judge(
        "boot-to-running",
        json!({ "rounds": rounds }),
        measured,
        Goal::RatioAtMost(1.5),
        samples,
    ))
}

/// When the page was first served. The forward accepts connections while nothing listens in the device, so only an answer counts.
fn first_answer(page: SocketAddr, start: Instant) -> Result<Duration> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(2)))
        .build()
        .into();
    let url = format!("http://{page}/");
    while start.elapsed() < BOOT {
        interrupt::check()?;
        if agent.get(&url).call().is_ok() {
            return Ok(start.elapsed());
        }
        std::thread::sleep(LOOK);
    }
    ensure!(
        start.elapsed() < BOOT,
        "{url} did not answer within {} s",
        BOOT.as_secs()
    );
    Ok(start.elapsed())
}
