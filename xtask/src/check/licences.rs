//! The licences of all dependencies against the list in `deny.toml`, and that each comes from crates.io. cargo-deny does the
//! same and more; this part has to be judged on every machine.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use crate::workspace::Workspace;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct DenyFile {
    licenses: AllowList,
}

#[derive(Deserialize)]
struct AllowList {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let text = fs::read_to_string(workspace.root().join("deny.toml")).context("cannot read deny.toml")?;
    let list: DenyFile = toml::from_str(&text).context("cannot understand deny.toml")?;
    let allowed = list
        .licenses
        .allow
        .iter()
        .map(|name| licensee(name))
        .collect::<Result<Vec<_>>>()?;
    // Only what is built for the systems that we run on.
    let query = [
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ];
    let metadata: Metadata =
        serde_json::from_str(&workspace.cargo(query).text()?).context("cannot read cargo's metadata")?;
    let problems: Vec<String> = metadata
        .packages
        .iter()
        .filter_map(|package| problem(package, &allowed))
        .collect();
    eprintln!("{} packages", metadata.packages.len());
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("{}", problems.join("; "))
    }
}

fn licensee(name: &str) -> Result<Licensee> {
    Licensee::parse(name).with_context(|| format!("deny.toml: {name} is not an SPDX licence"))
}

fn problem(package: &Package, allowed: &[Licensee]) -> Option<String> {
    let who = format!("{} {}", package.name, package.version);
    if let Some(source) = package.source.as_deref().filter(|source| *source != CRATES_IO) {
        return Some(format!("{who} comes from {source}, not from crates.io"));
    }
    let Some(text) = &package.license else {
        return Some(format!("{who} names no licence"));
    };
    let Ok(expression) = Expression::parse_mode(text, ParseMode::LAX) else {
        return Some(format!("{who}: the licence {text} is not an SPDX expression"));
    };
    let fits = expression.evaluate(|wanted| allowed.iter().any(|one| one.satisfies(wanted)));
    (!fits).then(|| format!("{who}: {text} is not in deny.toml's list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(license: Option<&str>, source: Option<&str>) -> Option<String> {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(|name| licensee(name).expect("a licence"));
        let package = Package {
            name: "p".into(),
            version: "1.0.0".into(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        problem(&package, &allowed)
    }

    #[test]
    fn one_allowed_choice_is_enough_and_each_part_of_a_conjunction_is_needed() {
        for good in [
            "MIT OR GPL-3.0-only",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
        ] {
            assert_eq!(judge(Some(good), Some(CRATES_IO)), None);
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only"] {
            let problem = judge(Some(bad), Some(CRATES_IO)).expect("it is refused");
            assert_eq!(problem, format!("p 1.0.0: {bad} is not in deny.toml's list"));
        }
    }

    #[test]
    fn a_package_without_licence_or_from_elsewhere_is_refused() {
        assert_eq!(
            judge(None, Some(CRATES_IO)).as_deref(),
            Some("p 1.0.0 names no licence")
        );
        assert!(
            judge(Some("MIT"), Some("git+https://example.com/p"))
                .is_some_and(|text| text.contains("not from crates.io"))
        );
        assert_eq!(judge(Some("MIT"), None), None);
    }
}
