//! Folders on this machine: the cache, and one folder for each rig.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use crate::error::Fault;

/// Keeps the disks of a rig when it is dropped.
const KEEP_VARIABLE: &str = "FLEET_RIG_KEEP";
/// Folders of earlier rigs that are kept for reading their logs.
const KEPT_FOLDERS: usize = 60;
/// Room for a rig's disk layers and a prepared device's memory.
const NEEDED_MIB: u64 = 4096;
/// Where the disks of a rig lie inside its folder; these go when the rig goes.
const DISKS: &str = "disks";
/// How the folders for sockets begin; the owner's process id and something random follow.
const SOCKETS: &str = "fleet-rig-";

/// The folder for everything that is downloaded or built once.
pub(crate) fn cache() -> Result<PathBuf, Fault> {
    fleet_testbed::tools::cache_folder().map_err(|error| Fault::Cache(Box::new(error)))
}

/// A folder below the cache as it stands in a message; only its name when there is no cache, which is then the message.
pub(crate) fn named_in_cache(name: &str) -> PathBuf {
    cache().unwrap_or_default().join(name)
}

/// Makes a folder below the cache.
pub(crate) fn in_cache(name: &str) -> Result<PathBuf, Fault> {
    let folder = cache()?.join(name);
    fs::create_dir_all(&folder).map_err(Fault::file("make", &folder))?;
    Ok(folder)
}

/// The folder of one rig: logs stay, disks go when it is dropped.
#[derive(Debug)]
pub(crate) struct RigFolder {
    path: PathBuf,
    keep: bool,
}

impl RigFolder {
    /// A fresh folder `<cache>/rigs/<name>-<process>-<count>`; those of long gone rigs are removed.
    pub(crate) fn make(name: &str) -> Result<Self, Fault> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let rigs = in_cache("rigs")?;
        tidy(&rigs);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = rigs.join(format!("{name}-{}-{count}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Fault::file("remove", &path))?;
        }
        fs::create_dir_all(path.join(DISKS)).map_err(Fault::file("make", &path))?;
        require_room(&path)?;
        let keep = std::env::var_os(KEEP_VARIABLE).is_some_and(|value| value == "1");
        Ok(Self { path, keep })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn disks(&self) -> PathBuf {
        self.path.join(DISKS)
    }
}

impl Drop for RigFolder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now goes with a later rig's tidying.
            let _ = fs::remove_dir_all(self.disks());
        }
    }
}

/// A fresh folder for a rig's sockets. In /tmp whatever TMPDIR says: a Unix socket's path ends at 108 bytes.
pub(crate) fn sockets() -> Result<TempDir, Fault> {
    remove_orphaned_sockets();
    let prefix = format!("{SOCKETS}{}-", std::process::id());
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in("/tmp")
        .map_err(Fault::file("make a folder in", "/tmp"))
}

/// Best effort, like all tidying.
fn remove_orphaned_sockets() {
    for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(SOCKETS) && !owner_lives(&name) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn require_room(folder: &Path) -> Result<(), Fault> {
    let stat = statvfs(folder).map_err(|error| Fault::file("look at", folder)(error.into()))?;
    let free_mib = (stat.blocks_available() * stat.fragment_size()) >> 20;
    if free_mib < NEEDED_MIB {
        return Err(Fault::NoSpace {
            folder: folder.to_owned(),
            free_mib,
            needed_mib: NEEDED_MIB,
        });
    }
    Ok(())
}

/// Removes the disks of rigs whose process is gone (it was killed) and the oldest folders. Best effort: another process may do the
/// same at this moment.
fn tidy(rigs: &Path) {
    let Ok(entries) = fs::read_dir(rigs) else { return };
    let mut gone: Vec<_> = entries
        .flatten()
        .filter(|entry| !owner_lives(&entry.file_name().to_string_lossy()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    gone.sort();
    let old = gone.len().saturating_sub(KEPT_FOLDERS);
    for (at, (_, path)) in gone.iter().enumerate() {
        let kept = std::env::var_os(KEEP_VARIABLE).is_some();
        let what = if at < old { path.clone() } else { path.join(DISKS) };
        if at < old || !kept {
            let _ = fs::remove_dir_all(what);
        }
    }
}

fn owner_lives(folder: &str) -> bool {
    let process = folder.rsplit('-').nth(1).unwrap_or_default();
    Path::new("/proc").join(process).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_killed_rig_go_and_ours_stay() {
        let dead = Path::new("/tmp/fleet-rig-999999999-x");
        fs::create_dir_all(dead).expect("made");
        let ours = sockets().expect("a folder");
        remove_orphaned_sockets();
        assert!(!dead.exists() && ours.path().exists());
    }

    #[test]
    fn disks_of_a_killed_rig_go_and_its_logs_stay() {
        let rigs = tempfile::tempdir().expect("a temporary folder");
        let dead = rigs.path().join("amd64-x-999999999-1");
        let alive = rigs.path().join(format!("amd64-x-{}-1", std::process::id()));
        for folder in [&dead, &alive] {
            fs::create_dir_all(folder.join(DISKS)).expect("made");
        }
        tidy(rigs.path());
        assert!(dead.exists() && !dead.join(DISKS).exists());
        assert!(alive.join(DISKS).exists());
    }
}
