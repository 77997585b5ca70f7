//! How a pair is: one word from what was desired and what was reported.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::{DeploymentState, Phase};

use super::slot::{Slot, Value};
use super::state::{Desired, Pair};
use super::view::PairState;

/// An online device that has not taken up a desired state for this long is stuck.
pub(super) const STUCK_WAITING: TimeDelta = TimeDelta::minutes(2);
/// A phase on an online device that should pass and that wrote nothing for this long is stuck. A pull that moves writes its
/// progress, so a slow one is not stuck.
pub(super) const STUCK_MOVING: TimeDelta = TimeDelta::minutes(10);
/// What a device takes beside the time that a specification allows a step.
const MARGIN: TimeDelta = TimeDelta::minutes(2);

impl Pair {
    /// How it is.
    #[must_use]
    pub fn state(&self) -> PairState {
        if self.stuck {
            PairState::Stuck
        } else {
            self.base_state()
        }
    }

    /// The same without regard to the time that passed.
    pub(super) fn base_state(&self) -> PairState {
        let reported = self.reported.as_ref().map(|slot| &slot.value);
        let desired = self.desired.as_ref().map(|slot| &slot.value);
        match (desired, reported) {
            (_, Some(Value::Unreadable(_))) | (Some(Value::Unreadable(_)), _) => PairState::Unreadable,
            (Some(Value::Read(desired)), Some(Value::Read(state))) => joined(desired, state),
            (Some(Value::Read(_)), None | Some(Value::Gone)) => PairState::Waiting,
            // A desired state that was lost (no marker) removes nothing: the device goes on as it said.
            (None, Some(Value::Read(state))) => of_phase(&state.phase),
            // A failure from before the removal is of no interest any more; one of the removal itself is.
            (Some(Value::Gone), Some(Value::Read(state)))
                if state.phase == Phase::Removing && state.failed_tries > 1 =>
            {
                PairState::Failed
            }
            (Some(Value::Gone), Some(Value::Read(_))) => PairState::Removing,
            (None | Some(Value::Gone), None | Some(Value::Gone)) => PairState::Removing,
        }
    }

    /// Its removal is asked for, and the device did not begin with it.
    pub(super) fn is_removal_untold(&self) -> bool {
        let gone = self.desired.as_ref().is_some_and(Slot::is_gone);
        let report = self.reported.as_ref().and_then(Slot::read);
        gone && report.is_some_and(|report| report.phase != Phase::Removing)
    }

    /// It should move on by itself.
    pub(super) fn is_open(&self) -> bool {
        let at_rest = [
            PairState::Running,
            PairState::Finished,
            PairState::Unreadable,
            PairState::Unknown,
            PairState::Failed,
        ];
        !at_rest.contains(&self.base_state())
    }

    /// Whether it should have moved by now, on a device that is online since `online_since`.
    pub(super) fn is_overdue(&self, online_since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        let written = |slot: &Slot<DeploymentState>| slot.at;
        let desired_at = self.desired.as_ref().map(|slot| slot.at);
        let reported_at = self.reported.as_ref().map(written);
        let (from, limit) = match self.base_state() {
            PairState::Waiting => (desired_at, STUCK_WAITING),
            PairState::Starting | PairState::Upgrading | PairState::Removing => {
                let allowed = self.patience.checked_add(&MARGIN).unwrap_or(TimeDelta::MAX);
                (desired_at.max(reported_at), allowed.max(STUCK_MOVING))
            }
            _ => (desired_at.max(reported_at), STUCK_MOVING),
        };
        from.max(online_since).is_some_and(|from| now - from > limit)
    }
}

fn joined(desired: &Desired, state: &DeploymentState) -> PairState {
    if desired.generation == state.observed_generation {
        of_phase(&state.phase)
    } else {
        PairState::Waiting
    }
}

fn of_phase(phase: &Phase) -> PairState {
    match phase {
        Phase::Pending => PairState::Pending,
        Phase::Pulling => PairState::Pulling,
        Phase::Upgrading => PairState::Upgrading,
        Phase::Starting => PairState::Starting,
        Phase::Running => PairState::Running,
        Phase::Finished => PairState::Finished,
        Phase::Failed => PairState::Failed,
        Phase::Removing => PairState::Removing,
        Phase::Unknown(_) => PairState::Unknown,
    }
}
