//! Results that are worth keeping: one folder, entries named by the digest of their inputs.
//!
//! An entry appears by `rename` and is complete from then on; an interrupted build leaves scratch that the next one
//! removes. One build at a time holds the folder's lock.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::identity::file_digest;
use crate::progress::Progress;

/// Where builds keep what they made, unless they are told otherwise: `$FLEET_CACHE`, or the user's cache folder.
#[must_use]
pub fn default_cache_dir() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(folder) = set("FLEET_CACHE") {
        return folder;
    }
    let user = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    user.unwrap_or_else(std::env::temp_dir).join("fleet-platform")
}

/// The locked cache.
pub(crate) struct Cache {
    folder: PathBuf,
    scratch: PathBuf,
    _lock: File,
}

/// A cached tar and what it holds.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The tar.
    pub(crate) tar: PathBuf,
    /// SHA-256 of the tar.
    pub(crate) digest: String,
}

impl Cache {
    /// Opens the cache, waits for the lock, and removes what an interrupted build left.
    pub(crate) fn open(parent: &Path, progress: &dyn Progress) -> Result<Self, ImageError> {
        let folder = parent.join("image");
        fs::create_dir_all(&folder).map_err(ImageError::io("create the folder", &folder))?;
        let lock = locked(&folder.join("lock"), progress)?;
        let scratch = folder.join("scratch");
        let this = Self {
            folder,
            scratch,
            _lock: lock,
        };
        this.clear_scratch()?;
        fs::create_dir_all(&this.scratch).map_err(ImageError::io("create the folder", &this.scratch))?;
        Ok(this)
    }

    /// A folder for this build, empty at its start.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Where an entry is, or would be.
    pub(crate) fn entry_path(&self, name: &str, key: &str) -> PathBuf {
        self.folder.join(format!("{name}-{}", &key[..20]))
    }

    /// Returns the entry, if it is there and whole.
    pub(crate) fn find(&self, name: &str, key: &str) -> Option<Entry> {
        let folder = self.entry_path(name, key);
        let digest = fs::read_to_string(folder.join("sha256")).ok()?;
        let tar = folder.join("files.tar");
        tar.is_file().then_some(Entry { tar, digest })
    }

    /// Puts a finished tar from scratch into the cache. Other entries of the same name are outdated and go.
    pub(crate) fn keep(&self, name: &str, key: &str, tar: &Path) -> Result<Entry, ImageError> {
        let staged = self.scratch.join("entry");
        fs::create_dir_all(&staged).map_err(ImageError::io("create the folder", &staged))?;
        let digest = file_digest(tar)?;
        let place = |from: &Path, to: PathBuf| fs::rename(from, &to).map_err(ImageError::io("place", to));
        place(tar, staged.join("files.tar"))?;
        durable(&staged.join("files.tar"))?;
        write(&staged.join("sha256"), digest.as_bytes())?;
        self.forget(name)?;
        place(&staged, self.entry_path(name, key))?;
        Ok(Entry {
            tar: self.entry_path(name, key).join("files.tar"),
            digest,
        })
    }

    fn forget(&self, name: &str) -> Result<(), ImageError> {
        let entries = fs::read_dir(&self.folder).map_err(ImageError::io("read the folder", &self.folder))?;
        let prefix = format!("{name}-");
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let old = path
                .file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(&prefix));
            if old {
                fs::remove_dir_all(&path).map_err(ImageError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn clear_scratch(&self) -> Result<(), ImageError> {
        match fs::remove_dir_all(&self.scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ImageError::io("remove", &self.scratch)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // What stays is removed by the next build: an error is not worth hiding the build's own result.
        let _scratch_may_stay = self.clear_scratch();
    }
}

fn locked(path: &Path, progress: &dyn Progress) -> Result<File, ImageError> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let lock = lock.map_err(ImageError::io("open", path))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(ImageError::io("lock", path)(error)),
    }
    progress.begin("waiting for another image build");
    lock.lock().map_err(ImageError::io("lock", path))?;
    progress.end("");
    Ok(lock)
}

/// Writes a small file that must be complete when it is seen.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), ImageError> {
    use std::io::Write as _;
    let mut file = File::create(path).map_err(ImageError::io("create", path))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(ImageError::io("write", path))
}

fn durable(path: &Path) -> Result<(), ImageError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(ImageError::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Plain;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn cache(folder: &Path) -> Cache {
        Cache::open(folder, &Plain::default()).expect("a cache")
    }

    fn scratch_tar(cache: &Cache, content: &str) -> PathBuf {
        let tar = cache.scratch().join("x.tar");
        write(&tar, content.as_bytes()).expect("a file");
        tar
    }

    #[test]
    fn kept_entry_is_found_by_the_next_build() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = cache(folder.path());
        assert!(first.find("root", KEY).is_none());
        let kept = first
            .keep("root", KEY, &scratch_tar(&first, "tar"))
            .expect("an entry");
        drop(first);
        let found = cache(folder.path()).find("root", KEY).expect("the entry");
        assert_eq!((found.digest, found.tar), (kept.digest, kept.tar));
    }

    #[test]
    fn new_entry_replaces_the_old_one_of_the_same_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path());
        cache
            .keep("root", KEY, &scratch_tar(&cache, "old"))
            .expect("an entry");
        let other = KEY.replace('0', "f");
        cache
            .keep("root", &other, &scratch_tar(&cache, "new"))
            .expect("an entry");
        assert!(cache.find("root", KEY).is_none());
        assert!(cache.find("root", &other).is_some());
    }

    #[test]
    fn what_an_interrupted_build_left_is_gone_at_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = cache(folder.path());
        let torn = scratch_tar(&first, "half a tar");
        std::mem::forget(first.scratch.clone());
        drop(first);
        assert!(!torn.exists());
    }
}
