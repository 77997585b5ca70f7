//! The newest time at which the clock was known to be right: a board without a battery wakes in the past, and may wake where no
//! server can be asked.

use std::io;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::{Changed, durable};

/// Longest file, in bytes: one time in RFC 3339.
const MAX_BYTES: u64 = 64;

/// Keeps the newest time at which the clock was known to be right.
pub trait TimeFloor {
    /// The time, `None` when there is none. A file that holds no time is none.
    ///
    /// # Errors
    /// The disk's.
    async fn floor(&self) -> io::Result<Option<DateTime<Utc>>>;

    /// Replaces it durably. A crash leaves the old one or the new one.
    ///
    /// # Errors
    /// The disk's; the old one is then still there.
    async fn set_floor(&self, at: DateTime<Utc>) -> io::Result<Changed>;
}

/// The file `<agent>/clock-floor`.
#[derive(Debug, Clone)]
pub struct FileFloor(PathBuf);

impl FileFloor {
    /// `agent` is the folder of the agent's own state; it need not exist yet.
    #[must_use]
    pub fn under(agent: &std::path::Path) -> Self {
        Self(agent.join("clock-floor"))
    }
}

impl TimeFloor for FileFloor {
    async fn floor(&self) -> io::Result<Option<DateTime<Utc>>> {
        let path = self.0.clone();
        let bytes = match durable::blocking(move || durable::read_bounded(&path, MAX_BYTES)).await {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
            other => other?,
        };
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let at = text.and_then(|text| DateTime::parse_from_rfc3339(text.trim()).ok());
        Ok(at.map(|at| at.to_utc()))
    }

    async fn set_floor(&self, at: DateTime<Utc>) -> io::Result<Changed> {
        let path = self.0.clone();
        let text = format!("{}\n", at.format("%Y-%m-%dT%H:%M:%SZ"));
        durable::blocking(move || durable::replace(&path, text.as_bytes(), 0o600)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_floor_is_kept_to_the_second_and_whatever_is_no_time_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let floor = FileFloor::under(&folder.path().join("agent"));
        assert_eq!(floor.floor().await.unwrap(), None);
        let at = DateTime::parse_from_rfc3339("2026-11-28T18:42:56.789Z")
            .unwrap()
            .to_utc();
        assert!(floor.set_floor(at).await.unwrap().is_changed());
        assert_eq!(
            floor.floor().await.unwrap().map(|at| at.timestamp()),
            Some(at.timestamp())
        );
        assert!(!floor.set_floor(at).await.unwrap().is_changed());
        for torn in ["", "2026-11-2", "\0\0\0\0", &"9".repeat(100)] {
            let _ = durable::replace(&floor.0, torn.as_bytes(), 0o600).unwrap();
            assert_eq!(floor.floor().await.unwrap(), None, "{torn:?}");
        }
    }
}
