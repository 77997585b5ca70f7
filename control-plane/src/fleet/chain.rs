//! "Why is it stuck?" in plain words: desired → gate → phase → cause → next.

use fleet_protocol::state::PullProgress;
use fleet_protocol::{DeploymentState, Phase};

use super::slot::{Slot, Value};
use super::state::{Device, Pair};
use super::view::{DeviceState, Link, LinkKind, LinkState, PairState};

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
            text: phase_text(report),
            at: Some(report.since),
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
        let text = format!("{} ({})", cause.detail, cause.kind);
        Some(Link {
            kind: LinkKind::Cause,
            state,
            text,
            at: Some(report.since),
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
        })
    }
}

fn not_taken_up(taken_up: Option<u64>) -> String {
    match taken_up {
        Some(older) => format!("the device is online and still at generation {older}"),
        None => "the device is online and has not taken it up yet".to_owned(),
    }
}

fn phase_text(report: &DeploymentState) -> String {
    match &report.phase {
        Phase::Pending => "taken up; work begins".to_owned(),
        Phase::Pulling => format!("pulling the image{}", progress_text(report.progress)),
        Phase::Upgrading => "replacing the old container".to_owned(),
        Phase::Starting => "starting; not proven yet".to_owned(),
        Phase::Running => match &report.running {
            Some(running) => format!("running as {}", running.unit),
            None => "running".to_owned(),
        },
        Phase::Finished => "ended well; its restart policy asks for no other run".to_owned(),
        Phase::Failed if report.failed_tries > 1 => format!("failed {} times", report.failed_tries),
        Phase::Failed => "failed".to_owned(),
        Phase::Removing => "being removed".to_owned(),
        Phase::Unknown(word) => format!("the agent says {word:?}, a word of a newer version"),
    }
}

fn progress_text(progress: Option<PullProgress>) -> String {
    match progress {
        Some(p) if p.layers_total > 0 => format!(": {} of {} layers", p.layers_done, p.layers_total),
        Some(_) | None => String::new(),
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
    let again = reported.and_then(|state| state.next_try_at).is_some();
    let text = match (state, device_state) {
        (PairState::Running | PairState::Finished, DeviceState::Online) => return None,
        (PairState::Failed, _) if again => {
            "the agent tries again by itself; if the specification is wrong, correct it and apply it again"
                .to_owned()
        }
        (PairState::Failed, _) => "correct what the cause names and apply the specification again".to_owned(),
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
