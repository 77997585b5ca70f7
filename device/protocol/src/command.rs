//! Commands: request and reply on `device-commands.<device>.<command>…`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::id::DeviceId;

/// First token of every command subject.
pub const PREFIX: &str = "device-commands";

/// Subject of the `ping` command: answers with a [`Pong`].
#[must_use]
pub fn ping(device: &DeviceId) -> String {
    format!("{PREFIX}.{device}.ping")
}

/// All commands of one device, for its one subscription.
#[must_use]
pub fn all_of(device: &DeviceId) -> String {
    format!("{PREFIX}.{device}.>")
}

/// Answer to `ping`: proves a round trip through the agent's command dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// Version of the agent.
    pub agent_version: String,
    /// The device's clock when it answered.
    pub at: DateTime<Utc>,
}

/// What a device answers to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply<T> {
    /// The command was carried out.
    Done(T),
    /// It was not, and this is why. An unknown command has the kind `command-unknown`.
    Refused(Cause),
}
