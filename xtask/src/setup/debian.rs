//! What this system is, and which of its packages are installed.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use super::needs::Package;
use crate::workspace::Workspace;

/// The releases whose packages are known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
    /// Anything else: what is there can be used, nothing is installed.
    Other,
}

/// The release of the running system, by `/etc/os-release`.
pub fn release() -> Release {
    fs::read_to_string("/etc/os-release").map_or(Release::Other, |text| release_of(&text))
}

fn release_of(os_release: &str) -> Release {
    let value = |key: &str| {
        let mut lines = os_release.lines();
        lines
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
    };
    match (value("ID"), value("VERSION_ID")) {
        (Some("debian"), Some("12")) => Release::Bookworm,
        (Some("debian"), Some("13")) => Release::Trixie,
        _ => Release::Other,
    }
}

/// Which of these packages are installed. A system without dpkg has none.
pub fn installed_packages(workspace: &Workspace, packages: &[Package]) -> Result<BTreeSet<String>> {
    if !std::path::Path::new("/usr/bin/dpkg-query").exists() {
        return Ok(BTreeSet::new());
    }
    let names = packages.iter().flat_map(|package| package.name.all());
    let query = workspace
        .tool("/usr/bin/dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\\n"]);
    // It ends with status 1 as soon as one name is unknown, and lists the others all the same.
    let output = query
        .args(names)
        .output()
        .context("cannot ask which packages are installed")?;
    Ok(installed_in(&output.stdout))
}

fn installed_in(listing: &str) -> BTreeSet<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_os_release() {
        let text = |id: &str, version: &str| {
            format!("NAME=\"x\"\nVERSION_ID=\"{version}\"\nID={id}\nID_LIKE=debian\n")
        };
        assert_eq!(release_of(&text("debian", "12")), Release::Bookworm);
        assert_eq!(release_of(&text("debian", "13")), Release::Trixie);
        assert_eq!(release_of(&text("ubuntu", "24.04")), Release::Other);
        assert_eq!(release_of("ID=debian\n"), Release::Other);
    }

    #[test]
    fn a_removed_package_whose_settings_are_left_is_not_installed() {
        let listing = "gcc installed\nshellcheck config-files\novmf not-installed\n";
        assert_eq!(installed_in(listing).into_iter().collect::<Vec<_>>(), ["gcc"]);
    }
}
