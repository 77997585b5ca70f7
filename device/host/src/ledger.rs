//! Small durable records, one file for each deployment on each shelf.

use std::io;
use std::path::{Path, PathBuf};

use fleet_protocol::DeploymentName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Changed;
use crate::durable;
use crate::unit_files::list_names;

/// Largest record, in bytes: a desired state is at most 128 KiB on the wire, escaped again at worst.
const MAX_RECORD_BYTES: u64 = 512 * 1024;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// The last desired state of a deployment, so that the device needs no network to know it.
    Desired,
    /// What the agent did about it: phase, generation, digest, tries.
    Progress,
}

impl Shelf {
    /// Every shelf.
    pub const ALL: [Self; 2] = [Self::Desired, Self::Progress];

    /// Its folder under the ledger's root.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Progress => "ledger",
        }
    }
}

/// What was found under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// Nothing.
    Absent,
    /// The record.
    Found(T),
    /// Bytes that are no record. They were moved aside (over older ones), so the name is free again.
    Corrupt {
        /// Where they are now.
        moved_to: PathBuf,
        /// Why they are no record.
        problem: String,
    },
}

impl<T> Reading<T> {
    /// The record, if it was found.
    #[must_use]
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(record) => Some(record),
            Self::Absent | Self::Corrupt { .. } => None,
        }
    }
}

/// Why a record could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk refused.
    #[error("cannot {operation} the record {path}", path = path.display())]
    Disk {
        /// `read`, `write`, `remove`, `list` or `move aside`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are no record.
    #[error("the record {path} is damaged", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it is no record.
        #[source]
        source: serde_json::Error,
    },
    /// The record is too large. Nothing was written.
    #[error("the record of {deployment} has {bytes} bytes: {MAX_RECORD_BYTES} at most")]
    TooLarge {
        /// Whose record.
        deployment: DeploymentName,
        /// Its size.
        bytes: usize,
    },
    /// The record cannot be written as JSON.
    #[error("the record of {deployment} cannot be encoded")]
    Encode {
        /// Whose record.
        deployment: DeploymentName,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl LedgerError {
    /// Whether it is for want of space.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let kind = match self {
            Self::Disk { source, .. } => source.kind(),
            Self::Damaged { .. } | Self::TooLarge { .. } | Self::Encode { .. } => return false,
        };
        matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Small durable records.
pub trait Ledger {
    /// Names that have a record on a shelf, sorted.
    ///
    /// # Errors
    /// [`LedgerError::Disk`]. A shelf that does not exist is empty.
    async fn list(&self, shelf: Shelf) -> Result<Vec<DeploymentName>, LedgerError>;

    /// Names of which a record was moved aside since it was damaged, sorted. Whether there is a new one by now is another
    /// question.
    ///
    /// # Errors
    /// [`LedgerError::Disk`].
    async fn damaged(&self) -> Result<Vec<DeploymentName>, LedgerError>;

    /// A record. Corrupt bytes are an outcome, not an error: they are moved aside and told about.
    ///
    /// # Errors
    /// [`LedgerError::Disk`].
    async fn read<T: DeserializeOwned>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
    ) -> Result<Reading<T>, LedgerError>;

    /// A record, for those that only look: whatever its bytes are, they stay where they are.
    ///
    /// # Errors
    /// [`LedgerError::Disk`], [`LedgerError::Damaged`].
    async fn peek<T: DeserializeOwned>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
    ) -> Result<Option<T>, LedgerError>;

    /// Replaces a record durably, all or nothing; an equal one is not written again.
    ///
    /// # Errors
    /// [`LedgerError`]; the old record is then still there.
    async fn write<T: Serialize>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
        record: &T,
    ) -> Result<Changed, LedgerError>;

    /// Removes a record durably, and what was moved aside of it.
    ///
    /// # Errors
    /// [`LedgerError::Disk`].
    async fn remove(&self, shelf: Shelf, deployment: &DeploymentName) -> Result<Changed, LedgerError>;
}

/// Records as JSON files: `<root>/desired/<deployment>.json`, `<root>/ledger/<deployment>.json`.
#[derive(Debug, Clone)]
pub struct FileLedger {
    root: PathBuf,
}

impl FileLedger {
    /// The folder need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, shelf: Shelf, deployment: &DeploymentName) -> PathBuf {
        self.root.join(shelf.folder()).join(format!("{deployment}.json"))
    }

    /// Names of the files with this ending.
    fn names(&self, shelf: Shelf, ending: &str) -> Result<Vec<DeploymentName>, LedgerError> {
        let dir = self.root.join(shelf.folder());
        let names = list_names(&dir).map_err(disk("list", dir))?;
        let mut found: Vec<DeploymentName> = names
            .iter()
            .filter_map(|name| DeploymentName::new(name.strip_suffix(ending)?).ok())
            .collect();
        found.sort();
        Ok(found)
    }
}

/// Ending of what was moved aside.
const ASIDE: &str = ".json.corrupt";

fn aside(path: &Path) -> PathBuf {
    path.with_extension(ASIDE.trim_start_matches('.'))
}

fn disk(operation: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> LedgerError {
    move |source| LedgerError::Disk {
        operation,
        path,
        source,
    }
}

/// The canonical bytes of a record.
pub(crate) fn encode<T: Serialize>(deployment: &DeploymentName, record: &T) -> Result<Vec<u8>, LedgerError> {
    let bytes = serde_json::to_vec(record).map_err(|source| LedgerError::Encode {
        deployment: deployment.clone(),
        source,
    })?;
    if bytes.len() as u64 > MAX_RECORD_BYTES {
        return Err(LedgerError::TooLarge {
            deployment: deployment.clone(),
            bytes: bytes.len(),
        });
    }
    Ok(bytes)
}

impl Ledger for FileLedger {
    async fn list(&self, shelf: Shelf) -> Result<Vec<DeploymentName>, LedgerError> {
        self.names(shelf, ".json")
    }

    async fn damaged(&self) -> Result<Vec<DeploymentName>, LedgerError> {
        let mut found = Vec::new();
        for shelf in Shelf::ALL {
            found.extend(self.names(shelf, ASIDE)?);
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
    ) -> Result<Reading<T>, LedgerError> {
        let path = self.path(shelf, deployment);
        let problem = match durable::read_bounded(&path, MAX_RECORD_BYTES) {
            Ok(None) => return Ok(Reading::Absent),
            Ok(Some(bytes)) => match serde_json::from_slice(&bytes) {
                Ok(record) => return Ok(Reading::Found(record)),
                Err(error) => error.to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => error.to_string(),
            Err(error) => return Err(disk("read", path)(error)),
        };
        let moved_to = aside(&path);
        let (from, to) = (path.clone(), moved_to.clone());
        durable::blocking(move || durable::move_aside(&from, &to))
            .await
            .map_err(disk("move aside", path))?;
        Ok(Reading::Corrupt { moved_to, problem })
    }

    async fn peek<T: DeserializeOwned>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
    ) -> Result<Option<T>, LedgerError> {
        let path = self.path(shelf, deployment);
        match durable::read_bounded(&path, MAX_RECORD_BYTES) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| LedgerError::Damaged { path, source }),
            Err(error) => Err(disk("read", path)(error)),
        }
    }

    async fn write<T: Serialize>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
        record: &T,
    ) -> Result<Changed, LedgerError> {
        let bytes = encode(deployment, record)?;
        let path = self.path(shelf, deployment);
        let to = path.clone();
        durable::blocking(move || durable::replace(&to, &bytes, 0o600))
            .await
            .map_err(disk("write", path))
    }

    async fn remove(&self, shelf: Shelf, deployment: &DeploymentName) -> Result<Changed, LedgerError> {
        let path = self.path(shelf, deployment);
        let to = path.clone();
        // What was moved aside goes last: it alone makes the next deployment of that name keep too much, not too little.
        durable::blocking(move || {
            let removed = durable::remove(&to)?;
            durable::remove(&aside(&to)).map(|_| removed)
        })
        .await
        .map_err(disk("remove", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Record {
        generation: u64,
    }

    fn web() -> DeploymentName {
        DeploymentName::new("web").unwrap()
    }

    fn ledger() -> (tempfile::TempDir, FileLedger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = FileLedger::new(dir.path().join("agent"));
        (dir, ledger)
    }

    #[tokio::test]
    async fn a_record_is_read_back_and_the_same_one_is_not_written_again() {
        let (_dir, ledger) = ledger();
        let name = web();
        assert_eq!(
            ledger.read::<Record>(Shelf::Desired, &name).await.unwrap(),
            Reading::Absent
        );
        let record = Record { generation: 7 };
        assert_eq!(
            ledger.write(Shelf::Desired, &name, &record).await.unwrap(),
            Changed::Changed
        );
        assert_eq!(
            ledger.write(Shelf::Desired, &name, &record).await.unwrap(),
            Changed::Unchanged
        );
        assert_eq!(
            ledger.read(Shelf::Desired, &name).await.unwrap(),
            Reading::Found(record)
        );
        assert_eq!(ledger.list(Shelf::Desired).await.unwrap(), vec![name.clone()]);
        assert_eq!(ledger.list(Shelf::Progress).await.unwrap(), Vec::new());
        assert_eq!(
            ledger.remove(Shelf::Desired, &name).await.unwrap(),
            Changed::Changed
        );
        assert_eq!(ledger.list(Shelf::Desired).await.unwrap(), Vec::new());
    }

    #[tokio::test]
    async fn torn_bytes_are_moved_aside_and_the_name_is_free_again() {
        for torn in [&b""[..], b"{\"generation\":", b"\0\0\0\0", b"{}", b"[]"] {
            let (_dir, ledger) = ledger();
            let path = ledger.path(Shelf::Progress, &web());
            let _ = durable::replace(&path, torn, 0o600).unwrap();
            let reading = ledger.read::<Record>(Shelf::Progress, &web()).await.unwrap();
            let Reading::Corrupt { moved_to, .. } = reading else {
                panic!("{reading:?}")
            };
            assert_eq!(std::fs::read(moved_to).unwrap(), torn);
            assert_eq!(
                ledger.read::<Record>(Shelf::Progress, &web()).await.unwrap(),
                Reading::Absent
            );
            assert_eq!(ledger.list(Shelf::Progress).await.unwrap(), Vec::new());
            assert_eq!(ledger.damaged().await.unwrap(), vec![web()]);
            let _ = ledger.remove(Shelf::Progress, &web()).await.unwrap();
            assert_eq!(ledger.damaged().await.unwrap(), Vec::new());
        }
    }

    #[tokio::test]
    async fn a_record_that_is_too_large_is_refused_before_the_disk_is_touched() {
        let (dir, ledger) = ledger();
        let huge = "x".repeat(usize::try_from(MAX_RECORD_BYTES).unwrap());
        let error = ledger.write(Shelf::Desired, &web(), &huge).await.unwrap_err();
        assert!(matches!(error, LedgerError::TooLarge { .. }), "{error}");
        assert!(!dir.path().join("agent").exists());
    }
}
