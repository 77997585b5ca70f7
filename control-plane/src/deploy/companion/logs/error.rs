//! Why there are no lines.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::bucket::HEARTBEAT_SECONDS;
use fleet_protocol::{Cause, DeploymentName, DeviceId};

use super::super::Placed;

/// Why a log could not be read. Each one is a sentence for a person; [`LogQueryError::kind`] is its word for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogQueryError {
    /// The fleet has no such device.
    #[error("there is no device \"{0}\": `fleetctl get devices` lists those that are there")]
    NoSuchDevice(DeviceId),
    /// The fleet has no such deployment.
    #[error("there is no deployment \"{0}\": `fleetctl get deployments` lists those that are there")]
    NoSuchDeployment(DeploymentName),
    /// The deployment is not on that device.
    #[error(
        "{} is not on {}: its selector does not match the device, and nothing of it is left there",
        .0.deployment, .0.device
    )]
    NotOnDevice(Placed),
    /// What was asked for may be there: the operator has not read everything yet.
    #[error("{0}")]
    Recovering(String),
    /// Its kind of score has no logs to give.
    #[error("this deployment doesn't expose logs: the kind of score of {deployment} has none to give")]
    NotExposed {
        /// The deployment.
        deployment: DeploymentName,
    },
    /// No init container can have this name.
    #[error("{deployment} has no init container {init:?}: that is no name")]
    NoSuchInit {
        /// The deployment.
        deployment: DeploymentName,
        /// What was asked for.
        init: String,
    },
    /// The device has no heartbeat; nobody asked it.
    #[error(
        "{device} is offline{}: its logs are on the device, and can be read when it is back. Check its power and its network",
        since_text(.since)
    )]
    DeviceOffline {
        /// The device.
        device: DeviceId,
        /// Since when, as far as known.
        since: Option<DateTime<Utc>>,
    },
    /// The device has a heartbeat, and nobody there takes commands.
    #[error(
        "nobody on {device} takes commands at this moment{}: its agent is just starting, has lost its connection, or is too old. Try again in a few seconds, then look at `fleet-agent status` on the device",
        heard_text(.heard)
    )]
    NotListening {
        /// The device.
        device: DeviceId,
        /// Its last heartbeat.
        heard: Option<DateTime<Utc>>,
    },
    /// The device says no, and why.
    #[error("{device} answers: {}", .cause.detail)]
    Refused {
        /// The device.
        device: DeviceId,
        /// Why, in its words.
        cause: Box<Cause>,
    },
    /// The device took the question and did not answer.
    #[error("{device} did not answer within {} s: {}", .patience.as_secs(), silence_text(*.heard, *.at))]
    TimedOut {
        /// The device.
        device: DeviceId,
        /// How long it was waited for.
        patience: Duration,
        /// Its last heartbeat.
        heard: Option<DateTime<Utc>>,
        /// When it was given up.
        at: DateTime<Utc>,
    },
    /// The answer is none.
    #[error(
        "{device} answered what cannot be read ({why}): its agent and this operator are of different versions"
    )]
    Malformed {
        /// The device.
        device: DeviceId,
        /// What is wrong with it.
        why: String,
    },
    /// There is no way to any device.
    #[error(
        "the operator has no connection to NATS at this moment ({0}): no device can be asked. Try again when it is back"
    )]
    Disconnected(String),
    /// Too many are asking.
    #[error("too many logs are being read at this moment: try again in a few seconds")]
    Busy,
}

impl LogQueryError {
    /// The stable word.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::NoSuchDevice(_) | Self::NoSuchDeployment(_) | Self::NotOnDevice(_) => "not-found",
            Self::Recovering(_) => "recovering",
            Self::NotExposed { .. } => "logs-not-exposed",
            Self::NoSuchInit { .. } => "logs-unknown-init",
            Self::DeviceOffline { .. } => "device-offline",
            Self::NotListening { .. } => "device-not-listening",
            Self::Refused { cause, .. } => &cause.kind,
            Self::TimedOut { .. } => "device-timeout",
            Self::Malformed { .. } => "answer-malformed",
            Self::Disconnected(_) => "nats-unavailable",
            Self::Busy => "too-many-log-queries",
        }
    }

    /// Since when the device is away, where that is why.
    #[must_use]
    pub fn since(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::DeviceOffline { since, .. } => *since,
            Self::NotListening { heard, .. } => *heard,
            Self::TimedOut { heard, at, .. } => heard.filter(|heard| is_late(*heard, *at)),
            _ => None,
        }
    }
}

/// A heartbeat is not taken for late before this: one may be lost on its way.
const TWO_BEATS: TimeDelta = TimeDelta::seconds(2 * HEARTBEAT_SECONDS.cast_signed());

fn is_late(heard: DateTime<Utc>, at: DateTime<Utc>) -> bool {
    at - heard > TWO_BEATS
}

/// Why there may be no answer, and what to do. Of a device that misses its heartbeats fewer lines would be no better asked for.
fn silence_text(heard: Option<DateTime<Utc>>, at: DateTime<Utc>) -> String {
    match heard.filter(|heard| is_late(*heard, at)) {
        Some(heard) => format!(
            "last heartbeat {} s ago: it may be offline. Check its power and its network",
            (at - heard).num_seconds()
        ),
        None => "it is busy, or its way to us is slow. Try again, or ask for fewer lines".to_owned(),
    }
}

fn since_text(since: &Option<DateTime<Utc>>) -> String {
    since.map_or_else(
        || " (since before the operator was started)".to_owned(),
        |since| format!(" since {}", since.format("%Y-%m-%d %H:%M:%S UTC")),
    )
}

fn heard_text(heard: &Option<DateTime<Utc>>) -> String {
    heard.map_or_else(String::new, |heard| {
        format!(
            ", though its last heartbeat came {}",
            heard.format("%Y-%m-%d %H:%M:%S UTC")
        )
    })
}
