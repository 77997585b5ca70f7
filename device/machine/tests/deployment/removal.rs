//! What is no longer asked for.

use fleet_machine::deployment::{Effect, Fact, Retry, Stage, State, Timer, Unit};

use crate::common::{failure, target};
use crate::steps::{ignored, running, take};

#[test]
fn removal_ends_with_nothing_and_only_then_is_the_key_deleted() {
    let (state, effects) = take(&running(), Fact::Gone);
    assert_eq!((state.stage(), effects), (Stage::Removing, vec![Effect::Remove]));
    let (state, effects) = take(&state, Fact::RemoveFailed(failure("volume-in-use", Retry::Soon)));
    assert_eq!(state.stage(), Stage::Removing);
    assert_eq!(state.failure().unwrap().kind, "volume-in-use");
    assert!(matches!(effects.as_slice(), [Effect::RetryAfter(Timer::Unit, _)]));
    let (state, effects) = take(&state, Fact::RetryDue(Timer::Unit));
    assert_eq!(effects, vec![Effect::Remove]);
    let (state, effects) = take(&state, Fact::Removed);
    assert_eq!((state, effects), (State::default(), vec![Effect::Forget]));
}

#[test]
fn asked_for_again_during_its_removal_it_comes_back_after_it() {
    let (state, _) = take(&running(), Fact::Gone);
    let (state, effects) = take(&state, Fact::Desired(target(1, "a", false)));
    assert_eq!((state.stage(), effects), (Stage::Removing, vec![]));
    let (state, effects) = take(&state, Fact::Removed);
    assert_eq!(effects, vec![Effect::Pull(target(1, "a", false))]);
    assert_eq!(state.stage(), Stage::Queued);
}

#[test]
fn a_removal_remembers_what_it_stops_and_says_why_it_goes_on() {
    let (state, _) = take(&ignored(), Fact::Gone);
    let was = |state: &State| match &state.unit {
        Unit::Removing { was, .. } => was.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        was(&state).as_deref(),
        Some("a"),
        "it is the old version that runs"
    );
    let ignored = Fact::RemoveFailed(failure("stop-signal-ignored", Retry::Seldom));
    let (state, _) = take(&state, ignored);
    assert_eq!(state.stage(), Stage::Removing);
    assert_eq!(state.failure().unwrap().kind, "stop-signal-ignored");
    let (state, effects) = take(&state, Fact::Resumed);
    assert_eq!(
        (was(&state).as_deref(), effects),
        (Some("a"), vec![Effect::Remove])
    );
}
