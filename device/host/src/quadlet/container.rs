//! The `[Container]` section: what main and init containers have in common, then what only the main one has.

use fleet_protocol::DeploymentName;
use fleet_protocol::score::{
    EnvVar, HealthCheck, ImageRef, NetworkMode, PodmanV0Score, PortMapping, RestartPolicy, VolumeMount,
    VolumeSource,
};

use super::escape::{argument, raw, word};
use super::{Digests, QuadletError, Text};
use crate::names::{container_name, volume_name};

/// What every container of a deployment is made of. `at` is the prefix of its fields' paths.
pub(super) struct Common<'a> {
    pub(super) deployment: &'a DeploymentName,
    pub(super) at: &'a str,
    pub(super) image: &'a ImageRef,
    pub(super) args: &'a [String],
    pub(super) env: &'a [EnvVar],
    pub(super) volumes: &'a [VolumeMount],
    pub(super) network: NetworkMode,
}

impl Common<'_> {
    fn field(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    /// Name, image and program.
    pub(super) fn program(&self, text: &mut Text, name: &str, digests: &Digests) -> Result<(), QuadletError> {
        text.section("Container");
        text.set("ContainerName", name);
        match digests.get(self.image.as_str()) {
            Some(digest) => text.set("Image", format_args!("{}@{digest}", self.image.name())),
            None => text.set("Image", self.image),
        }
        // Pulled by the agent before the old container stops; the unit never goes to the network.
        text.set("Pull", "never");
        text.set("LogDriver", "journald");
        if !self.args.is_empty() {
            text.set("Exec", self.arguments()?);
        }
        Ok(())
    }

    fn arguments(&self) -> Result<String, QuadletError> {
        let words: Result<Vec<String>, QuadletError> = self
            .args
            .iter()
            .enumerate()
            .map(|(i, arg)| argument(&self.field(&format!("args[{i}]")), arg))
            .collect();
        Ok(words?.join(" "))
    }

    /// Environment, and the label that says whose container it is.
    pub(super) fn environment(&self, text: &mut Text) -> Result<(), QuadletError> {
        // First, so that the customer's own variable of that name wins. %H is expanded by systemd when the unit starts.
        text.set("Environment", "FLEET_DEVICE=%H");
        for (i, variable) in self.env.iter().enumerate() {
            let pair = format!("{}={}", variable.name, variable.value);
            text.set(
                "Environment",
                word(&self.field(&format!("env[{i}].value")), &pair)?,
            );
        }
        let whose = format!("fleet.deployment={}", self.deployment);
        text.set("Label", word("labels", &whose)?);
        Ok(())
    }

    pub(super) fn network(&self, text: &mut Text) {
        let mode = match self.network {
            NetworkMode::Private => "pasta",
            NetworkMode::Host => "host",
            NetworkMode::None => "none",
        };
        text.set("Network", mode);
    }

    pub(super) fn volumes(&self, text: &mut Text) -> Result<(), QuadletError> {
        for (i, mount) in self.volumes.iter().enumerate() {
            text.set("Volume", self.volume(i, mount)?);
        }
        Ok(())
    }

    /// The option at the end is always there: a path that ends in a backslash would else join the next line to it.
    fn volume(&self, i: usize, mount: &VolumeMount) -> Result<String, QuadletError> {
        let source = match &mount.source {
            VolumeSource::Volume { name, .. } => volume_name(self.deployment, name),
            VolumeSource::HostPath { path } => {
                raw(&self.field(&format!("volumes[{i}].source.host_path.path")), path)?
            }
        };
        let path = raw(&self.field(&format!("volumes[{i}].path")), &mount.path)?;
        let option = if mount.read_only { "ro" } else { "rw" };
        Ok(format!("{source}:{path}:{option}"))
    }
}

/// The section of the main container.
pub(super) fn main(
    text: &mut Text,
    deployment: &DeploymentName,
    score: &PodmanV0Score,
    digests: &Digests,
) -> Result<(), QuadletError> {
    let common = Common {
        deployment,
        at: "",
        image: &score.image,
        args: &score.args,
        env: &score.env,
        volumes: &score.volumes,
        network: score.network,
    };
    common.program(text, &container_name(deployment), digests)?;
    common.environment(text)?;
    for (key, value) in &score.labels {
        let field = format!("labels.{key}");
        text.set("Label", word(&field, &format!("{key}={value}"))?);
    }
    stopping(text, score);
    common.network(text);
    for port in &score.ports {
        text.set("PublishPort", publish(port));
    }
    common.volumes(text)?;
    rights(text, score);
    limits(text, score);
    match &score.health {
        Some(health) => health_check(text, health, score.restart),
        None => Ok(()),
    }
}

/// Signal and patience of `podman rm --force`, which is what the unit's stop runs. A score that says nothing of a signal leaves the
/// image its own.
fn stopping(text: &mut Text, score: &PodmanV0Score) {
    if let Some(policy) = &score.lifecycle {
        text.set("StopSignal", policy.stop_signal.as_str());
    }
    let grace = score.lifecycle().grace_period;
    text.set("StopTimeout", seconds(grace.duration()));
}

/// Whole seconds, none of them lost.
pub(super) fn seconds(time: std::time::Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn publish(port: &PortMapping) -> String {
    let tail = format!("{}:{}/{}", port.host, port.container, port.protocol.as_str());
    match port.address {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]:{tail}"),
        Some(std::net::IpAddr::V4(address)) => format!("{address}:{tail}"),
        None => tail,
    }
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
