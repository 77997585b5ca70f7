//! States that many rules start from, and a step onwards.

use fleet_machine::deployment::{Effect, Fact, Found, Observation, Retry, State, step};

use crate::common::{after, event, failure, pulled, run, started, target};

pub(crate) fn installed(changed: bool, active: Option<&str>) -> Fact {
    Fact::Installed {
        changed,
        found: active.map_or(Found::Down, |id| Found::Up(run(id, 5))),
    }
}

pub(crate) fn running() -> State {
    after([
        Fact::Desired(target(1, "a", false)),
        Fact::PullBegan,
        pulled(),
        installed(true, None),
        started("i1", 5),
    ])
}

pub(crate) fn take(state: &State, fact: Fact) -> (State, Vec<Effect>) {
    step(state, event(60_000, fact)).unwrap()
}

pub(crate) fn active(id: &str, at: i64) -> Fact {
    Fact::Observed(Observation::Active(run(id, at)))
}

/// Version 2 is to replace version 1, which does not end when asked and must not be killed.
pub(crate) fn ignored() -> State {
    let (state, _) = take(&running(), Fact::Desired(target(2, "b", true)));
    let (state, _) = take(&state, installed(true, Some("i1")));
    let failure = failure("stop-signal-ignored", Retry::Seldom);
    take(
        &state,
        Fact::StopIgnored {
            invocation: None,
            failure,
        },
    )
    .0
}

/// The bus was lost, or the job cancelled: nothing ended.
pub(crate) fn never_came_about() -> Fact {
    Fact::StartFailed {
        failure: failure("units-disconnected", Retry::Soon),
        image_missing: false,
    }
}

pub(crate) fn generation_up(state: &State) -> Option<u64> {
    state.running.as_ref().map(|running| running.of.generation)
}
