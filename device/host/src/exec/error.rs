//! How a tool fails.

use std::process::ExitStatus;
use std::time::Duration;

/// A tool that failed.
#[derive(Debug, thiserror::Error)]
#[error("{tool} {args} {status}{}", last_words(stderr))]
pub struct ExecError {
    /// Its name.
    pub tool: &'static str,
    /// Its arguments, joined by spaces.
    pub args: String,
    /// How it ended.
    pub status: ExecStatus,
    /// The end of what it said on standard error.
    pub stderr: String,
}

/// How a tool ended.
#[derive(Debug, thiserror::Error)]
pub enum ExecStatus {
    /// It did not start.
    #[error("could not be started")]
    NotStarted(#[source] std::io::Error),
    /// It ended with another status than 0, or by a signal.
    #[error("ended with {0}")]
    Ended(ExitStatus),
    /// It was killed because its time was over.
    #[error("was killed after {0:?}")]
    TimedOut(Duration),
}

impl ExecError {
    /// The exit status, when it ended by itself.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match &self.status {
            ExecStatus::Ended(status) => status.code(),
            ExecStatus::NotStarted(_) | ExecStatus::TimedOut(_) => None,
        }
    }

    /// Whether it was killed because its time was over.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.status, ExecStatus::TimedOut(_))
    }
}

/// The last line that a tool wrote, as a tail of a sentence.
fn last_words(stderr: &str) -> String {
    match stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(": {}", line.trim()),
        None => String::new(),
    }
}
