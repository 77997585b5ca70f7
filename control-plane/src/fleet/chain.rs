//! "Why is it stuck?" in plain words: desired → gate → phase → cause → unit → log → next.

use fleet_protocol::{DeploymentState, Phase};

use super::slot::{Slot, Value};
use super::state::{Device, Pair};
use super::view::{DeviceState, Link, LinkKind, LinkState, PairState};
use super::words;

/// What the chain is about.
pub(super) struct About<'a> {
    pub(super) device: &'a str,
    pub(super) deployment: &'a str,
    pub(super) state: PairState,
    pub(super) at: &'a Device,
    pub(super) pair: &'a Pair,
}

impl About<'_> {
    pub(super) fn chain(&self) -> Vec<Link> {
        let links = [
            Some(self.desired()),
            Some(self.gate()),
            self.phase(),
            self.cause(),
            self.unit(),
            self.log(),
            self.next(),
        ];
        links.into_iter().flatten().collect()
    }

    fn reported(&self) -> Option<&DeploymentState> {
        self.pair.reported.as_ref().and_then(Slot::read)
    }

    fn desired(&self) -> Link {
        let at = self.pair.desired.as_ref().map(|slot| slot.at);
        let (state, text) = match self.pair.desired.as_ref().map(|slot| &slot.value) {
            Some(Value::Read(desired)) => (
                LinkState::Done,
                format!("generation {} with image {}", desired.generation, desired.image),
            ),
            Some(Value::Gone) => (LinkState::Done, "to be removed from this device".to_owned()),
            Some(Value::Unreadable(why)) => (
                LinkState::Blocked,
                format!("the desired state cannot be read: {}", why.detail),
            ),
            None => (
                LinkState::Blocked,
                "no desired state is in the store, and none was deleted: the device keeps what it has"
                    .to_owned(),
            ),
        };
        Link {
            kind: LinkKind::Desired,
            state,
            text,
            at,
            lines: Vec::new(),
        }
    }

    fn gate(&self) -> Link {
        let taken_up = self.reported().map(|state| state.observed_generation);
        let wanted = self
            .pair
            .desired
            .as_ref()
            .and_then(Slot::read)
            .map(|desired| desired.generation);
        let done = match self.pair.desired.as_ref().map(|slot| &slot.value) {
            Some(Value::Read(_)) => wanted == taken_up,
            Some(Value::Gone) => !self.pair.is_removal_untold(),
            Some(Value::Unreadable(_)) => false,
            None => true,
        };
        let removal = self.pair.is_removal_untold();
        let (state, text) = match (self.at.state(), done) {
            (DeviceState::Unknown, _) => (
                LinkState::Blocked,
                "the device has written nothing readable that says what it is (device-info)".to_owned(),
            ),
            (DeviceState::Offline, true) => (
                LinkState::Waiting,
                "the device is offline: all below is what it said last".to_owned(),
            ),
            (DeviceState::Offline, false) => (
                LinkState::Waiting,
                "the device is offline: it takes this up when it is back".to_owned(),
            ),
            (DeviceState::Online, true) => {
                (LinkState::Done, "the device is online and took it up".to_owned())
            }
            (DeviceState::Online, false) => {
                let stuck = self.state == PairState::Stuck;
                let state = if stuck {
                    LinkState::Blocked
                } else {
                    LinkState::Waiting
                };
                let text = match removal {
                    true => "the device is online and has not begun with the removal".to_owned(),
                    false => not_taken_up(taken_up),
                };
                (state, text)
            }
        };
        Link {
            kind: LinkKind::Gate,
            state,
            text,
            at: self.at.since,
            lines: Vec::new(),
        }
    }

    fn phase(&self) -> Option<Link> {
        let slot = self.pair.reported.as_ref()?;
        if let Some(why) = slot.unreadable() {
            let text = format!(
                "{} wrote something that this version cannot read: {}",
                self.device, why.detail
            );
            return Some(Link {
                kind: LinkKind::Phase,
                state: LinkState::Blocked,
                text,
                at: Some(slot.at),
                lines: Vec::new(),
            });
        }
        let report = slot.read()?;
        let state = match self.state {
            PairState::Running | PairState::Finished => LinkState::Done,
            PairState::Failed | PairState::Stuck | PairState::Unknown | PairState::Unreadable => {
                LinkState::Blocked
            }
            _ => LinkState::Waiting,
        };
        Some(Link {
            kind: LinkKind::Phase,
            state,
            text: words::phase(report),
            at: Some(report.since),
            lines: Vec::new(),
        })
    }

    fn cause(&self) -> Option<Link> {
        let report = self.reported()?;
        let cause = report.cause.as_ref()?;
        let state = if is_failure(report) {
            LinkState::Blocked
        } else {
            LinkState::Done
        };
        let exit = cause.exit.map_or_else(String::new, |exit| format!(", {exit}"));
        let text = format!("{} ({}{exit})", cause.detail, cause.kind);
        Some(Link {
            kind: LinkKind::Cause,
            state,
            text,
            at: Some(report.since),
            lines: Vec::new(),
        })
    }

    fn unit(&self) -> Option<Link> {
        let report = self.reported()?;
        let (text, well) = words::unit(self.deployment, report)?;
        let state = match (well, &report.phase) {
            (true, _) => LinkState::Done,
            (false, Phase::Failed) => LinkState::Blocked,
            (false, _) => LinkState::Waiting,
        };
        Some(Link {
            kind: LinkKind::Unit,
            state,
            text,
            at: words::unit_at(report),
            lines: Vec::new(),
        })
    }

    fn log(&self) -> Option<Link> {
        let report = self.reported()?;
        let cause = report.cause.as_ref().filter(|cause| !cause.log.is_empty())?;
        let whose = match words::failed_init(cause) {
            Some(init) => format!("the last words of init container {init}"),
            None => "its last words".to_owned(),
        };
        let state = if is_failure(report) {
            LinkState::Blocked
        } else {
            LinkState::Done
        };
        Some(Link {
            kind: LinkKind::Log,
            state,
            text: whose,
            at: Some(report.since),
            lines: cause.log.clone(),
        })
    }

    fn next(&self) -> Option<Link> {
        let text = next_action(
            self.state,
            self.at.state(),
            self.device,
            self.deployment,
            self.reported(),
        )?;
        let by_itself = !matches!(
            self.state,
            PairState::Failed | PairState::Stuck | PairState::Unreadable | PairState::Unknown
        );
        let state = if by_itself {
            LinkState::Later
        } else {
            LinkState::Blocked
        };
        Some(Link {
            kind: LinkKind::Next,
            state,
            text,
            // A device that is away tries on, and nobody here knows when.
            at: self
                .reported()
                .filter(|_| self.at.state() == DeviceState::Online)
                .and_then(|state| state.next_try_at),
            lines: Vec::new(),
        })
    }
}

const AGAIN: &str = "Until then it is tried again by itself";

/// What its cause says is why it does not get on.
fn is_failure(report: &DeploymentState) -> bool {
    matches!(report.phase, Phase::Failed | Phase::Removing)
}

fn not_taken_up(taken_up: Option<u64>) -> String {
    match taken_up {
        Some(older) => format!("the device is online and still at generation {older}"),
        None => "the device is online and has not taken it up yet".to_owned(),
    }
}

/// What to do, or what happens by itself; nothing where nothing is left to do.
pub(super) fn next_action(
    state: PairState,
    device_state: DeviceState,
    device: &str,
    deployment: &str,
    reported: Option<&DeploymentState>,
) -> Option<String> {
    let text = match (state, device_state) {
        (PairState::Running | PairState::Finished, DeviceState::Online) => return None,
        (PairState::Failed, DeviceState::Offline) => format!(
            "bring {device} back: check its power and its network; then {}",
            act(device, deployment, reported)
        ),
        (PairState::Failed, _) => failed(device, deployment, reported),
        (PairState::Unreadable, _) => {
            format!(
                "upgrade the control plane if the agent is newer; else look at {device}.{deployment} in the store"
            )
        }
        (PairState::Unknown, _) => "upgrade the control plane: the agent is newer".to_owned(),
        (_, DeviceState::Offline) => format!("bring {device} back: check its power and its network"),
        (_, DeviceState::Unknown) => {
            format!("check the agent of {device}: `fleet-agent status` on the device")
        }
        (PairState::Stuck, DeviceState::Online) => {
            format!(
                "run `fleet-agent status` on {device}, or restart its agent: it is online but does not move"
            )
        }
        (_, DeviceState::Online) => "nothing: it goes on by itself".to_owned(),
    };
    Some(text)
}

/// What to do about a failure, and whether it goes on meanwhile.
fn failed(device: &str, deployment: &str, reported: Option<&DeploymentState>) -> String {
    let act = act(device, deployment, reported);
    match reported.and_then(meanwhile) {
        Some(meanwhile) => format!("{act}. {meanwhile}"),
        None => act,
    }
}

/// What goes on without a person. It is said here and nowhere else, since [`act`] may also follow words that bring a device back.
fn meanwhile(report: &DeploymentState) -> Option<&'static str> {
    let kind = report.cause.as_ref().map_or("", |cause| cause.kind.as_str());
    let again = report.crash_loop.is_some() || report.next_try_at.is_some();
    match kind {
        _ if report.phase == Phase::Removing => again.then_some(AGAIN),
        "unit-stopped" | "unit-file-changed" | "unit-file-removed" => Some("It is repaired by itself"),
        _ => again.then_some(AGAIN),
    }
}

/// What to do about a failure, by what failed. The families of kinds are those of the runbook.
fn act(device: &str, deployment: &str, reported: Option<&DeploymentState>) -> String {
    let cause = reported.and_then(|report| report.cause.as_ref());
    let looping = reported.is_some_and(|report| report.crash_loop.is_some());
    let removing = reported.is_some_and(|report| report.phase == Phase::Removing);
    let logs = |more: &str| format!("`fleetctl logs {deployment} --device {device}{more}`");
    if let Some(init) = cause.and_then(words::failed_init) {
        return format!(
            "read {}, correct the init container and apply the specification again",
            logs(&format!(" --init {init}"))
        );
    }
    match cause.map_or("", |cause| cause.kind.as_str()) {
        "stop-signal-ignored" if removing => format!(
            "end the container by hand on {device}, or apply the deployment with `sigkill_fallback: true` and delete it again"
        ),
        "stop-signal-ignored" => {
            "set `lifecycle.stop_signal` to the signal that the container obeys, or allow `sigkill_fallback`, and apply it again; or end the container by hand"
                .to_owned()
        }
        _ if removing => format!("read the agent's log on {device} (`journalctl --user -u fleet-agent`) and remove by hand what is left"),
        "no-space" | "disk-full" => {
            format!("make room on {device}: delete deployments that it no longer needs, or grow its disk")
        }
        "container-exited" | "container-failed" | "exited-early" | "unhealthy" | "start-timeout" => format!(
            "read {}, correct the application or its specification, and apply it again",
            logs(if looping { " --previous" } else { "" })
        ),
        "image-not-found" | "image-wrong-architecture" => {
            "push the image, or correct its name and apply the specification again".to_owned()
        }
        kind if kind.starts_with("registry-") || kind.starts_with("pull-") => {
            format!("check the registry, and the way to it from {device}")
        }
        "image-corrupt" => "check the registry: what it sends is not what it promised".to_owned(),
        "unit-stopped" | "unit-file-changed" | "unit-file-removed" => {
            format!("find out who changes things by hand on {device}")
        }
        "no-session-bus" | "podman-failed" | "podman-silent" | "stop-failed" => system(device),
        kind if kind.starts_with("systemd-") || kind.starts_with("unit-") => system(device),
        _ => "correct what the cause names and apply the specification again".to_owned(),
    }
}

/// The device itself is not well.
fn system(device: &str) -> String {
    format!(
        "read the agent's log on {device} (`journalctl --user -u fleet-agent`); reboot it if that does not pass"
    )
}
