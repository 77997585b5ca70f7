//! Which integration tests there are, and to which tier each belongs.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Scope, no_test};
use crate::tier::Tier;
use crate::workspace::Workspace;

/// A file in a `tests/` folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TestTarget {
    package: String,
    name: String,
    /// It is built for the matrix only.
    matrix: bool,
}

impl TestTarget {
    fn tier(&self) -> Tier {
        match self.matrix {
            true => Tier::Matrix,
            false => Tier::of_test_target(&self.package, &self.name),
        }
    }

    /// Whether tests of `tier` are in it: the suites of virtual devices hold some for the matrix.
    fn serves(&self, tier: Tier) -> bool {
        self.tier() == tier || (tier == Tier::Matrix && self.tier() == Tier::Vm)
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    /// Set for suites of the matrix.
    #[serde(default, rename = "required-features")]
    required_features: Vec<String>,
}

/// All integration tests of the workspace.
pub(super) fn list(workspace: &Workspace) -> Result<Vec<TestTarget>> {
    let text = workspace
        .cargo(["metadata", "--locked", "--no-deps", "--format-version", "1"])
        .text()?;
    let metadata: Metadata = serde_json::from_str(&text).context("cannot read cargo's metadata")?;
    let mut targets = Vec::new();
    for package in metadata.packages {
        let tests = package
            .targets
            .into_iter()
            .filter(|target| target.kind.iter().any(|kind| kind == "test"));
        targets.extend(tests.map(|target| TestTarget {
            package: package.name.clone(),
            matrix: !target.required_features.is_empty(),
            name: target.name,
        }));
    }
    Ok(targets)
}

/// What builds and selects the tests of the matrix: suites, and modules in the suites of the tier `vm`.
const MATRIX: [&str; 4] = [
    "--features",
    "fleet-hw-tests/matrix",
    "--filterset",
    "binary(/^vm_matrix_/) | test(/^matrix::/)",
];

/// The arguments that select a tier's tests. They go by file name over the whole workspace, since selecting packages would
/// build the dependencies once more with fewer features; so a name must not stand in two tiers.
pub(super) fn selection(targets: &[TestTarget], tier: Tier, scope: &Scope) -> Result<Vec<String>> {
    let (mine, others): (Vec<_>, Vec<_>) = targets.iter().partition(|target| target.serves(tier));
    let covered = mine.iter().filter(|target| scope.covers(&target.package));
    let names: BTreeSet<&str> = covered.map(|target| target.name.as_str()).collect();
    if let Some(other) = others
        .iter()
        .find(|other| scope.covers(&other.package) && names.contains(other.name.as_str()))
    {
        bail!(
            "two tiers have a test file `{}`: {} of tier {}, another of tier {tier}; rename one",
            other.name,
            other.package,
            other.tier()
        );
    }
    if names.is_empty() {
        return no_test(tier);
    }
    let further: &[&str] = if tier == Tier::Matrix { &MATRIX } else { &[] };
    Ok(names
        .into_iter()
        .flat_map(|name| ["--test", name])
        .chain(further.iter().copied())
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(package: &str, name: &str) -> TestTarget {
        TestTarget {
            package: package.into(),
            name: name.into(),
            matrix: name.starts_with("vm_matrix_"),
        }
    }

    #[test]
    fn a_file_belongs_to_the_tier_that_its_place_shows() {
        let all = [
            target("fleet-testbed", "nats"),
            target("fleet-agent", "session"),
            target("fleet-hw-tests", "boot"),
            target("fleet-hw-tests", "vm_matrix_cuts"),
            target("fleet-control-plane", "browser_pages"),
        ];
        let names = |tier| {
            selection(&all, tier, &Scope::default())
                .expect("it has tests")
                .join(" ")
        };
        assert_eq!(names(Tier::Service), "--test nats --test session");
        assert_eq!(names(Tier::Vm), "--test boot");
        assert_eq!(names(Tier::Browser), "--test browser_pages");
        assert_eq!(
            names(Tier::Matrix),
            format!("--test boot --test vm_matrix_cuts {}", MATRIX.join(" "))
        );
    }

    #[test]
    fn a_package_narrows_the_tier_and_does_not_clash_with_others() {
        let all = [
            target("fleet-testbed", "nats"),
            target("fleet-agent", "session"),
            target("fleet-hw-tests", "nats"),
        ];
        let scope = Scope {
            packages: vec!["fleet-testbed".into()],
            ..Scope::default()
        };
        assert_eq!(
            selection(&all, Tier::Service, &scope).expect("one test"),
            ["--test", "nats"]
        );
        assert!(
            selection(&all, Tier::Vm, &scope).is_err(),
            "that package has no test of the tier"
        );
    }

    #[test]
    fn a_tier_without_a_test_cannot_pass() {
        let error =
            selection(&[target("fleet-testbed", "nats")], Tier::Vm, &Scope::default()).expect_err("no test");
        assert_eq!(
            error.to_string(),
            "the tier vm has no test, so it can't have passed"
        );
    }

    #[test]
    fn one_name_in_two_tiers_is_refused() {
        let all = [target("fleet-testbed", "nats"), target("fleet-hw-tests", "nats")];
        let error = selection(&all, Tier::Vm, &Scope::default()).expect_err("ambiguous");
        assert!(
            error.to_string().contains("two tiers have a test file `nats`"),
            "{error}"
        );
    }
}
