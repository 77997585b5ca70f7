//! A score as a Quadlet file: the text that podman's generator turns into a unit.
//!
//! Pure and byte-deterministic: the same score gives the same bytes, whatever its generation, so that a
//! generation that changes nothing restarts nothing. Escaping is in `escape`; what Quadlet cannot
//! express is refused with the field's path.
//!
//! Choices, all for podman 5.4 under `systemd --user`:
//! - **No `.volume` file.** `podman run` makes a named volume by itself; a unit of its own would cost one more podman
//!   at each boot and stay behind "active (exited)" when its file goes.
//! - **Network `private` is pasta**, podman's own default without root: no bridge, no netavark, no nftables,
//!   one process. `DefaultDependencies=false`, since Quadlet would else let each container wait (up to 90 s) for
//!   `network-online.target`, which a device without a network never reaches; pasta without any
//!   interface still forwards ports, and its sockets follow the device's routes when they come.
//! - **Limits are podman's, not the unit's.** `MemoryMax=` would also hit `podman run` itself, which lives in
//!   the unit's control group while it starts and needs more than a small container.
//! - **systemd never gives up** (`StartLimitIntervalSec=0`): it waits longer instead, up to a minute.

mod escape;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use fleet_protocol::DeploymentName;
use fleet_protocol::score::{
    HealthCheck, NetworkMode, PodmanV0Score, PortMapping, RestartPolicy, VolumeMount, VolumeSource,
};

use crate::names::{Digest, NameError, UnitFileName, UnitName, container_name, volume_name};
use escape::{argument, raw, word};

/// Time from the start job to a container that runs, on a slow card, beside any health check.
const START_WITHIN: Duration = Duration::from_secs(120);

/// A score as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file's name.
    pub file: UnitFileName,
    /// The unit that comes of it.
    pub unit: UnitName,
    /// The file's content.
    pub text: String,
    /// How long systemd lets it start (`TimeoutStartSec`). Wait a little longer than that for the job.
    pub start_within: Duration,
}

/// Why a score cannot be a Quadlet file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuadletError {
    /// The deployment's name is taken.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The score is not valid; its text could say anything.
    #[error("the score is not valid: {0}")]
    Invalid(fleet_protocol::score::FieldError),
    /// Valid, but not to be said in a unit file.
    #[error("{field} {problem}")]
    Inexpressible {
        /// Path of the field within the score.
        field: String,
        /// Why, and what to do.
        problem: &'static str,
    },
}

impl QuadletError {
    /// The stable word for a cause.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        "score-inexpressible"
    }
}

/// Turns a score into a file. With `digest`, the image is pinned to it.
///
/// # Errors
/// [`QuadletError`] names the field; none is transient.
pub fn render(
    deployment: &DeploymentName,
    score: &PodmanV0Score,
    digest: Option<&Digest>,
) -> Result<Rendered, QuadletError> {
    let unit = UnitName::of(deployment)?;
    let file = UnitFileName::container(deployment)?;
    if let Some(problem) = score.problems().into_iter().next() {
        return Err(QuadletError::Invalid(problem));
    }
    let start_within = start_within(score.health.as_ref());
    let mut text = Text::default();
    unit_section(&mut text, deployment);
    container_section(&mut text, deployment, score, digest)?;
    service_section(&mut text, score.restart, start_within);
    text.section("Install");
    text.set("WantedBy", "default.target");
    Ok(Rendered {
        file,
        unit,
        text: text.0,
        start_within,
    })
}

/// Names of the volumes that outlive the deployment, for [`crate::Leftovers::remove`].
#[must_use]
pub fn kept_volumes(score: &PodmanV0Score) -> BTreeSet<String> {
    let kept = |mount: &VolumeMount| match &mount.source {
        VolumeSource::Volume { name, keep: true } => Some(name.clone()),
        VolumeSource::Volume { keep: false, .. } | VolumeSource::HostPath { .. } => None,
    };
    score.volumes.iter().filter_map(kept).collect()
}

/// The file as it grows. Values are escaped before they come here: none holds a line break.
#[derive(Default)]
struct Text(String);

impl Text {
    fn section(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        let _ = writeln!(self.0, "[{name}]");
    }

    fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "{key}={value}");
    }
}

fn unit_section(text: &mut Text, deployment: &DeploymentName) {
    text.0.push_str("# Written by fleet-agent; changes are undone.\n");
    text.0.push_str("[Unit]\n");
    text.set("Description", format_args!("Fleet deployment {deployment}"));
    text.set("StartLimitIntervalSec", 0);
    text.section("Quadlet");
    text.set("DefaultDependencies", false);
}

fn container_section(
    text: &mut Text,
    deployment: &DeploymentName,
    score: &PodmanV0Score,
    digest: Option<&Digest>,
) -> Result<(), QuadletError> {
    text.section("Container");
    text.set("ContainerName", container_name(deployment));
    match digest {
        Some(digest) => text.set("Image", format_args!("{}@{digest}", score.image.name())),
        None => text.set("Image", &score.image),
    }
    // Pulled by the agent before the old container stops; the unit never goes to the network.
    text.set("Pull", "never");
    text.set("LogDriver", "journald");
    if !score.args.is_empty() {
        text.set("Exec", arguments(&score.args)?);
    }
    // First, so that the customer's own variable of that name wins. %H is expanded by systemd when the unit starts.
    text.set("Environment", "FLEET_DEVICE=%H");
    for (i, variable) in score.env.iter().enumerate() {
        let pair = format!("{}={}", variable.name, variable.value);
        text.set("Environment", word(&format!("env[{i}].value"), &pair)?);
    }
    text.set(
        "Label",
        word("labels", &format!("fleet.deployment={deployment}"))?,
    );
    for (key, value) in &score.labels {
        text.set(
            "Label",
            word(&format!("labels.{key}"), &format!("{key}={value}"))?,
        );
    }
    network(text, score);
    for (i, mount) in score.volumes.iter().enumerate() {
        text.set("Volume", volume(deployment, i, mount)?);
    }
    rights(text, score);
    limits(text, score);
    if let Some(health) = &score.health {
        health_check(text, health, score.restart)?;
    }
    Ok(())
}

fn arguments(args: &[String]) -> Result<String, QuadletError> {
    let words: Result<Vec<String>, QuadletError> = args
        .iter()
        .enumerate()
        .map(|(i, arg)| argument(&format!("args[{i}]"), arg))
        .collect();
    Ok(words?.join(" "))
}

fn network(text: &mut Text, score: &PodmanV0Score) {
    let mode = match score.network {
        NetworkMode::Private => "pasta",
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
    };
    text.set("Network", mode);
    for port in &score.ports {
        text.set("PublishPort", publish(port));
    }
}

fn publish(port: &PortMapping) -> String {
    let tail = format!("{}:{}/{}", port.host, port.container, port.protocol.as_str());
    match port.address {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]:{tail}"),
        Some(std::net::IpAddr::V4(address)) => format!("{address}:{tail}"),
        None => tail,
    }
}

/// The option at the end is always there: a path that ends in a backslash would else join the next line to it.
fn volume(deployment: &DeploymentName, i: usize, mount: &VolumeMount) -> Result<String, QuadletError> {
    let source = match &mount.source {
        VolumeSource::Volume { name, .. } => volume_name(deployment, name),
        VolumeSource::HostPath { path } => raw(&format!("volumes[{i}].source.host_path.path"), path)?,
    };
    let path = raw(&format!("volumes[{i}].path"), &mount.path)?;
    let option = if mount.read_only { "ro" } else { "rw" };
    Ok(format!("{source}:{path}:{option}"))
}

fn rights(text: &mut Text, score: &PodmanV0Score) {
    if let Some(user) = &score.user {
        text.set("User", user);
    }
    if score.read_only {
        text.set("ReadOnly", true);
    }
    for name in &score.capabilities.drop {
        text.set("DropCapability", name);
    }
    for name in &score.capabilities.add {
        text.set("AddCapability", name);
    }
}

fn limits(text: &mut Text, score: &PodmanV0Score) {
    if let Some(pids) = score.resources.pids {
        text.set("PidsLimit", pids);
    }
    if let Some(memory) = score.resources.memory {
        // The second one includes swap: the limit is what it says, also on a device that swaps.
        let bytes = memory.0;
        text.set(
            "PodmanArgs",
            format_args!("--memory={bytes}b --memory-swap={bytes}b"),
        );
    }
    if let Some(cpus) = score.resources.cpus {
        text.set("PodmanArgs", format_args!("--cpus={cpus}"));
    }
}

fn health_check(text: &mut Text, health: &HealthCheck, restart: RestartPolicy) -> Result<(), QuadletError> {
    text.set("HealthCmd", health_command(&health.command)?);
    text.set("HealthInterval", health.interval);
    text.set("HealthTimeout", health.timeout);
    text.set("HealthRetries", health.retries);
    if !health.start_period.duration().is_zero() {
        text.set("HealthStartPeriod", health.start_period);
    }
    if restart != RestartPolicy::Never {
        // Killed, so that systemd starts it again; also lets a start that never gets healthy fail early.
        text.set("HealthOnFailure", "kill");
    }
    text.set("Notify", "healthy");
    Ok(())
}

/// podman takes a JSON array as program and arguments, but only with two words or more and when the first is
/// none of its own keywords; a single word goes through the image's `/bin/sh`, quoted.
fn health_command(command: &[String]) -> Result<String, QuadletError> {
    const FIELD: &str = "health.command";
    let refuse = |problem| QuadletError::Inexpressible {
        field: format!("{FIELD}[0]"),
        problem,
    };
    let first = command.first().ok_or_else(|| refuse("is missing"))?;
    if ["CMD", "CMD-SHELL", "NONE"].contains(&first.to_uppercase().as_str()) {
        return Err(refuse(
            "is a keyword of podman (CMD, CMD-SHELL, NONE): leave it out",
        ));
    }
    let words = match command {
        [only] => vec![format!("'{}'", only.replace('\'', r"'\''"))],
        words => words.to_vec(),
    };
    let json = serde_json::Value::from(words).to_string();
    raw(FIELD, &json)
}

fn service_section(text: &mut Text, restart: RestartPolicy, start_within: Duration) {
    text.section("Service");
    let word = match restart {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "no",
    };
    text.set("Restart", word);
    if restart != RestartPolicy::Never {
        text.set("RestartSec", 1);
        text.set("RestartSteps", 6);
        text.set("RestartMaxDelaySec", 60);
    }
    text.set("TimeoutStartSec", start_within.as_secs());
    text.set("TimeoutStopSec", 45);
}

/// With a health check: until the last try that may still succeed is over.
fn start_within(health: Option<&HealthCheck>) -> Duration {
    let Some(health) = health else { return START_WITHIN };
    let round = health
        .interval
        .duration()
        .saturating_add(health.timeout.duration());
    let checks = round.saturating_mul(health.retries.saturating_add(1));
    let all = START_WITHIN
        .saturating_add(health.start_period.duration())
        .saturating_add(checks);
    // A day: beyond it nobody waits, and systemd's clock arithmetic is far from its end.
    Duration::from_secs(all.as_secs().min(86_400))
}

#[cfg(test)]
mod tests;
