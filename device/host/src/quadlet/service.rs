//! `[Unit]` and `[Service]`: how systemd starts, stops and tries again.

use std::time::Duration;

use fleet_protocol::score::{HealthCheck, LifecyclePolicy, RestartPolicy};

use super::Text;
use super::container::seconds;

/// Time from the start job to a container that runs, on a slow card, beside any health check.
const START_WITHIN: Duration = Duration::from_secs(120);
/// Beyond the grace period: podman's own work around a stop, after which systemd kills what is left.
const STOP_WORK: Duration = Duration::from_secs(15);
/// A day: beyond it nobody waits, and systemd's clock arithmetic is far from its end.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);

pub(super) fn unit(text: &mut Text, description: std::fmt::Arguments<'_>) {
    text.0.push_str("# Written by fleet-agent; changes are undone.\n");
    text.0.push_str("[Unit]\n");
    text.set("Description", description);
    text.set("StartLimitIntervalSec", 0);
}

/// Else each container would wait for a network that a device may never have.
pub(super) fn quadlet(text: &mut Text) {
    text.section("Quadlet");
    text.set("DefaultDependencies", false);
}

pub(super) fn main(text: &mut Text, restart: RestartPolicy, start: Duration, stop: Duration) {
    text.section("Service");
    let word = match restart {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "no",
    };
    text.set("Restart", word);
    if restart != RestartPolicy::Never {
        back_off(text);
    }
    text.set("TimeoutStartSec", seconds(start));
    text.set("TimeoutStopSec", seconds(stop));
}

/// systemd's pauses between two tries: 1 s, then longer and longer up to a minute.
pub(super) fn back_off(text: &mut Text) {
    text.set("RestartSec", 1);
    text.set("RestartSteps", 6);
    text.set("RestartMaxDelaySec", 60);
}

/// How long systemd waits for a stop.
pub(super) fn stop_within(policy: &LifecyclePolicy) -> Duration {
    policy.grace_period.duration().saturating_add(STOP_WORK)
}

/// With a health check: until the last try that may still succeed is over.
pub(super) fn start_within(health: Option<&HealthCheck>) -> Duration {
    let Some(health) = health else { return START_WITHIN };
    let all = START_WITHIN.saturating_add(health.longest_start());
    Duration::from_secs(all.as_secs()).min(LONGEST)
}
