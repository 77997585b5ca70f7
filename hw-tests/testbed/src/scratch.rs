//! The folder of one running service. It goes with its guard; what a killed process left behind goes with the next start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const LOCK: &str = "in-use";

/// A folder in the temporary folder that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: TempDir,
    _in_use: File,
}

impl Scratch {
    /// Makes `<prefix><random>`, after removing the folders with this prefix that nobody uses any more.
    pub(crate) fn new(prefix: &str) -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir(), prefix)
    }

    fn new_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        for abandoned in abandoned(parent, prefix)? {
            // Another process may be removing it too, and it is not ours to fail for.
            let _ = fs::remove_dir_all(abandoned);
        }
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        // The file has its name only once it is locked: without one, a folder is not looked at.
        let unnamed = folder.path().join("new");
        let in_use = File::create(&unnamed)?;
        in_use.lock()?;
        fs::rename(&unnamed, folder.path().join(LOCK))?;
        Ok(Self {
            folder,
            _in_use: in_use,
        })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn abandoned(parent: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)?.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
        let lock = if is_ours {
            File::open(entry.path().join(LOCK)).ok()
        } else {
            None
        };
        if lock.is_some_and(|lock| lock.try_lock().is_ok()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_stays_and_one_that_was_left_behind_goes() {
        let parent = tempfile::tempdir().expect("temporary folder");
        let used = Scratch::new_in(parent.path(), "x-").expect("made");
        let left = parent.path().join("x-left");
        fs::create_dir(&left)
            .and_then(|()| File::create(left.join(LOCK)))
            .expect("made");
        let young = parent.path().join("x-young");
        fs::create_dir(&young).expect("made");
        let other = parent.path().join("y-other");
        fs::create_dir(&other)
            .and_then(|()| File::create(other.join(LOCK)))
            .expect("made");

        let next = Scratch::new_in(parent.path(), "x-").expect("made");
        assert!(!left.exists(), "nobody uses it");
        assert!(used.path().exists() && young.exists() && other.exists() && next.path().exists());
    }
}
