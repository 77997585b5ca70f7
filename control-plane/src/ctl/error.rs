//! Errors as a person reads them: what failed, on what, why, what to do.

use std::fmt;

use super::terminal::safe;
use crate::api::types::ProblemDetails;
use crate::manifest::ManifestErrors;

/// The word of the API while it does not know everything.
const RECOVERING: &str = "recovering";

/// The word of the API for manifests that have warnings, where that is not let pass.
const WARNED: &str = "warnings";

/// The words of the API when a device is the reason.
const AWAY: [&str; 3] = ["device-offline", "device-not-listening", "device-timeout"];

/// Exit codes. They are documented, so they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Refused by the server, or failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// What was named is not there.
    NotFound = 3,
    /// A manifest is wrong; nothing of it was changed.
    InvalidManifest = 4,
    /// The server was not reached.
    Unreachable = 5,
    /// A rollout did not get through.
    Rollout = 6,
    /// The operator does not know the whole fleet at this moment: what was asked for may be there, and a list may lack some.
    Recovering = 7,
    /// A device is offline, or did not answer.
    DeviceAway = 8,
    /// Manifests have warnings, and `--strict` was given; nothing of them was changed.
    Warned = 9,
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum CtlError {
    /// Something with a subject, a reason and a way out.
    Told(Box<Told>),
    /// Manifests are wrong.
    Manifests(ManifestErrors),
    /// Our own output could not be written.
    Output(std::io::Error),
}

/// What failed, on what, why, and what to do.
#[derive(Debug)]
pub struct Told {
    exit: Exit,
    what: String,
    why: String,
    next: Option<String>,
    /// The server is away or does not know everything yet: the same may work in a moment.
    temporary: bool,
}

impl CtlError {
    pub(super) fn new(exit: Exit, what: impl Into<String>, why: impl Into<String>) -> Self {
        let told = Told {
            exit,
            what: what.into(),
            why: why.into(),
            next: None,
            temporary: exit == Exit::Unreachable,
        };
        Self::Told(Box::new(told))
    }

    pub(super) fn next(mut self, next: impl Into<String>) -> Self {
        if let Self::Told(told) = &mut self {
            told.next = Some(next.into());
        }
        self
    }

    /// What the API answered, about an object.
    pub(super) fn from_problem(object: &str, problem: &ProblemDetails) -> Self {
        let exit = match problem.status {
            404 => Exit::NotFound,
            422 if problem.kind == WARNED => Exit::Warned,
            422 => Exit::InvalidManifest,
            503 if problem.kind == RECOVERING => Exit::Recovering,
            503 | 504 if AWAY.contains(&problem.kind.as_str()) => Exit::DeviceAway,
            _ => Exit::Failed,
        };
        // A device's own words are among them.
        let mut why = safe(&problem.detail);
        for field in &problem.problems {
            why.push_str(&format!("\n    {field}"));
        }
        if let (Some(id), Exit::Failed) = (&problem.request_id, exit) {
            why.push_str(&format!(" (request {id})"));
        }
        let mut error = Self::new(exit, format!("{object}: {}", problem.title), why);
        if let Self::Told(told) = &mut error {
            told.temporary = [502, 503, 504].contains(&problem.status);
        }
        if exit == Exit::Recovering {
            return error.next("try again in a few seconds; `curl SERVER/readyz` says when it knows all");
        }
        error
    }

    /// Whether the same may work in a moment.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Told(told) if told.temporary)
    }

    /// What failed, without why.
    pub(super) fn what(&self) -> String {
        match self {
            Self::Told(told) => told.what.clone(),
            other => other.to_string(),
        }
    }

    /// The code to end with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Told(told) => told.exit,
            Self::Manifests(_) => Exit::InvalidManifest,
            Self::Output(_) => Exit::Failed,
        }
    }

    /// Whether the reader of our output went away.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for CtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(told) => {
                write!(f, "fleetctl: {}", told.what)?;
                write!(f, "\n  why:  {}", told.why)?;
                if let Some(next) = &told.next {
                    write!(f, "\n  next: {next}")?;
                }
                Ok(())
            }
            Self::Manifests(errors) => {
                let s = if errors.0.len() == 1 { "" } else { "s" };
                write!(
                    f,
                    "{errors}\n\nfleetctl: {} error{s} in manifests: nothing was sent",
                    errors.0.len()
                )
            }
            Self::Output(error) => write!(f, "fleetctl: the output cannot be written\n  why:  {error}"),
        }
    }
}

impl std::error::Error for CtlError {}

impl From<std::io::Error> for CtlError {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}
