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
        let done = wanted.is_none() || wanted == taken_up;
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
                (state, not_taken_up(taken_up))
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
        let state = if report.phase == Phase::Failed {
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
        let whose = match &cause.init {
            Some(init) => format!("the last words of init container {init}"),
            None => "its last words".to_owned(),
        };
        let state = if report.phase == Phase::Failed {
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
            at: self.reported().and_then(|state| state.next_try_at),
            lines: Vec::new(),
        })
    }
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

/// What to do about a failure, by what failed.
fn failed(device: &str, deployment: &str, reported: Option<&DeploymentState>) -> String {
    let cause = reported.and_then(|report| report.cause.as_ref());
    let looping = reported.is_some_and(|report| report.crash_loop.is_some());
    let again = looping || reported.is_some_and(|report| report.next_try_at.is_some());
    let logs = |more: &str| format!("`fleetctl logs {deployment} --device {device}{more}`");
    let init = cause.and_then(|cause| cause.init.as_deref());
    let act = match (cause.map_or("", |cause| cause.kind.as_str()), init) {
        (_, Some(init)) => format!(
            "read {}, correct the init container and apply the specification again",
            logs(&format!(" --init {init}"))
        ),
        ("stop-signal-ignored", _) => {
            "set `lifecycle.stop_signal` to the signal that the container obeys, or allow `sigkill_fallback`, and apply it again; or end the container by hand"
                .to_owned()
        }
        ("no-space" | "disk-full", _) => {
            format!("make room on {device}: delete deployments that it no longer needs, or grow its disk")
        }
        ("container-exited" | "container-failed" | "exited-early" | "unhealthy" | "start-timeout", _) => format!(
            "read {}, correct the application or its specification, and apply it again",
            logs(if looping { " --previous" } else { "" })
        ),
        _ => "correct what the cause names and apply the specification again".to_owned(),
    };
    if again {
        format!("{act}. Until then it is tried again by itself")
    } else {
        act
    }
}
