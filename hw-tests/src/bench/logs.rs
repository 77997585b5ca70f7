//! `log-latency`: 200 lines by NATS, asked for on this machine, against `podman logs --tail 200` timed inside the device; three devices
//! at the same time, each with a deployment that has said a thousand lines.
//!
//! The value is what the way over NATS adds to a pair of measurements, at the 99th percentile of all pairs; below zero the agent was
//! quicker than podman, which starts more to say the same. The ratio is that of the medians.
//!
//! Each device has services of its own, since all are restored from one that was enrolled once and so have one name.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use fleet_protocol::Phase;
use fleet_protocol::logs::LogRequest;
use fleet_testbed::interrupt;
use serde_json::json;

use super::scores::talker;
use super::{BenchLine, Goal, Measured, median, samples_folder, write_samples};
use crate::qemu::QemuRig;
use crate::rig::Rig;
use crate::site::{LogDesk, Site};

const RUNNING: Duration = Duration::from_secs(240);
const COMMAND: Duration = Duration::from_secs(120);
const DEVICES: usize = 3;
const LINES: u32 = 200;
/// Lines that each deployment has said.
const SAID: u32 = 1000;

/// A device with services of its own. Order matters to Drop: the device goes before its services.
struct Bed {
    rig: QemuRig,
    desk: LogDesk,
    _site: Site,
}

impl Bed {
    fn new(number: usize) -> Result<Self> {
        let site = Site::open()?;
        let kv = site.kv()?;
        let rig = site.device_running(&format!("bench-logs-{number}"))?;
        kv.desire("bench", 1, talker(SAID))?;
        kv.wait_for_phase("bench", 1, &Phase::Running, RUNNING)?;
        let desk = LogDesk::connect(&site.nats, &site.keys.tester)?;
        let mut bed = Self {
            rig,
            desk,
            _site: site,
        };
        // Until the last line is in the journal, and so that neither side is measured cold.
        let said =
            format!("until podman logs --tail 1 fleet-bench | grep -q 'line {SAID}'; do sleep 1; done");
        bed.in_device(&said)?;
        bed.pair()?;
        Ok(bed)
    }

    fn in_device(&mut self, script: &str) -> Result<String> {
        let output = self.rig.run_as("fleet", script, COMMAND)?;
        ensure!(output.success(), "`{script}` failed: {}", output.said());
        Ok(output.text())
    }

    /// Milliseconds by NATS, and by hand.
    fn pair(&mut self) -> Result<(f64, f64)> {
        let request = LogRequest {
            lines: LINES,
            ..LogRequest::default()
        };
        let (answer, took) = self.desk.ask("bench", &request);
        let chunk = answer.chunk().map_err(|other| anyhow!("no lines: {other:?}"))?;
        ensure!(
            chunk.lines.len() == LINES as usize && chunk.truncated,
            "{} lines came",
            chunk.lines.len()
        );
        let script = format!(
            "before=$(date +%s%N); lines=$(podman logs --tail {LINES} fleet-bench | wc -l) || exit 1; after=$(date +%s%N); \
             [ \"$lines\" = {LINES} ] || exit 1; echo $((after - before))"
        );
        let nanos = self.in_device(&script)?;
        let nanos: f64 = nanos.parse().with_context(|| format!("{nanos:?} is no number"))?;
        Ok((took.as_secs_f64() * 1000.0, nanos / 1e6))
    }

    fn measure(&mut self, rounds: u32) -> Result<Vec<(f64, f64)>> {
        (0..rounds)
            .map(|_| {
                interrupt::check()?;
                self.pair()
            })
            .collect()
    }
}

/// Measures `rounds` pairs on each of three devices.
pub fn log_latency(rounds: u32) -> Result<BenchLine> {
    let mut beds = (1..=DEVICES).map(Bed::new).collect::<Result<Vec<_>>>()?;
    let pairs = std::thread::scope(|scope| {
        let at_work: Vec<_> = beds
            .iter_mut()
            .map(|bed| scope.spawn(move || bed.measure(rounds)))
            .collect();
        let mut pairs = Vec::new();
        for work in at_work {
            pairs.extend(work.join().map_err(|_| anyhow!("a measurement panicked"))??);
        }
        Ok::<_, anyhow::Error>(pairs)
    })?;
    let (ours, baseline): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let added: Vec<f64> = pairs.iter().map(|(ours, baseline)| ours - baseline).collect();
    let samples = write_samples(&samples_folder()?, "log-latency", &ours, &baseline)?;
    let measured = Measured {
        value: percentile(&added, 99)?,
        baseline: Some(median(&baseline)?),
        unit: "ms",
    };
    let params = json!({ "rounds": rounds, "devices": DEVICES, "lines": LINES });
    let mut line = BenchLine::judge("log-latency", params, measured, Goal::ValueAtMost(50.0), samples)
        .with("median_ms", median(&ours)?, None)
        .with("p99_ms", percentile(&ours, 99)?, None)
        .with("baseline_p99_ms", percentile(&baseline, 99)?, None);
    line.ratio = Some(median(&ours)? / median(&baseline)?);
    Ok(line)
}

/// The smallest sample that so many in a hundred do not exceed.
fn percentile(samples: &[f64], percent: usize) -> Result<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().context("no sample was taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample_and_of_few_samples_the_largest() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&samples, 99).expect("samples"), 198.0);
        assert_eq!(percentile(&samples[..10], 99).expect("samples"), 200.0);
        assert!(percentile(&[], 99).is_err());
    }
}
