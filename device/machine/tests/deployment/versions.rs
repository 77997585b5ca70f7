//! One version after the other: what is pulled, what serves meanwhile, and what is restarted.

use fleet_machine::deployment::{Effect, Fact, Goal, Observation, Retry, Stage, Start, Timer, Unit};

use crate::common::{after, failure, pulled, started, target};
use crate::steps::{generation_up, installed, running, take};

#[test]
fn the_old_version_is_not_touched_before_the_new_image_is_there() {
    let (state, effects) = take(&running(), Fact::Desired(target(2, "b", false)));
    assert_eq!(effects, vec![Effect::Pull(target(2, "b", false))]);
    assert_eq!(state.stage(), Stage::Queued);
    assert_eq!(state.running.as_ref().unwrap().of.generation, 1);
    let (state, effects) = take(&state, pulled());
    assert!(matches!(effects.as_slice(), [Effect::Install(of)] if of.spec == "b"));
    assert_eq!(state.stage(), Stage::Replacing);
    let (state, effects) = take(&state, installed(true, Some("i1")));
    assert!(matches!(effects.as_slice(), [Effect::Start(Start { replaces: Some(old), .. })] if old == "i1"));
    assert_eq!(state.stage(), Stage::Replacing, "the old run is being stopped");
    let (state, effects) = take(
        &state,
        Fact::Observed(Observation::Activating { invocation: None }),
    );
    assert_eq!((state.stage(), effects), (Stage::Starting, vec![]));
    assert_eq!(state.running, None);
}

#[test]
fn a_failed_pull_leaves_the_old_version_running_and_the_state_says_both() {
    let (state, _) = take(&running(), Fact::Desired(target(2, "b", false)));
    let (state, effects) = take(
        &state,
        Fact::PullFailed(failure("image-not-found", Retry::Seldom)),
    );
    assert_eq!(state.stage(), Stage::PullFailed);
    assert_eq!(state.generation, 2);
    assert_eq!(state.failure().unwrap().kind, "image-not-found");
    assert_eq!(state.running.as_ref().unwrap().of.generation, 1);
    assert!(state.next_try().is_some());
    let [Effect::RetryAfter(Timer::Goal, wait)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(wait.as_secs(), 150);
}

#[test]
fn the_same_specification_under_a_new_generation_restarts_nothing() {
    let (state, effects) = take(&running(), Fact::Desired(target(7, "a", false)));
    assert_eq!(effects, vec![]);
    assert_eq!((state.generation, state.stage()), (7, Stage::Running));
    assert_eq!(state.running.unwrap().of.generation, 7);
}

#[test]
fn a_newer_specification_replaces_the_pull_of_an_older_one() {
    let pulling = after([Fact::Desired(target(1, "a", false)), Fact::PullBegan]);
    let (state, effects) = take(&pulling, Fact::Desired(target(2, "b", false)));
    assert_eq!(effects, vec![Effect::Pull(target(2, "b", false))]);
    assert_eq!((state.generation, state.stage()), (2, Stage::Queued));
}

#[test]
fn going_back_to_what_runs_cancels_the_pull_and_touches_nothing() {
    let (state, _) = take(&running(), Fact::Desired(target(2, "b", false)));
    let (state, effects) = take(&state, Fact::Desired(target(3, "a", false)));
    assert_eq!(effects, vec![Effect::CancelPull]);
    assert_eq!((state.generation, state.stage()), (3, Stage::Running));
}

#[test]
fn an_image_at_hand_is_not_pulled_and_one_that_is_missing_after_all_is() {
    let (state, effects) = take(&running(), Fact::Desired(target(2, "b", true)));
    assert!(matches!(effects.as_slice(), [Effect::Install(_)]));
    let (state, _) = take(&state, installed(true, Some("i1")));
    let missing = || Fact::StartFailed {
        failure: failure("image-missing", Retry::Soon),
        image_missing: true,
    };
    let (state, effects) = take(&state, missing());
    assert!(matches!(effects.as_slice(), [Effect::Pull(_)]));
    let (state, _) = take(&state, pulled());
    let (state, _) = take(&state, installed(false, None));
    // Pulled and still missing: no second pull at once, but a wait.
    let (state, effects) = take(&state, missing());
    assert_eq!(state.stage(), Stage::PullFailed);
    let [Effect::RetryAfter(Timer::Goal, first)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    // Then it is pulled again, and each time that it is lost the wait grows.
    let (state, effects) = take(&state, Fact::RetryDue(Timer::Goal));
    assert!(matches!(effects.as_slice(), [Effect::Pull(_)]));
    let (state, _) = take(&state, pulled());
    let (state, _) = take(&state, installed(false, None));
    let (_, effects) = take(&state, missing());
    assert!(matches!(effects.as_slice(), [Effect::RetryAfter(Timer::Goal, wait)] if wait > first));
}

#[test]
fn what_cannot_be_run_leaves_the_old_version_running() {
    let rejected = Fact::Rejected {
        generation: None,
        failure: failure("value-malformed", Retry::Never),
    };
    let (state, effects) = take(&running(), rejected);
    assert_eq!(effects, vec![]);
    assert_eq!(state.stage(), Stage::Rejected);
    assert_eq!(state.next_try(), None);
    assert!(state.running.is_some());
    // And it is kept up meanwhile.
    let stopped = Fact::Observed(Observation::Stopped(failure("stopped", Retry::Soon)));
    let (state, effects) = take(&state, stopped);
    assert!(matches!(effects.as_slice(), [Effect::RetryAfter(Timer::Unit, _)]));
    let (state, effects) = take(&state, Fact::RetryDue(Timer::Unit));
    assert!(matches!(effects.as_slice(), [Effect::Install(_)]));
    assert!(matches!(state.unit, Unit::Installing { .. }));
}

#[test]
fn a_file_changed_by_hand_is_written_again_without_a_restart() {
    let edited = || Fact::Drifted(failure("unit-file-changed", Retry::Soon));
    let (state, effects) = take(&running(), edited());
    assert!(matches!(effects.as_slice(), [Effect::Install(_)]));
    assert_eq!(state.failure().unwrap().kind, "unit-file-changed");
    let (state, effects) = take(&state, installed(true, Some("i1")));
    assert_eq!((state.stage(), effects), (Stage::Running, vec![]));
    // Restarted by hand with the changed file: that run is not ours.
    let (state, _) = take(&state, edited());
    let (state, effects) = take(&state, installed(true, Some("i9")));
    assert_eq!(state.stage(), Stage::Replacing);
    assert!(matches!(effects.as_slice(), [Effect::Start(Start { replaces: Some(old), .. })] if old == "i9"));
}

#[test]
fn going_back_to_what_runs_restarts_nothing_whatever_came_of_the_version_between() {
    let (state, _) = take(&running(), Fact::Desired(target(2, "b", true)));
    for between in [
        state.clone(),
        take(&state, Fact::InstallFailed(failure("disk-full", Retry::Soon))).0,
    ] {
        let (state, _) = take(&between, Fact::Desired(target(3, "a", true)));
        let (state, effects) = take(&state, installed(true, Some("i1")));
        assert_eq!((state.stage(), effects), (Stage::Running, vec![]));
        assert_eq!(generation_up(&state), Some(3));
    }
}

#[test]
fn a_version_that_never_came_up_is_replaced_by_the_next() {
    let down = after([
        Fact::Desired(target(1, "a", false)),
        pulled(),
        installed(true, None),
        Fact::StartFailed {
            failure: failure("start-failed", Retry::Soon),
            image_missing: false,
        },
    ]);
    assert_eq!(down.failed_tries(), 1);
    let (state, _) = take(&down, Fact::Desired(target(2, "b", true)));
    assert_eq!(state.failed_tries(), 0);
    assert!(matches!(
        (&state.goal, &state.unit),
        (Goal::Met, Unit::Installing { .. })
    ));
}

#[test]
fn the_figures_of_a_cut_over_are_kept_for_a_change_of_version_and_for_nothing_else() {
    assert_eq!(running().cutover, None, "nothing was replaced");
    let (state, _) = take(&running(), Fact::Desired(target(2, "b", true)));
    let (state, _) = take(&state, installed(true, Some("i1")));
    let (state, _) = take(
        &state,
        Fact::Observed(Observation::Activating { invocation: None }),
    );
    let (state, _) = take(&state, started("i2", 60_000));
    let cutover = state.cutover.unwrap();
    assert_eq!((cutover.from, cutover.gap.stop, cutover.gap.down), (1, 300, 700));
    // A restart of the same version is none, and leaves what is known.
    let (after, _) = take(
        &state,
        Fact::Observed(Observation::Activating { invocation: None }),
    );
    let (after, _) = take(&after, started("i3", 60_000));
    assert_eq!(after.cutover, state.cutover);
    let (state, _) = take(&state, Fact::Desired(target(3, "c", true)));
    assert_eq!(state.cutover, None);
}
