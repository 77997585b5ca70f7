//! Containers that must not be killed and do not end when they are asked.

use fleet_machine::deployment::{Effect, Fact, Found, Observation, Retry, Stage, Start, State, Timer};

use crate::common::{after, failure, pulled, started, target};
use crate::steps::{active, ignored, installed, running, take};

#[test]
fn what_ignores_the_signal_and_must_not_be_killed_goes_on_and_is_asked_again_seldom() {
    let state = ignored();
    assert_eq!(state.stage(), Stage::StopIgnored);
    assert_eq!(state.failure().unwrap().kind, "stop-signal-ignored");
    assert_eq!(
        (state.generation, state.running.as_ref().unwrap().of.generation),
        (2, 1)
    );
    assert_eq!(state.next_try(), Some(60_000 + 150_000));
    // To see it run on is no news.
    let (same, effects) = take(&state, active("i1", 5));
    assert_eq!((&same, effects), (&state, vec![]));
    let (state, effects) = take(&state, Fact::RetryDue(Timer::Unit));
    assert_eq!(state.stage(), Stage::StopIgnored);
    assert!(matches!(effects.as_slice(), [Effect::Start(Start { replaces: Some(old), .. })] if old == "i1"));
    assert_eq!(state.running.unwrap().of.generation, 1);
}

/// Version 1 still starts when version 2 is to replace it: it does not end when asked, and must not be killed.
fn ignored_while_it_starts() -> State {
    let begun = after([
        Fact::Desired(target(1, "a", false)),
        Fact::PullBegan,
        pulled(),
        installed(true, None),
    ]);
    let (state, _) = take(&begun, Fact::Desired(target(2, "b", true)));
    let coming = Found::Coming {
        invocation: Some("i1".to_owned()),
    };
    let (state, _) = take(
        &state,
        Fact::Installed {
            changed: true,
            found: coming,
        },
    );
    let invocation = Some("i1".to_owned());
    let failure = failure("stop-signal-ignored", Retry::Seldom);
    take(&state, Fact::StopIgnored { invocation, failure }).0
}

fn activating(invocation: &str) -> Fact {
    Fact::Observed(Observation::Activating {
        invocation: Some(invocation.to_owned()),
    })
}

#[test]
fn what_ignores_the_signal_while_it_still_starts_is_not_taken_for_the_new_version() {
    let state = ignored_while_it_starts();
    assert_eq!(state.stage(), Stage::StopIgnored);
    let (same, effects) = take(&state, activating("i1"));
    assert_eq!((&same, effects), (&state, vec![]));
    // It came up after all, and runs as what it is.
    let (up, effects) = take(&state, active("i1", 60_000));
    assert_eq!((up.stage(), effects), (Stage::StopIgnored, vec![]));
    assert_eq!(up.running.unwrap().of.generation, 1);
    // It is known for what it is when it is asked again.
    let (_, effects) = take(&state, Fact::RetryDue(Timer::Unit));
    let [Effect::Start(start)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    let overtaken = start.overtakes.as_ref().unwrap();
    assert_eq!(
        (overtaken.invocation.as_deref(), overtaken.of.generation),
        (Some("i1"), 1)
    );
    // Any other start is one of the new version.
    assert_eq!(take(&state, activating("i2")).0.stage(), Stage::Starting);
}

#[test]
fn a_signal_that_could_not_be_sent_to_anybody_is_a_failed_start() {
    let (state, _) = take(&running(), Fact::Desired(target(2, "b", true)));
    let (state, _) = take(&state, installed(true, None));
    let (invocation, failure) = (None, failure("stop-failed", Retry::Soon));
    let (state, _) = take(&state, Fact::StopIgnored { invocation, failure });
    assert_eq!(state.stage(), Stage::Down);
    assert!(state.next_try().is_some());
}

#[test]
fn what_ends_by_itself_after_all_makes_room_for_the_new_version() {
    let stopped = Fact::Observed(Observation::Stopped(failure("stopped", Retry::Soon)));
    for fact in [
        active("i2", 60_000),
        Fact::Observed(Observation::Activating { invocation: None }),
        Fact::Observed(Observation::Finished),
        stopped,
    ] {
        let (state, effects) = take(&ignored(), fact);
        assert_eq!((state.stage(), &state.running), (Stage::Starting, &None));
        assert!(
            matches!(effects.as_slice(), [Effect::Start(Start { replaces: Some(old), .. })] if old == "i1")
        );
        let (state, _) = take(&state, started("i2", 60_000));
        assert_eq!(state.running.as_ref().unwrap().of.spec, "b");
        assert_eq!(state.cutover.unwrap().from, 1);
    }
}

#[test]
fn from_a_container_that_will_not_end_a_new_specification_rolls_forward_and_its_own_restarts_nothing() {
    let (state, effects) = take(&ignored(), Fact::Desired(target(3, "c", true)));
    assert!(matches!(effects.as_slice(), [Effect::Install(of)] if of.spec == "c"));
    assert_eq!((state.stage(), state.failed_tries()), (Stage::Replacing, 0));
    assert_eq!(state.running.as_ref().unwrap().of.generation, 1);
    // Back to the one that runs: it was never stopped.
    let (state, _) = take(&ignored(), Fact::Desired(target(3, "a", true)));
    let (state, effects) = take(&state, installed(true, Some("i1")));
    assert_eq!((state.stage(), effects), (Stage::Running, vec![]));
    assert_eq!(state.running.unwrap().of.generation, 3);
    // Asked for once more, it is tried at once.
    let (_, effects) = take(&ignored(), Fact::Desired(target(3, "b", false)));
    assert!(matches!(effects.as_slice(), [Effect::Start(_)]));
}

#[test]
fn a_container_that_ignores_its_signal_is_told_all_the_while_it_is_asked_again() {
    let (state, _) = take(&running(), Fact::Desired(target(4, "c", true)));
    let (state, _) = take(&state, installed(true, Some("i1")));
    let (state, _) = take(
        &state,
        Fact::StopIgnored {
            invocation: None,
            failure: failure("stop-signal-ignored", Retry::Seldom),
        },
    );
    let marks = state.marks.len();
    let (asking, effects) = take(&state, Fact::RetryDue(Timer::Unit));
    assert!(matches!(effects.as_slice(), [Effect::Start(Start { replaces: Some(old), .. })] if old == "i1"));
    assert_eq!((asking.stage(), asking.next_try()), (Stage::StopIgnored, None));
    assert_eq!(asking.failure().unwrap().kind, "stop-signal-ignored");
    // In vain, and again after a restart of the agent.
    let (ignored, _) = take(
        &asking,
        Fact::StopIgnored {
            invocation: None,
            failure: failure("stop-signal-ignored", Retry::Seldom),
        },
    );
    assert!(ignored.next_try().is_some() && ignored.marks.len() == marks);
    let (resumed, effects) = take(&asking, Fact::Resumed);
    assert!(resumed.next_try().is_some() && effects.len() == 2, "{effects:?}");
    // Heard at last.
    let (state, _) = take(&asking, started("i2", 6));
    assert_eq!(state.stage(), Stage::Running);
    assert_eq!(state.cutover.unwrap().from, 1);
}
