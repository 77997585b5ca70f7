//! Podman's generator, run for one unit beside systemd: what a reload of systemd would make of a file that was
//! just written, at the place where a reload would put it, for a small part of a reload's time.
//!
//! systemd reads a unit that it does not hold in memory from disk when somebody asks for it, but remembers which
//! units the disk has for as long as no folder of its search path changes. Its own `generator` folder does not
//! count there (`lookup_paths_mtime_exclude` in systemd), so [`Generator`] also touches one that does.
//!
//! Nothing here is durable: all of it is in the runtime folder, which is memory, and a boot or a reload makes
//! it anew from the Quadlet files. A crash at any point leaves a file that the next reload replaces by an
//! equal one, or a stray folder that the next run for this unit removes.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::{Environment, ExecError, Tool, run};
use crate::names::UnitName;

/// Longest time for the generator; it reads some small files.
const WITHIN: Duration = Duration::from_secs(20);
/// systemd compares times of folders in microseconds.
const TICK: Duration = Duration::from_millis(1);

/// Why a unit could not be made known without a reload. A reload is always as good.
#[derive(Debug, thiserror::Error)]
pub(super) enum GeneratorError {
    /// The generator is missing or refuses some file, which need not be this unit's.
    #[error("the generator failed")]
    Run(#[source] ExecError),
    /// It made nothing for this unit, or a folder is not as expected.
    #[error("cannot {operation} {path}", path = path.display())]
    Files {
        /// A verb.
        operation: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GeneratorError {
    let path = path.to_owned();
    move |source| GeneratorError::Files {
        operation,
        path,
        source,
    }
}

/// Podman's generator, run for one unit beside systemd.
#[derive(Debug, Clone)]
pub struct Generator {
    environment: Environment,
}

impl Generator {
    /// Runs nothing yet.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self { environment }
    }

    /// systemd's own folder in the runtime folder.
    fn systemd(&self) -> PathBuf {
        self.environment.runtime_dir.join("systemd")
    }

    /// Where the generated files of all units are.
    fn folder(&self) -> PathBuf {
        self.systemd().join("generator")
    }

    /// Generates the unit beside systemd's own folder. Nothing counts before [`Generator::place`].
    pub(super) async fn generate(&self, unit: &UnitName) -> Result<Generated, GeneratorError> {
        let staging = Staging::make(&self.environment.runtime_dir, unit)?;
        let path = staging.0.to_string_lossy();
        // generator(7): three folders of different precedence. Quadlet uses the first.
        let args = [path.as_ref(); 3];
        run(&self.environment, Tool::QuadletGenerator, &args, WITHIN)
            .await
            .map_err(GeneratorError::Run)?;
        drop(path);
        Ok(Generated {
            staging,
            unit: unit.clone(),
        })
    }

    /// Puts what was generated where systemd finds it, and names the units of init containers among it. Only the files of this
    /// deployment: links that make `default.target` want it count at a boot, and each boot makes them.
    pub(super) fn place(&self, generated: Generated) -> Result<Vec<UnitName>, GeneratorError> {
        let Generated { staging, unit } = generated;
        let folder = self.folder();
        make_folder(&folder)?;
        let mut inits = units_of(&staging.0, &unit).map_err(failed("list", &staging.0))?;
        inits.retain(|found| *found != unit);
        // The main one last: what it requires is there before it.
        for name in inits.iter().chain([&unit]) {
            let (from, to) = (staging.0.join(name.as_str()), folder.join(name.as_str()));
            std::fs::rename(&from, &to).map_err(failed("place", &to))?;
        }
        self.ring()?;
        Ok(inits)
    }

    /// Takes away what [`Generator::place`], a reload or the boot put there, of the whole deployment.
    pub(super) fn withdraw(&self, unit: &UnitName) -> Result<(), GeneratorError> {
        let folder = self.folder();
        let found = match units_of(&folder, unit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(failed("list", &folder))?,
        };
        if found.is_empty() {
            return Ok(());
        }
        for name in found {
            let path = folder.join(name.as_str());
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                _ => {}
            }
        }
        self.ring()
    }

    /// Has systemd look at its folders anew at the next unit it does not hold. Without an await, so that two of
    /// these cannot set the same time.
    fn ring(&self) -> Result<(), GeneratorError> {
        let path = self.systemd().join("user");
        make_folder(&path)?;
        let touch = || {
            let folder = File::open(&path)?;
            folder.set_modified(folder.metadata()?.modified()? + TICK)
        };
        touch().map_err(failed("touch", &path))
    }
}

/// The units in a folder that belong to the same deployment.
fn units_of(folder: &Path, unit: &UnitName) -> io::Result<Vec<UnitName>> {
    let deployment = unit.deployment();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| UnitName::parse(name).ok());
        found.extend(name.filter(|name| name.deployment() == deployment));
    }
    found.sort();
    Ok(found)
}

/// Makes one folder; the one above it is systemd's and must be there.
fn make_folder(path: &Path) -> Result<(), GeneratorError> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("make", path)(error)),
        _ => Ok(()),
    }
}

/// A unit as the generator made it, in a folder of its own.
#[derive(Debug)]
pub(super) struct Generated {
    staging: Staging,
    unit: UnitName,
}

/// A folder for one run of the generator, on the file system of systemd's own. Goes when it is dropped.
#[derive(Debug)]
struct Staging(PathBuf);

impl Staging {
    fn make(runtime: &Path, unit: &UnitName) -> Result<Self, GeneratorError> {
        let path = runtime.join("fleet-agent/generated").join(unit.as_str());
        // A killed agent may have left one.
        let _ = std::fs::remove_dir_all(&path);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(failed("make", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is in memory, and goes with the next run for this unit.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
