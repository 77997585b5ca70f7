//! A deployment's logs: request and reply on `device-commands.<device>.logs.<deployment>`.
//!
//! The request is a [`LogRequest`], the answer a [`crate::command::Reply`] of a [`LogChunk`]. A chunk is always the
//! *end* of a log: what is cut is cut at its beginning.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::command::PREFIX;
use crate::id::{DeploymentName, DeviceId, IdError};

/// Lines that are given when nobody says how many.
pub const DEFAULT_LINES: u32 = 200;
/// Most lines of a chunk.
pub const MAX_LINES: u32 = 5_000;
/// Most bytes of all lines of a chunk together: under half of what one NATS message takes, also when JSON doubles it.
pub const MAX_BYTES: usize = 384 * 1024;
/// Longest line, in bytes; a longer one ends in `…`.
pub const MAX_LINE: usize = 8 * 1024;
/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 4 * 1024;

/// Subject on which a device answers for one deployment.
#[must_use]
pub fn subject(device: &DeviceId, deployment: &DeploymentName) -> String {
    format!("{PREFIX}.{device}.logs.{deployment}")
}

/// The deployment that a command's subject asks the logs of; `None` when it is another command.
#[must_use]
pub fn deployment_of(device: &DeviceId, subject: &str) -> Option<Result<DeploymentName, IdError>> {
    let name = subject.strip_prefix(&format!("{PREFIX}.{device}.logs."))?;
    Some(DeploymentName::new(name))
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// Lines, counted from the end; 1 to [`MAX_LINES`], more is taken as that.
    #[serde(default = "LogRequest::default_lines")]
    pub lines: u32,
    /// The init container of this name instead of the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// The run before the newest one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub previous: bool,
    /// Each line begins with its time (RFC 3339, UTC, milliseconds) and a space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timestamps: bool,
}

impl LogRequest {
    fn default_lines() -> u32 {
        DEFAULT_LINES
    }
}

impl Default for LogRequest {
    fn default() -> Self {
        Self {
            lines: DEFAULT_LINES,
            init: None,
            previous: false,
            timestamps: false,
        }
    }
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// Whose words they are: `web`, or `web.migrate` for an init container.
    pub source: ProbeName,
    /// When they were read, by the device's clock.
    pub captured_at: DateTime<Utc>,
    /// The lines, the oldest first, as the container wrote them: colours and whatever else included. **Not safe to
    /// show as they are**, on a terminal or in a page.
    pub lines: Vec<String>,
    /// There were more lines, before these, of the same run.
    pub truncated: bool,
}

/// The name of something that can be asked on a device: `<deployment>`, or `<deployment>.<init container>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProbeName(String);

impl ProbeName {
    /// The main container of a deployment.
    #[must_use]
    pub fn of(deployment: &DeploymentName) -> Self {
        Self(deployment.to_string())
    }

    /// An init container of a deployment.
    ///
    /// # Errors
    /// [`IdError`] when `init` is no id.
    pub fn of_init(deployment: &DeploymentName, init: &str) -> Result<Self, IdError> {
        let init = DeploymentName::new(init)?;
        Ok(Self(format!("{deployment}.{init}")))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProbeName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (deployment, init) = match text.split_once('.') {
            Some((deployment, init)) => (deployment, Some(init)),
            None => (text, None),
        };
        DeploymentName::new(deployment)?;
        if let Some(init) = init {
            // An id holds no dot: a third part is refused here.
            DeploymentName::new(init)?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ProbeName {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ProbeName> for String {
    fn from(name: ProbeName) -> Self {
        name.0
    }
}

impl fmt::Display for ProbeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_request_asks_for_the_usual_lines() {
        let request: LogRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(request, LogRequest::default());
    }

    #[test]
    fn a_subject_is_read_back_and_one_of_another_device_is_not() {
        let (device, other): (DeviceId, DeviceId) = ("pi-1".parse().unwrap(), "pi-2".parse().unwrap());
        let web: DeploymentName = "web".parse().unwrap();
        let subject = subject(&device, &web);
        assert_eq!(deployment_of(&device, &subject), Some(Ok(web)));
        assert_eq!(deployment_of(&other, &subject), None);
        let bad = deployment_of(&device, "device-commands.pi-1.logs.a.b");
        assert!(matches!(bad, Some(Err(_))));
    }

    #[test]
    fn a_probe_is_a_name_or_two_and_no_more() {
        assert!("web".parse::<ProbeName>().is_ok() && "web.migrate".parse::<ProbeName>().is_ok());
        for bad in ["", "web.", ".web", "a.b.c", "a b", "A"] {
            assert!(bad.parse::<ProbeName>().is_err(), "{bad}");
        }
    }
}
