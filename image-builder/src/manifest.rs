//! The JSON beside an image: what it is made of.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache;
use crate::error::ImageError;

/// What an image holds. Written after the image, so one without it was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// Profile of the image.
    pub profile: String,
    /// Bytes of the disk.
    pub size: u64,
    /// Digest of all inputs: equal digests, equal bytes.
    pub inputs: String,
    /// Time of everything in it, seconds since 1970.
    pub epoch: u64,
    /// Version of the agent.
    pub agent_version: String,
    /// SHA-256 of the Debian tree.
    pub debian: String,
    /// SHA-256 of the tools that laid it out.
    pub tools: String,
    /// SHA-256 over the device's own files.
    pub overlay: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Installed Debian packages, by name.
    pub packages: Vec<Package>,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The manifest's place: beside the image.
pub(crate) fn path_of(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

impl Manifest {
    /// Writes it beside the image.
    pub(crate) fn write(&self, image: &Path) -> Result<(), ImageError> {
        let text = serde_json::to_string_pretty(self).expect("strings and numbers always serialise");
        cache::write(&path_of(image), format!("{text}\n").as_bytes())
    }

    /// Reads the one beside an image that nobody changed since. Absent, unreadable, older: `None`.
    pub(crate) fn of_untouched(image: &Path) -> Option<Self> {
        let path = path_of(image);
        let changed = |path: &Path| path.metadata().and_then(|facts| facts.modified()).ok();
        if changed(image)? > changed(&path)? {
            return None;
        }
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// Reads dpkg's status file.
pub(crate) fn packages(status: &str) -> Vec<Package> {
    let field = |stanza: &str, name: &str| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    let mut packages: Vec<Package> = status
        .split("\n\n")
        .filter_map(|stanza| {
            Some(Package {
                name: field(stanza, "Package:")?,
                version: field(stanza, "Version:")?,
            })
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_dpkg_and_sorted() {
        let status = "Package: b\nStatus: install ok installed\nVersion: 2\n\nPackage: a\nVersion: 1\n";
        let names: Vec<_> = packages(status)
            .into_iter()
            .map(|package| package.name + &package.version)
            .collect();
        assert_eq!(names, ["a1", "b2"]);
    }
}
