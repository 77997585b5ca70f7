//! Programs of Debian's packages that must not be installed here: chrony's would take the place of the machine's own time daemon and
//! start. They are fetched and unpacked into the cache; apt judges their signatures.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::run_to_end;
use crate::tools::{ToolError, cache_folder, installed};
use crate::wheel::{at, lock, only_file};

const APT_GET: &str = "/usr/bin/apt-get";

/// A program in one of Debian's packages, used without being installed. Its libraries have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deb {
    /// The package.
    pub package: &'static str,
    /// Where the program is in it, without a slash in front.
    pub program: &'static str,
}

impl Deb {
    /// Where the program is in the cache, whether it is there or not.
    pub fn path(&self) -> Result<PathBuf, ToolError> {
        Ok(self.folder_in(&cache_folder()?).join(self.program))
    }

    /// Whether [`Deb::provide`] answers without a network.
    pub fn is_cached(&self) -> bool {
        self.path().is_ok_and(|path| path.exists())
    }

    /// The program in the cache, fetched first when it isn't there. Safe to call from several processes at once.
    pub fn provide(&self) -> Result<PathBuf, ToolError> {
        self.provide_in(&cache_folder()?)
    }

    fn folder_in(&self, cache: &Path) -> PathBuf {
        cache.join(format!("tools/deb-{}", self.package))
    }

    fn provide_in(&self, cache: &Path) -> Result<PathBuf, ToolError> {
        let folder = self.folder_in(cache);
        let program = folder.join(self.program);
        if program.exists() {
            return Ok(program);
        }
        let tools = cache.join("tools");
        let _lock = lock(&tools)?;
        if program.exists() {
            return Ok(program); // another process fetched it while this one waited for the lock
        }
        let scratch = tempfile::tempdir_in(&tools).map_err(at("make a folder in", &tools))?;
        let unpacked = self.download_and_unpack(scratch.path())?;
        if !unpacked.join(self.program).exists() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(at("find the program in", &unpacked)(source));
        }
        // It appears whole or not at all.
        fs::rename(&unpacked, &folder).map_err(at("put in place", &folder))?;
        Ok(program)
    }

    fn download_and_unpack(&self, scratch: &Path) -> Result<PathBuf, ToolError> {
        let _ = installed(APT_GET, "apt")?;
        let download = scratch.join("deb");
        fs::create_dir(&download).map_err(at("create", &download))?;
        // apt-get downloads into its working folder and knows no other.
        let shell = format!("cd \"$0\" && exec {APT_GET} --quiet download {}", self.package);
        let failed = |source| ToolError::Fetch {
            package: self.package,
            version: "of this Debian",
            source,
        };
        run_to_end(
            Path::new("/bin/sh"),
            [Path::new("-c"), Path::new(&shell), &download],
        )
        .map_err(failed)?;
        let deb = only_file(&download)?;
        let unpacked = scratch.join("unpacked");
        run_to_end(Path::new("/usr/bin/dpkg-deb"), [Path::new("-x"), &deb, &unpacked]).map_err(failed)?;
        Ok(unpacked)
    }
}
