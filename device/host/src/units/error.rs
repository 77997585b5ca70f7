//! Why an operation on a unit failed.

use std::time::Duration;

use super::facts::UnitFacts;
use crate::names::UnitName;

/// Why an operation on a unit failed.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    /// There is no session bus to talk to.
    #[error(
        "no session bus at {address}: is the package dbus-user-session installed, and is lingering on for this user (loginctl enable-linger)?"
    )]
    NoBus {
        /// The address that was tried.
        address: String,
        /// Why it could not be reached.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bus went away during the call. What was asked may or may not have happened.
    #[error("the session bus went away during {operation}")]
    Disconnected {
        /// The D-Bus method.
        operation: &'static str,
    },
    /// systemd gave no answer in time.
    #[error("systemd gave no answer to {operation} within {within:?}")]
    NoAnswer {
        /// The D-Bus method.
        operation: &'static str,
        /// How long was waited.
        within: Duration,
    },
    /// No file describes the unit.
    #[error("there is no unit {0}: its file is missing or the generator refused it")]
    NoSuchUnit(UnitName),
    /// systemd refused.
    #[error("systemd refused {operation}: {message} ({name})")]
    Refused {
        /// The D-Bus method.
        operation: &'static str,
        /// The D-Bus error's name.
        name: String,
        /// systemd's words.
        message: String,
    },
    /// The unit did not come to the wanted state.
    #[error("{unit} {}", facts.describe())]
    JobFailed {
        /// The unit.
        unit: UnitName,
        /// The job's result (`failed`, `timeout`, `dependency`, `canceled`, …), where systemd told it.
        job_result: Option<String>,
        /// What systemd knew right after.
        facts: Box<UnitFacts>,
    },
    /// An init container of the unit failed or ran out of time, in a run that began after what was asked for. systemd tries it
    /// again by itself, and the start goes on behind it.
    #[error("init container {} {}", unit.init_name().unwrap_or_default(), in_time(facts))]
    InitFailed {
        /// The init container's unit.
        unit: UnitName,
        /// What systemd knew of it right after.
        facts: Box<UnitFacts>,
    },
    /// A condition of the unit kept it from starting; systemd calls that job done.
    #[error("{0} was skipped: one of its conditions does not hold")]
    Skipped(UnitName),
    /// The job was not over in time. It goes on.
    #[error("{unit} was not done within {within:?}")]
    Deadline {
        /// The unit.
        unit: UnitName,
        /// How long was waited.
        within: Duration,
    },
    /// An answer of systemd is not of the expected shape.
    #[error("systemd's answer to {operation} cannot be read: {problem}")]
    Malformed {
        /// The D-Bus method.
        operation: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// How a run of an init container ended.
fn in_time(facts: &UnitFacts) -> String {
    match facts.result.as_str() {
        "timeout" => "was not done in time, and was ended".to_owned(),
        _ => facts.describe(),
    }
}

impl UnitsError {
    /// Whether the same call can succeed later without anybody changing the deployment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoBus { .. }
            | Self::Disconnected { .. }
            | Self::NoAnswer { .. }
            | Self::Deadline { .. } => true,
            Self::JobFailed { job_result, .. } => job_result.as_deref() == Some("canceled"),
            Self::Refused { name, .. } => {
                name.ends_with(".LimitsExceeded") || name.ends_with(".TransactionIsDestructive")
            }
            Self::NoSuchUnit(_) | Self::InitFailed { .. } | Self::Skipped(_) | Self::Malformed { .. } => {
                false
            }
        }
    }

    /// The stable word for a cause.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoBus { .. } => "no-session-bus",
            Self::Disconnected { .. } | Self::NoAnswer { .. } => "systemd-unreachable",
            Self::NoSuchUnit(_) => "unit-missing",
            Self::Refused { .. } | Self::Malformed { .. } => "systemd-refused",
            Self::JobFailed { .. } => "container-failed",
            Self::InitFailed { facts, .. } if facts.result == "timeout" => "init-timeout",
            Self::InitFailed { .. } => "init-failed",
            Self::Skipped(_) => "unit-skipped",
            Self::Deadline { .. } => "start-timeout",
        }
    }
}
