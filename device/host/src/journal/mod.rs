//! What containers said, from journald.
//!
//! | module | what |
//! | --- | --- |
//! | `entry` | one entry, as `journalctl --output=json` prints it |
//! | `reader` | entries, the newest first, put together to the end of one run's log; pure |
//! | `query` | the questions to `journalctl`, and which fields they trust |
//!
//! A *run* is one container, known by its full id: Quadlet makes a fresh one at each start. podman notes the making of
//! each in the journal (`PODMAN_EVENT=create`), before its first line: so the beginning of a run is seen, and so is a run that
//! never said anything.

mod entry;
mod query;
mod reader;

use chrono::{DateTime, Utc};

use crate::exec::{Environment, ExecError};
use crate::names::InvocationId;

pub use reader::LogReader;

/// Why the journal gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the journal of this run")]
pub struct JournalError(#[source] pub ExecError);

/// Which run of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichRun {
    /// The newest one, whether it goes on or is over.
    Newest,
    /// The one before it.
    Previous,
}

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Most lines.
    pub lines: usize,
    /// Most bytes of all lines together.
    pub bytes: usize,
    /// Longest line, in bytes; a longer one is cut at its end and marked with `…`.
    pub line: usize,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When journald got it (its beginning, when it came in pieces).
    pub at: DateTime<Utc>,
    /// What the container wrote, control characters and all; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// The end of a run's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogTail {
    /// The run: the full id of its container. `None` when the journal knows no such run, or none any more.
    pub run: Option<String>,
    /// Its last lines, the oldest first.
    pub lines: Vec<LogLine>,
    /// The run's very first line is among them: nothing older was left out, or lost by the journal.
    pub complete: bool,
}

/// The journal.
pub trait Journal {
    /// The last lines of one run of a unit, the oldest first: what the container printed, and what
    /// podman and systemd said about it. At most 100 lines of 512 bytes.
    ///
    /// # Errors
    /// [`JournalError`]. A run without lines is not an error.
    async fn tail(&self, run: &InvocationId, lines: u16) -> Result<Vec<String>, JournalError>;

    /// The end of the log of the container of this name (`fleet-<deployment>`, or an init container's), which is also the stem of
    /// its unit's name. Takes seconds at worst; what was read until then is given, as not complete.
    ///
    /// # Errors
    /// [`JournalError`] when nothing could be read. A run that the journal does not know is not an error.
    async fn query(&self, container: &str, run: WhichRun, limits: LogLimits)
    -> Result<LogTail, JournalError>;
}

/// journald, by `journalctl`. A volatile journal is not split by user: the agent's user must then be in the group
/// `systemd-journal` to see its own containers.
#[derive(Debug, Clone)]
pub struct UserJournal {
    environment: Environment,
}

impl UserJournal {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self { environment }
    }
}

impl Journal for UserJournal {
    async fn tail(&self, run: &InvocationId, lines: u16) -> Result<Vec<String>, JournalError> {
        query::last_words(&self.environment, run, lines).await
    }

    async fn query(
        &self,
        container: &str,
        run: WhichRun,
        limits: LogLimits,
    ) -> Result<LogTail, JournalError> {
        match run {
            WhichRun::Newest => query::newest(&self.environment, container, limits).await,
            WhichRun::Previous => query::previous(&self.environment, container, limits).await,
        }
    }
}
