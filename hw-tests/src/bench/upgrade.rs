//! `upgrade-downtime`: from the last answer of the old container to the first one of the new, against the same by hand.
//!
//! By hand means `systemctl --user stop` of one prepared unit, then `start` of another that has the next image; both are copies of the
//! agent's own units under other names and on another port, with their images on the device. Both sides are watched from this machine
//! in the same way, by turns, on the same device.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_protocol::Phase;
use fleet_testbed::interrupt;
use fleet_testbed::sample::WEB_PORT;
use serde_json::json;

use super::{BenchLine, Goal, Measured, median, samples_folder, write_samples};
use crate::qemu::{Forward, QemuRig, QemuSettings};
use crate::rig::Rig;
use crate::site::{FleetKv, PageWatch, Site, Version};

const RUNNING: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(120);
/// What is by hand serves here, beside the deployment.
const HAND_PORT: u16 = 8081;
const QUADLET: &str = "/var/lib/fleet/.config/containers/systemd";

struct Bench {
    rig: QemuRig,
    kv: FleetKv,
    versions: [Version; 2],
    generation: u64,
    // Last, since what is before it uses it.
    _site: Site,
}

/// Measures `rounds` pairs, ours and by hand by turns.
pub fn upgrade_downtime(rounds: u32) -> Result<BenchLine> {
    let mut bench = Bench::prepare()?;
    let (mut ours, mut baseline, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        interrupt::check()?;
        // The second version stands at the beginning of the first round.
        let (from, to) = if round % 2 == 1 { (1, 0) } else { (0, 1) };
        let (gap, down) = bench.upgrade(from, to)?;
        ours.push(gap);
        told.extend(down);
        baseline.push(bench.by_hand(from, to)?);
        eprintln!(
            "round {round} of {rounds}: {gap:.0} ms (told: {}), by hand {:.0} ms",
            down.map_or_else(|| "nothing".to_owned(), |down| format!("{down:.0} ms")),
            baseline[baseline.len() - 1]
        );
    }
    let samples = write_samples(&samples_folder()?, "upgrade-downtime", &ours, &baseline)?;
    let measured = Measured {
        value: median(&ours)?,
        baseline: Some(median(&baseline)?),
        unit: "ms",
    };
    let line = BenchLine::judge(
        "upgrade-downtime",
        json!({ "rounds": rounds }),
        measured,
        Goal::RatioAtMost(1.2),
        samples,
    );
    Ok(if told.is_empty() {
        line
    } else {
        line.with("told_down_ms", median(&told)?, None)
    })
}

impl Bench {
    /// The second version runs as a deployment and by hand; the units of both versions are there by hand.
    fn prepare() -> Result<Self> {
        let site = Site::open()?;
        let kv = site.kv()?;
        let forwards = [WEB_PORT, HAND_PORT]
            .map(|device_port| Forward {
                device_port,
                host_port: None,
            })
            .to_vec();
        let settings = QemuSettings {
            forwards,
            ..site.settings("bench-upgrade")
        };
        let rig = site.prepared()?.restore(settings)?;
        let versions = [Version::page("1")?, Version::page("2")?];
        let mut bench = Self {
            rig,
            kv,
            versions,
            generation: 0,
            _site: site,
        };
        for index in 0..bench.versions.len() {
            let version = &bench.versions[index];
            let registry = &bench._site.registry;
            registry.push(&version.image, version.repository(), &version.tag)?;
            bench.desire(index)?;
            let copy = format!(
                "sed -e s/fleet-bench/by-hand-{index}/ -e s/PublishPort={WEB_PORT}:/PublishPort={HAND_PORT}:/ \
                 {QUADLET}/fleet-bench.container > {QUADLET}/by-hand-{index}.container && grep -q {HAND_PORT}: {QUADLET}/by-hand-{index}.container"
            );
            bench.fleet(&copy)?;
        }
        bench.fleet("systemctl --user daemon-reload && systemctl --user start by-hand-1.service")?;
        Ok(bench)
    }

    fn desire(&mut self, index: usize) -> Result<Option<f64>> {
        self.generation += 1;
        self.kv
            .desire("bench", self.generation, self.versions[index].score(json!({})))?;
        let state = self
            .kv
            .wait_for_phase("bench", self.generation, &Phase::Running, RUNNING)?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a start")]
        Ok(state.cutover.map(|cutover| cutover.down_millis as f64))
    }

    /// Milliseconds without an answer, and what the state says of it.
    fn upgrade(&mut self, from: usize, to: usize) -> Result<(f64, Option<f64>)> {
        let watch = self.watch(WEB_PORT, from)?;
        let told = self.desire(to)?;
        Ok((self.gap(&watch, from, to)?, told))
    }

    /// Milliseconds without an answer.
    fn by_hand(&mut self, from: usize, to: usize) -> Result<f64> {
        let watch = self.watch(HAND_PORT, from)?;
        self.fleet(&format!(
            "systemctl --user stop by-hand-{from}.service && systemctl --user start by-hand-{to}.service"
        ))?;
        self.gap(&watch, from, to)
    }

    /// A watch that has seen the version that is about to be replaced.
    fn watch(&self, port: u16, version: usize) -> Result<PageWatch> {
        let address: SocketAddr = self.rig.host_address(port).context("the port was asked for")?;
        let watch = PageWatch::begin(address);
        let line = self.versions[version].line();
        until(|| {
            watch
                .seen()
                .iter()
                .any(|seen| seen.text.contains(&line) && seen.answers > 5)
        })
        .with_context(|| format!("{line:?} on {address}: {:?}", watch.seen()))?;
        Ok(watch)
    }

    fn gap(&self, watch: &PageWatch, from: usize, to: usize) -> Result<f64> {
        let (from, to) = (self.versions[from].line(), self.versions[to].line());
        until(|| watch.gap(&from, &to).is_some()).with_context(|| format!("{to:?} after {from:?}"))?;
        let gap = watch.gap(&from, &to).context("it was just seen")?;
        Ok(gap.as_secs_f64() * 1000.0)
    }

    fn fleet(&mut self, command: &str) -> Result<()> {
        let output = self.rig.run_as("fleet", command, COMMAND)?;
        ensure!(output.success(), "`{command}`: {}", output.said());
        Ok(())
    }
}

fn until(mut condition: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + RUNNING;
    while !condition() {
        interrupt::check()?;
        ensure!(Instant::now() < end, "not within {} s", RUNNING.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
