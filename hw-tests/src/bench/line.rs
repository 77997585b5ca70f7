//! The line that each bench ends on, and the file with its samples.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fleet_testbed::files;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What has to hold for a bench to be met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// `value / baseline` is at most this.
    RatioAtMost(f64),
    /// `value` is at most this.
    ValueAtMost(f64),
}

/// One line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchLine {
    /// The bench's name.
    pub bench: String,
    /// What it was run with.
    pub params: Value,
    /// What was measured.
    pub value: f64,
    /// The unit of `value` and `baseline`.
    pub unit: &'static str,
    /// The same without us, measured in the same run; none where there is nothing to compare with.
    pub baseline: Option<f64>,
    /// `value / baseline`.
    pub ratio: Option<f64>,
    /// The goal in words.
    pub goal: String,
    /// Whether the goal is met.
    pub met: bool,
    /// The file with every sample.
    pub samples: PathBuf,
    /// Further figures of the same run.
    #[serde(flatten)]
    pub further: Map<String, Value>,
}

impl BenchLine {
    /// Judges a measurement by its goal. A goal about the ratio is not met without a baseline.
    pub fn judge(name: &str, params: Value, measured: Measured, goal: Goal, samples: PathBuf) -> Self {
        let ratio = measured.baseline.map(|baseline| measured.value / baseline);
        let (text, met) = match goal {
            Goal::RatioAtMost(most) => (
                format!("ratio ≤ {most}"),
                ratio.is_some_and(|ratio| ratio <= most),
            ),
            Goal::ValueAtMost(most) => (
                format!("value ≤ {most} {}", measured.unit),
                measured.value <= most,
            ),
        };
        Self {
            bench: name.to_owned(),
            params,
            value: measured.value,
            unit: measured.unit,
            baseline: measured.baseline,
            ratio,
            goal: text,
            met,
            samples,
            further: Map::new(),
        }
    }

    /// Adds a further figure; one that has a limit of its own must keep it too for the goal to be met.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64, limit: Option<Limit>) -> Self {
        self.further.insert(name.to_owned(), value.into());
        if let Some(limit) = limit {
            let (text, kept) = match limit {
                Limit::Below(most) => (format!("{name} < {most}"), value < most),
                Limit::Exactly(wanted) => (
                    format!("{name} = {wanted}"),
                    (value - wanted).abs() < f64::EPSILON,
                ),
            };
            self.goal = format!("{}, {text}", self.goal);
            self.met &= kept;
        }
        self
    }
}

/// What a further figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Less than this.
    Below(f64),
    /// Just this.
    Exactly(f64),
}

/// The figures of a bench.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// What was measured.
    pub value: f64,
    /// The same without us.
    pub baseline: Option<f64>,
    /// The unit of both.
    pub unit: &'static str,
}

/// The value in the middle; the mean of the two in the middle when their number is even.
pub fn median(samples: &[f64]) -> Result<f64> {
    ensure!(!samples.is_empty(), "no sample was taken");
    ensure!(
        samples.iter().all(|sample| sample.is_finite()),
        "a sample is not a number"
    );
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    Ok(if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    })
}

/// Writes every sample to `<folder>/<bench>.json` and gives that path.
pub fn write_samples(folder: &Path, bench: &str, value: &[f64], baseline: &[f64]) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("{bench}.json"));
    let text = format!(
        "{:#}\n",
        json!({ "bench": bench, "value": value, "baseline": baseline })
    );
    files::write_atomically(&path, 0o644, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(value: f64, baseline: Option<f64>, goal: Goal) -> BenchLine {
        BenchLine::judge(
            "b",
            json!({}),
            Measured {
                value,
                baseline,
                unit: "ms",
            },
            goal,
            PathBuf::from("/s"),
        )
    }

    #[test]
    fn a_ratio_is_met_up_to_its_limit_and_never_without_a_baseline() {
        let goal = Goal::RatioAtMost(1.25);
        assert!(judged(125.0, Some(100.0), goal).met);
        assert!(!judged(126.0, Some(100.0), goal).met);
        assert!(!judged(1.0, None, goal).met);
    }

    #[test]
    fn a_value_is_met_up_to_its_limit() {
        assert!(judged(6.0, None, Goal::ValueAtMost(6.0)).met);
        let missed = judged(6.1, None, Goal::ValueAtMost(6.0));
        assert!(!missed.met);
        assert_eq!(missed.goal, "value ≤ 6 ms");
    }

    #[test]
    fn a_further_figure_beyond_its_limit_misses_the_goal() {
        let line = judged(5.0, None, Goal::ValueAtMost(6.0));
        assert!(
            line.clone()
                .with("cpu_percent", 0.09, Some(Limit::Below(0.1)))
                .met
        );
        assert!(line.clone().with("binary_bytes", 4e6, None).met);
        let missed = line.with("disk_bytes", 4096.0, Some(Limit::Exactly(0.0)));
        assert!(!missed.met);
        assert_eq!(missed.goal, "value ≤ 6 ms, disk_bytes = 0");
    }

    #[test]
    fn the_median_needs_samples_that_are_numbers() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).expect("three samples"), 2.0);
        assert_eq!(median(&[4.0, 1.0]).expect("two samples"), 2.5);
        assert!(median(&[]).is_err());
        assert!(median(&[1.0, f64::NAN]).is_err());
    }

    #[test]
    fn the_samples_file_holds_every_sample() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = write_samples(&folder.path().join("new"), "b", &[1.5, 2.0], &[1.0]).expect("written");
        let read: Value = serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON");
        assert_eq!(
            read,
            json!({ "bench": "b", "value": [1.5, 2.0], "baseline": [1.0] })
        );
    }
}
