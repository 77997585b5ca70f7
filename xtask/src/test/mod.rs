//! The tests, tier by tier.

mod targets;

use anyhow::{Context, Result, bail};

use crate::image::{self, Profile};
use crate::process::Tool;
use crate::setup;
use crate::setup::needs::Purpose;
use crate::setup::programs::NEXTEST;
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
    if tier.runs_devices() && has_tests && std::env::var_os(IMAGE_VARIABLE).is_none() {
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
        Tier::Service | Tier::Vm | Tier::Browser | Tier::Matrix => {
            targets::selection(&targets::list(workspace)?, tier, scope)?
        }
    };
    let in_ci = std::env::var_os("CI").is_some();
    // Not as `cargo nextest`: that would be whichever one this machine has, or none.
    Tool::new(NEXTEST.path()?, workspace.root())
        .args(arguments(&selection, scope, in_ci))
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

fn arguments(selection: &[String], scope: &Scope, in_ci: bool) -> Vec<String> {
    let profile: &[&str] = if in_ci { &["--profile", "ci"] } else { &[] };
    ["nextest", "run", "--locked"]
        .into_iter()
        .chain(profile.iter().copied())
        .chain(scope.packages())
        .chain(selection.iter().map(String::as_str))
        .chain(scope.runner.iter().map(String::as_str))
        .map(str::to_owned)
        .collect()
}

fn no_test(tier: Tier) -> Result<Vec<String>> {
    bail!("the tier {tier} has no test, so it can't have passed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(in_ci: bool) -> String {
        let scope = Scope {
            runner: vec!["name".into()],
            ..Scope::default()
        };
        arguments(&["--test".into(), "boot".into()], &scope, in_ci).join(" ")
    }

    #[test]
    fn the_ci_profile_is_used_only_in_ci() {
        assert_eq!(line(false), "nextest run --locked --workspace --test boot name");
        assert_eq!(
            line(true),
            "nextest run --locked --profile ci --workspace --test boot name"
        );
    }
}
