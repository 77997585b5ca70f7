//! The tests, tier by tier.

mod targets;

use anyhow::{Context, Result, bail};

use crate::image::{self, Profile};
use crate::setup;
use crate::setup::needs::Purpose;
use crate::stages::Stages;
use crate::tier::Tier;
use crate::workspace::Workspace;

/// Names an image that virtual devices run instead of that of this checkout.
const IMAGE_VARIABLE: &str = "FLEET_DEVICE_IMAGE";

/// Which tests of a tier.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only of these packages; of all when empty.
    pub packages: Vec<String>,
    /// Handed on to the runner: names of tests, or its own flags.
    pub runner: Vec<String>,
}

impl Scope {
    fn packages(&self) -> Vec<&str> {
        if self.packages.is_empty() {
            return vec!["--workspace"];
        }
        self.packages
            .iter()
            .flat_map(|package| ["--package", package])
            .collect()
    }

    fn covers(&self, package: &str) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|one| one == package)
    }
}

/// What runs the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// A process for each test, with a time limit.
    Nextest,
    /// What comes with Rust.
    CargoTest,
}

/// Sets up what these tiers need and runs them; a tier that failed doesn't keep the next from running.
pub fn run(workspace: &Workspace, tiers: &[Tier], scope: &Scope) -> Result<()> {
    let purposes: Vec<Purpose> = tiers.iter().copied().map(Purpose::from).collect();
    setup::ensure(workspace, &purposes)?;
    let mut stages = Stages::default();
    for tier in tiers {
        run_tier(workspace, &mut stages, *tier, scope)?;
    }
    if tiers.len() > 1 {
        println!("{}", stages.table());
    }
    stages.verdict()
}

/// Runs one tier, whose setup was done, as stages; virtual devices get the image of this checkout first.
pub fn run_tier(workspace: &Workspace, stages: &mut Stages, tier: Tier, scope: &Scope) -> Result<()> {
    let has_tests = tier == Tier::Unit || targets::selection(&targets::list(workspace)?, tier, scope).is_ok();
    if tier == Tier::Vm && has_tests && std::env::var_os(IMAGE_VARIABLE).is_none() {
        let image = image::in_cache(Profile::Amd64Vm)?;
        if !stages.run("image", || image::build(workspace, Profile::Amd64Vm, &image))? {
            return Ok(());
        }
    }
    stages
        .run(&format!("test · {tier}"), || run_tests(workspace, tier, scope))
        .map(drop)
}

/// A tier without a test is an error: it can't have passed.
fn run_tests(workspace: &Workspace, tier: Tier, scope: &Scope) -> Result<()> {
    let selection = match tier {
        Tier::Unit => ["--lib", "--bins"].map(str::to_owned).to_vec(),
        Tier::Service | Tier::Vm | Tier::Browser => {
            targets::selection(&targets::list(workspace)?, tier, scope)?
        }
    };
    let runner = runner(workspace)?;
    let in_ci = std::env::var_os("CI").is_some();
    workspace
        .cargo([])
        .args(arguments(runner, tier, &selection, scope, in_ci))
        .run()?;
    if tier == Tier::Unit && scope.runner.is_empty() {
        // nextest doesn't run the examples in the documentation.
        let examples = workspace
            .cargo(["test", "--locked", "--doc", "--quiet"])
            .args(scope.packages());
        examples.run().context("examples in the docs")?;
    }
    Ok(())
}

fn runner(workspace: &Workspace) -> Result<Runner> {
    if workspace
        .cargo(["nextest", "--version"])
        .output()?
        .status
        .success()
    {
        eprintln!("runner: cargo-nextest");
        return Ok(Runner::Nextest);
    }
    eprintln!(
        "!! runner: cargo test, since cargo-nextest is NOT installed: a test that hangs will hang this run"
    );
    Ok(Runner::CargoTest)
}

fn arguments(runner: Runner, tier: Tier, selection: &[String], scope: &Scope, in_ci: bool) -> Vec<String> {
    let start: &[&str] = match runner {
        Runner::Nextest if in_ci => &["nextest", "run", "--locked", "--profile", "ci"],
        Runner::Nextest => &["nextest", "run", "--locked"],
        Runner::CargoTest => &["test", "--locked", "--no-fail-fast"],
    };
    let mut all: Vec<String> = start
        .iter()
        .copied()
        .chain(scope.packages())
        .map(str::to_owned)
        .collect();
    all.extend_from_slice(selection);
    match runner {
        Runner::Nextest => all.extend_from_slice(&scope.runner),
        Runner::CargoTest => {
            all.push("--".into());
            if tier == Tier::Vm {
                all.push("--test-threads=1".into()); // two cores: a second virtual device only slows the first
            }
            all.extend_from_slice(&scope.runner);
        }
    }
    all
}

fn no_test(tier: Tier) -> Result<Vec<String>> {
    bail!("the tier {tier} has no test, so it can't have passed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(runner: Runner, tier: Tier, in_ci: bool) -> String {
        let scope = Scope {
            runner: vec!["name".into()],
            ..Scope::default()
        };
        arguments(runner, tier, &["--test".into(), "boot".into()], &scope, in_ci).join(" ")
    }

    #[test]
    fn nextest_uses_its_ci_profile_only_in_ci() {
        let line_in = |in_ci| line(Runner::Nextest, Tier::Service, in_ci);
        assert_eq!(
            line_in(false),
            "nextest run --locked --workspace --test boot name"
        );
        assert_eq!(
            line_in(true),
            "nextest run --locked --profile ci --workspace --test boot name"
        );
    }

    #[test]
    fn without_nextest_virtual_devices_still_run_one_at_a_time() {
        assert_eq!(
            line(Runner::CargoTest, Tier::Vm, true),
            "test --locked --no-fail-fast --workspace --test boot -- --test-threads=1 name"
        );
        assert!(!line(Runner::CargoTest, Tier::Service, true).contains("--test-threads"));
    }
}
