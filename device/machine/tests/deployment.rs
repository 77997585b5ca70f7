//! What the machine does, rule by rule.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use common::{after, event, failure, one_of_each_stage, run, target};
use fleet_machine::deployment::{
    Effect, Fact, Goal, Observation, Retry, Stage, Start, State, Timer, Unit, step,
};

fn pulled() -> Fact {
    Fact::Pulled {
        digest: "sha256:aa".to_owned(),
    }
}

fn installed(changed: bool, active: Option<&str>) -> Fact {
    Fact::Installed {
        changed,
        active: active.map(|id| run(id, 5)),
    }
}

fn running() -> State {
    after([
        Fact::Desired(target(1, "a", false)),
        Fact::PullBegan,
        pulled(),
        installed(true, None),
        Fact::Started(run("i1", 5)),
    ])
}

fn take(state: &State, fact: Fact) -> (State, Vec<Effect>) {
    step(state, event(60_000, fact)).unwrap()
}

/// Each stage against each fact: `.` taken in, `x` illegal. A change here is a change of the contract.
#[test]
fn every_stage_takes_every_fact_or_says_that_it_is_illegal() {
    let names: Vec<&str> = common::alphabet().iter().map(Fact::name).collect();
    assert_eq!(names.len(), 30);
    let table: Vec<(Stage, String)> = one_of_each_stage()
        .into_iter()
        .map(|(stage, state)| {
            assert_eq!(state.stage(), stage);
            let row = common::alphabet()
                .into_iter()
                .map(|fact| match step(&state, event(1, fact)) {
                    Ok(_) => '.',
                    Err(_) => 'x',
                });
            (stage, row.collect())
        })
        .collect();
    // desired×4 rejected gone | began progress pulled pull-failed×2 | installed×3 install-failed |
    // started finished start-failed×2 | active activating stopped×2 finished drifted | retry×2 removed remove-failed resumed
    let expected = [
        (Stage::Absent, "......xxxxxxxxxxxxxxxxxxx..xx."),
        (Stage::Queued, ".......x...xxxxxxxxxxxxxx..xx."),
        (Stage::Pulling, "...........xxxxxxxxxxxxxx..xx."),
        (Stage::PullFailed, "......xxxxxxxxxxxxxxxxxxx..xx."),
        (Stage::Rejected, "......xxxxxxxxxxxxxxxxxxx..xx."),
        (Stage::Replacing, "......xxxxx....xxxx........xx."),
        (Stage::Installing, "......xxxxx....xxxx........xx."),
        (Stage::InstallFailed, "......xxxxxxxxxxxxx........xx."),
        (Stage::Starting, "......xxxxxxxxx............xx."),
        (Stage::Running, "......xxxxxxxxxxxxx........xx."),
        (Stage::Finished, "......xxxxxxxxxxxxx........xx."),
        (Stage::Down, "......xxxxxxxxxxxxx........xx."),
        (Stage::Removing, "......xxxxxxxxxxxxx..........."),
    ];
    for ((stage, row), (_, wanted)) in table.iter().zip(expected) {
        assert_eq!(row, wanted, "{stage}");
    }
    assert_eq!(table.len(), Stage::ALL.len());
}

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
    let (state, effects) = take(&state, Fact::Observed(Observation::Activating));
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
    assert_eq!(state.stage(), Stage::Starting);
    assert!(matches!(effects.as_slice(), [Effect::Start(_)]));
}

#[test]
fn a_device_without_a_record_adopts_what_runs_from_unchanged_files() {
    let pulled = after([Fact::Desired(target(1, "a", false)), pulled()]);
    let (state, effects) = take(&pulled, installed(false, Some("i1")));
    assert_eq!((state.stage(), effects), (Stage::Running, vec![]));
    // After a crash in between it could be the old version that runs.
    let (resumed, _) = take(&pulled, Fact::Resumed);
    let (state, _) = take(&resumed, installed(false, Some("i1")));
    assert_eq!(state.stage(), Stage::Starting);
}

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
fn a_container_that_crashes_again_and_again_is_down_until_it_settles() {
    let stopped = || Fact::Observed(Observation::Stopped(failure("container-exited", Retry::Soon)));
    let active = |id, at| Fact::Observed(Observation::Active(run(id, at)));
    let (state, _) = take(&running(), stopped());
    // The first time systemd brings it back, that is good enough.
    let (state, _) = take(&state, active("i2", 60_000));
    assert_eq!(state.stage(), Stage::Running);
    let (state, _) = take(&state, stopped());
    let (state, effects) = take(&state, active("i3", 60_000));
    assert_eq!((state.stage(), effects), (Stage::Down, vec![]));
    let (state, effects) = take(&state, Fact::RetryDue(Timer::Unit));
    assert_eq!(state.stage(), Stage::Down);
    assert!(matches!(effects.as_slice(), [Effect::RetryAfter(Timer::Unit, _)]));
    let (state, effects) = step(&state, event(70_000, Fact::RetryDue(Timer::Unit))).unwrap();
    assert_eq!((state.stage(), effects), (Stage::Running, vec![]));
}

#[test]
fn a_container_that_is_done_is_not_started_again() {
    let finished = || Fact::Observed(Observation::Finished);
    let (state, effects) = take(&running(), finished());
    assert_eq!((state.stage(), effects), (Stage::Finished, vec![]));
    assert_eq!((state.running.as_ref(), state.failure()), (None, None));
    for fact in [
        Fact::RetryDue(Timer::Unit),
        Fact::Observed(Observation::Activating),
        finished(),
        // The same specification under a new generation, as when its selector changed.
        Fact::Desired(target(2, "a", false)),
    ] {
        let (state, effects) = take(&state, fact.clone());
        assert_eq!((state.stage(), effects), (Stage::Finished, vec![]), "{fact:?}");
    }
    // Another specification is another thing to do.
    let (_, effects) = take(&state, Fact::Desired(target(3, "b", true)));
    assert!(matches!(effects.as_slice(), [Effect::Install(_)]));
}

#[test]
fn a_file_of_a_container_that_is_done_is_put_right_and_nothing_is_started() {
    let (state, _) = take(&running(), Fact::Observed(Observation::Finished));
    let (state, effects) = take(&state, Fact::Drifted(failure("unit-file-changed", Retry::Soon)));
    assert!(matches!(effects.as_slice(), [Effect::Install(_)]));
    // Nor after a restart of the agent in the midst of it.
    let (state, effects) = take(&state, Fact::Resumed);
    assert!(matches!(effects.as_slice(), [Effect::Install(_)]));
    let installed = Fact::Installed {
        changed: true,
        active: None,
    };
    let (state, effects) = take(&state, installed);
    assert_eq!((state.stage(), effects), (Stage::Finished, vec![]));
}

#[test]
fn a_container_that_is_done_before_its_start_is_over_is_finished_and_the_next_boot_runs_it_again() {
    let (starting, _) = take(
        &after([Fact::Desired(target(1, "a", true))]),
        Fact::Installed {
            changed: true,
            active: None,
        },
    );
    let (state, effects) = take(&starting, Fact::Finished);
    assert_eq!((state.stage(), effects), (Stage::Finished, vec![]));
    let (state, effects) = take(&state, Fact::Observed(Observation::Active(run("i9", 9))));
    assert_eq!((state.stage(), effects), (Stage::Running, vec![]));
}

#[test]
fn after_a_reboot_the_run_that_systemd_started_is_taken_over() {
    let (state, effects) = take(&running(), Fact::Resumed);
    assert!(matches!(effects.as_slice(), [Effect::Verify(_)]));
    let (up, effects) = take(&state, Fact::Observed(Observation::Active(run("i2", 9))));
    assert_eq!((up.stage(), effects), (Stage::Running, vec![]));
    assert_eq!(up.running.unwrap().run.invocation, "i2");
    // Still starting: not running until it is.
    let (state, effects) = take(&state, Fact::Observed(Observation::Activating));
    assert_eq!(state.stage(), Stage::Starting);
    assert!(matches!(effects.as_slice(), [Effect::Start(_)]));
}

#[test]
fn each_stage_resumes_with_the_effect_that_moves_it_on() {
    for (stage, state) in one_of_each_stage() {
        let (after, effects) = take(&state, Fact::Resumed);
        let moved = match stage {
            Stage::Absent | Stage::Rejected => effects.is_empty(),
            Stage::Queued | Stage::Pulling => matches!(effects.as_slice(), [Effect::Pull(_)]),
            Stage::PullFailed => matches!(effects.as_slice(), [Effect::RetryAfter(Timer::Goal, _)]),
            Stage::Replacing | Stage::Installing => matches!(effects.as_slice(), [Effect::Install(_)]),
            Stage::Starting => matches!(effects.as_slice(), [Effect::Start(_)]),
            Stage::Running | Stage::Finished => matches!(effects.as_slice(), [Effect::Verify(_)]),
            Stage::InstallFailed | Stage::Down => {
                matches!(effects.as_slice(), [Effect::RetryAfter(Timer::Unit, _)])
            }
            Stage::Removing => matches!(effects.as_slice(), [Effect::Remove]),
        };
        assert!(moved, "{stage}: {effects:?}");
        assert_eq!(after.running, state.running, "{stage}");
    }
}

#[test]
fn the_record_is_read_back_and_what_changes_each_second_is_not_in_it() {
    for (stage, state) in one_of_each_stage() {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state, "{stage}");
    }
    let pulling = after([Fact::Desired(target(1, "a", false)), Fact::PullBegan]);
    let (further, _) = take(&pulling, Fact::PullProgress(Default::default()));
    assert_ne!(further, pulling);
    let text = |state: &State| serde_json::to_string(state).unwrap();
    assert_eq!(text(&further), text(&pulling));
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
