//! The Quadlet files of our deployments.

use std::io;
use std::path::{Path, PathBuf};

use crate::Changed;
use crate::durable;
use crate::names::{NameError, UnitFileName};
use crate::quadlet::Rendered;

/// Largest file that is read back. Ours are a few KiB; a larger one is not ours, whatever its name.
const MAX_BYTES: u64 = 4 << 20;

/// Why a unit file could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum UnitFilesError {
    /// The folder cannot be listed.
    #[error("cannot list {path}", path = path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written. The old content, if any, is still there.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be removed.
    #[error("cannot remove {path}", path = path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl UnitFilesError {
    /// Whether it is for want of space.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let (Self::List { source, .. }
        | Self::Read { source, .. }
        | Self::Write { source, .. }
        | Self::Remove { source, .. }) = self;
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// The Quadlet files of our deployments: those whose names begin with `fleet-`. Others in the folder belong
/// to somebody else and are neither listed nor touched.
pub trait UnitFiles {
    /// Names of our files, sorted.
    ///
    /// # Errors
    /// [`UnitFilesError::List`]. A folder that does not exist is empty.
    async fn list(&self) -> Result<Vec<UnitFileName>, UnitFilesError>;

    /// A file's content; `None` when there is no such file, or it is no text (somebody else's edit).
    ///
    /// # Errors
    /// [`UnitFilesError::Read`].
    async fn read(&self, name: &UnitFileName) -> Result<Option<String>, UnitFilesError>;

    /// Replaces a file durably, all or nothing. Equal content is not written again.
    ///
    /// # Errors
    /// [`UnitFilesError::Write`].
    async fn write(&self, name: &UnitFileName, text: &str) -> Result<Changed, UnitFilesError>;

    /// Removes a file durably.
    ///
    /// # Errors
    /// [`UnitFilesError::Remove`].
    async fn remove(&self, name: &UnitFileName) -> Result<Changed, UnitFilesError>;

    /// Makes the files of a deployment those of `rendered`: writes what differs and removes what is none of them, such as that of
    /// an init container which is no more. What the main unit requires is written before it and removed after it, so that a
    /// cut leaves no unit which requires another that is not there.
    ///
    /// # Errors
    /// [`UnitFilesError`] of the file where it stopped. What is done so far is a part of the same, and may be repeated.
    async fn replace(&self, rendered: &Rendered) -> Result<Changed, UnitFilesError> {
        let mut changed = false;
        for part in rendered.files() {
            changed |= self.write(&part.file, &part.text).await?.is_changed();
        }
        let deployment = rendered.main.file.deployment();
        for file in self.list().await? {
            let wanted = rendered.files().any(|part| part.file == file);
            if file.deployment() == deployment && !wanted {
                changed |= self.remove(&file).await?.is_changed();
            }
        }
        Ok(if changed {
            Changed::Changed
        } else {
            Changed::Unchanged
        })
    }
}

/// The files in a folder, `~/.config/containers/systemd` on a device.
#[derive(Debug, Clone)]
pub struct QuadletDir {
    dir: PathBuf,
}

impl QuadletDir {
    /// The folder need not exist yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn path(&self, name: &UnitFileName) -> PathBuf {
        self.dir.join(name.as_str())
    }
}

impl UnitFiles for QuadletDir {
    async fn list(&self) -> Result<Vec<UnitFileName>, UnitFilesError> {
        let names = list_names(&self.dir).map_err(|source| UnitFilesError::List {
            path: self.dir.clone(),
            source,
        })?;
        let mut ours: Vec<UnitFileName> = names.iter().filter_map(|name| ours(name).ok()).collect();
        ours.sort();
        Ok(ours)
    }

    async fn read(&self, name: &UnitFileName) -> Result<Option<String>, UnitFilesError> {
        let path = self.path(name);
        let bytes = durable::read_bounded(&path, MAX_BYTES)
            .map_err(|source| UnitFilesError::Read { path, source })?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    async fn write(&self, name: &UnitFileName, text: &str) -> Result<Changed, UnitFilesError> {
        let path = self.path(name);
        let (to, bytes) = (path.clone(), text.as_bytes().to_vec());
        durable::blocking(move || durable::replace(&to, &bytes, 0o644))
            .await
            .map_err(|source| UnitFilesError::Write { path, source })
    }

    async fn remove(&self, name: &UnitFileName) -> Result<Changed, UnitFilesError> {
        let path = self.path(name);
        let to = path.clone();
        durable::blocking(move || durable::remove(&to))
            .await
            .map_err(|source| UnitFilesError::Remove { path, source })
    }
}

fn ours(name: &str) -> Result<UnitFileName, NameError> {
    UnitFileName::parse(name)
}

/// The names in a folder that are text; a missing folder has none.
pub(crate) fn list_names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UnitFileName {
        UnitFileName::parse(text).unwrap()
    }

    #[tokio::test]
    async fn only_our_files_are_listed_and_equal_text_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = QuadletDir::new(dir.path().join("containers/systemd"));
        assert_eq!(files.list().await.unwrap(), Vec::new());
        assert_eq!(
            files.write(&name("fleet-web.container"), "a").await.unwrap(),
            Changed::Changed
        );
        let written = || {
            std::fs::metadata(files.path(&name("fleet-web.container")))
                .unwrap()
                .modified()
                .unwrap()
        };
        let before = written();
        assert_eq!(
            files.write(&name("fleet-web.container"), "a").await.unwrap(),
            Changed::Unchanged
        );
        assert_eq!(written(), before);
        std::fs::File::create(dir.path().join("containers/systemd/mine.container")).unwrap();
        assert_eq!(files.list().await.unwrap(), vec![name("fleet-web.container")]);
        assert_eq!(
            files.remove(&name("fleet-web.container")).await.unwrap(),
            Changed::Changed
        );
        assert_eq!(
            files.remove(&name("fleet-web.container")).await.unwrap(),
            Changed::Unchanged
        );
        assert_eq!(files.read(&name("fleet-web.container")).await.unwrap(), None);
    }

    fn rendered(inits: &[&str]) -> Rendered {
        let inits: Vec<_> = inits
            .iter()
            .map(|name| serde_json::json!({"name": name, "image": "a.b/c:1"}))
            .collect();
        let score = serde_json::json!({"image": "a.b/c:1", "init_containers": inits});
        let score = serde_json::from_value(score).unwrap();
        crate::quadlet::render(&"web".parse().unwrap(), &score, &Default::default()).unwrap()
    }

    #[tokio::test]
    async fn an_init_container_that_is_no_more_leaves_no_file_and_others_keep_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let files = QuadletDir::new(dir.path());
        let other = name("fleet-web-2.init-a.container");
        let _ = files.write(&other, "x").await.unwrap();
        assert!(files.replace(&rendered(&["a", "b"])).await.unwrap().is_changed());
        assert!(!files.replace(&rendered(&["a", "b"])).await.unwrap().is_changed());
        assert_eq!(files.list().await.unwrap().len(), 4);
        assert!(files.replace(&rendered(&["b"])).await.unwrap().is_changed());
        let left = files.list().await.unwrap();
        let left: Vec<&str> = left.iter().map(UnitFileName::as_str).collect();
        assert_eq!(
            left,
            [
                other.as_str(),
                "fleet-web.container",
                "fleet-web.init-b.container"
            ]
        );
        let main = files.read(&name("fleet-web.container")).await.unwrap().unwrap();
        assert!(!main.contains("init-a"), "{main}");
    }

    #[tokio::test]
    async fn a_file_that_somebody_made_binary_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let files = QuadletDir::new(dir.path());
        let path = dir.path().join("fleet-web.container");
        let _ = durable::replace(&path, b"\xff\xfe", 0o644).unwrap();
        assert_eq!(files.read(&name("fleet-web.container")).await.unwrap(), None);
        assert_eq!(
            files.write(&name("fleet-web.container"), "a").await.unwrap(),
            Changed::Changed
        );
    }
}
