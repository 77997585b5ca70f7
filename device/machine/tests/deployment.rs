//! What the machine does, rule by rule.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use common::{
    after, coming, ended, event, failure, init_runs, one_of_each_stage, pulled, run, started, target,
};
use fleet_machine::deployment::{
    Effect, Fact, Found, Goal, Observation, Restarts, Retry, Stage, Start, State, Timer, Unit, step,
};

fn installed(changed: bool, active: Option<&str>) -> Fact {
    Fact::Installed {
        changed,
        found: active.map_or(Found::Down, |id| Found::Up(run(id, 5))),
    }
}

fn running() -> State {
    after([
        Fact::Desired(target(1, "a", false)),
        Fact::PullBegan,
        pulled(),
        installed(true, None),
        started("i1", 5),
    ])
}

fn take(state: &State, fact: Fact) -> (State, Vec<Effect>) {
    step(state, event(60_000, fact)).unwrap()
}

/// Each stage against each fact: `.` taken in, `x` illegal. A change here is a change of the contract.
#[test]
fn every_stage_takes_every_fact_or_says_that_it_is_illegal() {
    let names: Vec<&str> = common::alphabet().iter().map(Fact::name).collect();
    assert_eq!(names.len(), 37);
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
    // desired×4 rejected gone | began progress pulled pull-failed×2 | installed×5 install-failed |
    // init-runs stop-ignored started finished start-failed×2 still-restarting | active×2 activating stopped×3 finished drifted | retry×2 removed remove-failed resumed
    let expected = [
        (Stage::Absent, "......xxxxxxxxxxxxxxxxxxxxxxxxxx..xx."),
        (Stage::Queued, ".......x...xxxxxxxxxxxxxxxxxxxxx..xx."),
        (Stage::Pulling, "...........xxxxxxxxxxxxxxxxxxxxx..xx."),
        (Stage::PullFailed, "......xxxxxxxxxxxxxxxxxxxxxxxxxx..xx."),
        (Stage::Rejected, "......xxxxxxxxxxxxxxxxxxxxxxxxxx..xx."),
        (Stage::Replacing, "......xxxxx......xxxxxxx..........xx."),
        (Stage::Installing, "......xxxxx......xxxxxxx..........xx."),
        (Stage::InstallFailed, "......xxxxxxxxxxxxxxxxxx..........xx."),
        (Stage::StopIgnored, "......xxxxxxxxxxxx................xx."),
        (Stage::Starting, "......xxxxxxxxxxx.................xx."),
        (Stage::Running, "......xxxxxxxxxxxxxxxxxx..........xx."),
        (Stage::Finished, "......xxxxxxxxxxxxxxxxxx..........xx."),
        (Stage::Down, "......xxxxxxxxxxxxxxxxxx..........xx."),
        (Stage::Removing, "......xxxxxxxxxxxxxxxxxx............."),
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

fn ends(early: bool) -> Fact {
    Fact::Observed(Observation::Stopped(ended("container-exited", early)))
}

fn active(id: &str, at: i64) -> Fact {
    Fact::Observed(Observation::Active(run(id, at)))
}

fn waits(effects: &[Effect]) -> u128 {
    match effects {
        [Effect::RetryAfter(Timer::Unit, wait)] => wait.as_millis(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_container_that_crashes_again_and_again_is_down_until_it_settles() {
    let (state, _) = take(&running(), ends(false));
    // The first time systemd brings it back, that is good enough.
    let (state, _) = take(&state, active("i2", 60_000));
    assert_eq!(state.stage(), Stage::Running);
    let (state, _) = take(&state, ends(false));
    let (down, effects) = take(&state, active("i3", 60_000));
    assert_eq!((down.stage(), waits(&effects)), (Stage::Down, 10_000));
    // Seen once more it is the same run.
    assert_eq!(take(&down, active("i3", 60_000)).1, vec![]);
    // Nor is it started once more because somebody asks again.
    assert_eq!(take(&down, Fact::Desired(target(2, "a", false))).1, vec![]);
    let (state, effects) = take(&down, Fact::RetryDue(Timer::Unit));
    assert_eq!((state.stage(), effects), (Stage::Running, vec![]));
}

#[test]
fn restarts_by_systemd_are_not_written_down_one_by_one_and_the_next_try_stays_where_it_was() {
    let (state, _) = take(&running(), ends(true));
    let text = |state: &State| serde_json::to_string(state).unwrap();
    let (back, _) = take(&state, active("i3", 60_000));
    let (again, effects) = step(&back, event(60_200, ends(true))).unwrap();
    assert_eq!((text(&back), text(&again)), (text(&state), text(&state)));
    let left = state.next_try().unwrap() - 60_200;
    assert_eq!(i64::try_from(waits(&effects)).unwrap(), left);
}

#[test]
fn after_an_early_exit_coming_up_is_no_proof_and_staying_up_is() {
    let (state, _) = take(&running(), ends(true));
    assert_eq!((state.stage(), state.failed_tries()), (Stage::Down, 1));
    // Brought back by systemd, or started by the agent: it has to stay up.
    let (by_systemd, effects) = take(&state, active("i2", 60_000));
    assert_eq!((by_systemd.stage(), waits(&effects)), (Stage::Down, 10_000));
    let (state, _) = take(&state, Fact::RetryDue(Timer::Unit));
    let (state, _) = take(&state, installed(false, None));
    let (state, effects) = take(&state, started("i3", 60_000));
    assert_eq!((state.stage(), waits(&effects)), (Stage::Down, 10_000));
    assert_eq!(state.failure().unwrap().kind, "container-exited");
    let (up, _) = take(&state, Fact::RetryDue(Timer::Unit));
    assert_eq!((up.stage(), up.unproven.as_ref()), (Stage::Running, None));
    // One that ends meanwhile is the end of a try: the next one comes later.
    let (state, effects) = take(&state, ends(true));
    assert_eq!((state.stage(), state.failed_tries()), (Stage::Down, 2));
    assert_eq!(waits(&effects), 1_000);
    // Another version starts with a clean sheet.
    let (state, _) = take(&state, Fact::Desired(target(2, "b", true)));
    let (state, _) = take(&state, installed(true, None));
    assert_eq!(take(&state, started("i9", 60_000)).0.stage(), Stage::Running);
}

#[test]
fn what_ended_during_its_start_has_to_stay_up_and_what_an_init_container_kept_down_has_not() {
    let (starting, _) = take(
        &after([Fact::Desired(target(1, "a", true))]),
        installed(true, None),
    );
    let fails = |failure| Fact::StartFailed {
        failure,
        image_missing: false,
    };
    let (state, _) = take(&starting, fails(ended("exited-early", true)));
    assert_eq!(take(&state, active("i2", 60_000)).0.stage(), Stage::Down);
    let mut of_init = ended("init-failed", false);
    of_init.end.as_mut().unwrap().init = Some("migrate".to_owned());
    let (state, _) = take(&starting, fails(of_init.clone()));
    assert_eq!(state.failure(), Some(&of_init));
    assert_eq!(take(&state, active("i2", 60_000)).0.stage(), Stage::Running);
}

/// Version 2 is to replace version 1, which does not end when asked and must not be killed.
fn ignored() -> State {
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

/// The bus was lost, or the job cancelled: nothing ended.
fn never_came_about() -> Fact {
    Fact::StartFailed {
        failure: failure("units-disconnected", Retry::Soon),
        image_missing: false,
    }
}

fn generation_up(state: &State) -> Option<u64> {
    state.running.as_ref().map(|running| running.of.generation)
}

#[test]
fn a_start_that_never_came_about_does_not_make_the_old_run_one_of_the_new_version() {
    let (state, _) = take(&running(), Fact::Desired(target(2, "b", true)));
    let (state, _) = take(&state, installed(true, Some("i1")));
    let (state, _) = take(&state, never_came_about());
    assert_eq!((state.stage(), generation_up(&state)), (Stage::Down, Some(1)));
    // Seen to be up, it is still the old one; seen to have ended, it is not the new one's end.
    let (state, effects) = take(&state, active("i1", 5));
    assert_eq!(
        (state.stage(), generation_up(&state), effects),
        (Stage::Down, Some(1), vec![])
    );
    let (over, _) = take(&state, Fact::Observed(Observation::Finished));
    assert_eq!((over.stage(), generation_up(&over)), (Stage::Down, None));
    assert!(over.next_try().is_some());
    // The next try replaces it, as what it is.
    let (state, _) = take(&state, Fact::RetryDue(Timer::Unit));
    let (state, _) = take(&state, installed(false, Some("i1")));
    assert_eq!(
        (state.stage(), generation_up(&state)),
        (Stage::Replacing, Some(1))
    );
    // A run with another name is of the files that are there.
    let (state, _) = take(&state, never_came_about());
    assert_eq!(take(&state, active("i2", 60_000)).0.stage(), Stage::Running);
}

#[test]
fn a_start_that_is_overtaken_stays_known_for_what_it_is_through_failures_and_a_third_version() {
    let begun = after([
        Fact::Desired(target(1, "a", false)),
        Fact::PullBegan,
        pulled(),
        installed(true, None),
    ]);
    let coming = |id: &str| Fact::Installed {
        changed: false,
        found: Found::Coming {
            invocation: Some(id.to_owned()),
        },
    };
    let overtaken = |effects: &[Effect]| match effects {
        [Effect::Start(start)] => start.overtakes.as_ref().map(|older| older.of.generation),
        other => panic!("{other:?}"),
    };
    let (state, _) = take(&begun, Fact::Desired(target(2, "b", true)));
    // Its files could not be loaded at first.
    let (state, _) = take(&state, Fact::InstallFailed(failure("disk-full", Retry::Soon)));
    let (state, _) = take(&state, Fact::RetryDue(Timer::Unit));
    let (state, effects) = take(&state, coming("i1"));
    assert_eq!(overtaken(&effects), Some(1));
    // Then the bus was lost.
    let (state, _) = take(&state, never_came_about());
    let (state, _) = take(&state, Fact::RetryDue(Timer::Unit));
    let (state, effects) = take(&state, coming("i1"));
    assert_eq!(overtaken(&effects), Some(1));
    // A third version takes its place as little for the second.
    let (state, _) = take(&state, Fact::Desired(target(3, "c", true)));
    let (third, effects) = take(&state, coming("i1"));
    assert_eq!(overtaken(&effects), Some(1));
    // Up by then, it runs as the first; and it is what a removal has to stop.
    let (up, _) = take(&state, installed(true, Some("i1")));
    assert_eq!(generation_up(&up), Some(1));
    let (removing, _) = take(&third, Fact::Gone);
    assert!(matches!(removing.unit, Unit::Removing { was: Some(spec), .. } if spec == "a"));
    // Another start is not the first one's.
    let (_, effects) = take(&state, coming("i2"));
    assert_eq!(overtaken(&effects), None);
    // Back to the first: its start need not end for its own sake.
    let (state, _) = take(&third, Fact::Desired(target(4, "a", true)));
    let (state, effects) = take(&state, coming("i1"));
    assert_eq!((overtaken(&effects), state.stage()), (None, Stage::Starting));
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

#[test]
fn the_init_container_that_runs_is_told_while_it_starts_and_is_not_written_down() {
    let (starting, _) = take(
        &after([Fact::Desired(target(1, "a", true))]),
        installed(true, None),
    );
    let (state, effects) = take(&starting, init_runs());
    assert_eq!(
        (state.init().unwrap().name.as_str(), effects),
        ("migrate", vec![])
    );
    let text = |state: &State| serde_json::to_string(state).unwrap();
    assert_eq!(text(&state), text(&starting));
    assert_eq!(take(&state, started("i1", 5)).0.init(), None);
}

/// Written by version 0.3.0, before init containers, lifecycles and the ends of runs were recorded. Never edited.
#[test]
fn a_record_of_an_older_agent_is_read() {
    let text = include_str!("fixtures/states-0.3.0.json");
    let states: Vec<State> = serde_json::from_str(text).unwrap();
    let stages: Vec<Stage> = states.iter().map(State::stage).collect();
    assert_eq!(
        stages,
        [
            Stage::Running,
            Stage::Queued,
            Stage::Replacing,
            Stage::Down,
            Stage::Removing
        ]
    );
    for state in states {
        assert!(step(&state, event(1, Fact::Resumed)).is_ok());
    }
}

#[test]
fn a_container_that_is_done_is_not_started_again() {
    let finished = || Fact::Observed(Observation::Finished);
    let (state, effects) = take(&running(), finished());
    assert_eq!((state.stage(), effects), (Stage::Finished, vec![]));
    assert_eq!((state.running.as_ref(), state.failure()), (None, None));
    for fact in [
        Fact::RetryDue(Timer::Unit),
        Fact::Observed(Observation::Activating { invocation: None }),
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
        found: Found::Down,
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
            found: Found::Down,
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
    let (state, effects) = take(
        &state,
        Fact::Observed(Observation::Activating { invocation: None }),
    );
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
            Stage::InstallFailed => matches!(effects.as_slice(), [Effect::RetryAfter(Timer::Unit, _)]),
            Stage::StopIgnored | Stage::Down => {
                matches!(
                    effects.as_slice(),
                    [Effect::Verify(_), Effect::RetryAfter(Timer::Unit, _)]
                )
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

/// What runs by the old files must not be taken for the new version because it came up in the meantime.
#[test]
fn a_start_of_an_older_version_that_is_under_way_is_started_over() {
    let facts = || {
        vec![
            Fact::Desired(target(1, "a", true)),
            installed(true, None),
            Fact::Desired(target(4, "c", true)),
        ]
    };
    for changed in [false, true] {
        let (state, effects) = take(&after(facts()), coming(changed));
        let [Effect::Start(start)] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        let overtaken = start.overtakes.as_ref().unwrap();
        assert_eq!((overtaken.of.spec.as_str(), overtaken.of.generation), ("a", 1));
        assert_eq!(overtaken.invocation.as_deref(), Some("i1"));
        assert_eq!(start.replaces.as_deref(), Some("i1"), "also once it is up");
        // After a restart of the agent it is not joined either.
        let (_, again) = take(&state, Fact::Resumed);
        assert_eq!(again, effects);
        let (state, _) = take(&state, started("i2", 6));
        assert!(state.cutover.is_none(), "the old one never served");
    }
    // Its own start, asked for by an agent that died, is joined.
    let (_, effects) = take(&after([Fact::Desired(target(1, "a", true))]), coming(false));
    assert!(matches!(
        effects.as_slice(),
        [Effect::Start(Start {
            overtakes: None,
            replaces: None,
            ..
        })]
    ));
    // Unless its files were others.
    let (_, effects) = take(&after([Fact::Desired(target(1, "a", true))]), coming(true));
    assert!(matches!(
        effects.as_slice(),
        [Effect::Start(Start {
            overtakes: Some(_),
            ..
        })]
    ));
}

/// A third version that comes while the files of the second are written overtakes the first: the second was never begun.
#[test]
fn what_was_never_handed_over_is_not_what_is_overtaken() {
    let state = after([
        Fact::Desired(target(1, "a", true)),
        installed(true, None),
        Fact::Desired(target(2, "b", true)),
        Fact::Desired(target(3, "c", true)),
    ]);
    let (_, effects) = take(&state, coming(true));
    let [Effect::Start(start)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(start.overtakes.as_ref().unwrap().of.spec, "a");
}

/// After a power cut, or systemd's own restart, another run of the old version is up: how it may be ended is still its own.
#[test]
fn another_run_of_the_version_that_ran_is_still_that_version() {
    let (state, _) = take(&running(), Fact::Desired(target(4, "c", true)));
    let (state, effects) = take(&state, installed(true, Some("after-the-boot")));
    let old = state.running.as_ref().unwrap();
    assert_eq!(
        (old.of.generation, old.run.invocation.as_str()),
        (1, "after-the-boot")
    );
    assert_eq!(state.stage(), Stage::Replacing);
    assert!(
        matches!(effects.as_slice(), [Effect::Start(Start { replaces: Some(old), .. })] if old == "after-the-boot")
    );
    let (state, _) = take(&state, started("i2", 6));
    assert_eq!(state.cutover.unwrap().from, 1);
    // Also where it was down when it was last heard of.
    let (down, _) = take(
        &running(),
        Fact::Observed(Observation::Stopped(failure("soon", Retry::Soon))),
    );
    let (state, _) = take(&down, Fact::Desired(target(4, "c", true)));
    let (state, _) = take(&state, installed(true, Some("back")));
    assert_eq!(state.running.unwrap().of.generation, 1);
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

#[test]
fn the_figures_of_a_crash_loop_are_those_of_systemds_last_try() {
    let stopped = |count, next_at| {
        let mut failure = ended("container-exited", false);
        let restarts = Restarts {
            count,
            next_at: Some(next_at),
        };
        failure.end.as_mut().unwrap().restarts = Some(restarts);
        Fact::Observed(Observation::Stopped(failure))
    };
    let (state, _) = take(&running(), stopped(1, 70_000));
    let (state, effects) = take(&state, stopped(2, 90_000));
    assert_eq!(effects, vec![], "the agent's own try stays where it is");
    let told = state.restarts().unwrap();
    assert_eq!((told.count, told.next_at), (2, Some(90_000)));
    let text = serde_json::to_string(&state).unwrap();
    let (first, _) = take(&running(), stopped(1, 70_000));
    assert_eq!(
        text,
        serde_json::to_string(&first).unwrap(),
        "the disk is not worn for it"
    );
}

#[test]
fn a_try_that_follows_a_failure_says_so_until_somebody_asks_again() {
    let is_retry = |effects: &[Effect]| {
        let [Effect::Start(start)] = effects else {
            panic!("{effects:?}")
        };
        start.retry
    };
    let (down, _) = take(
        &running(),
        Fact::Observed(Observation::Stopped(failure("soon", Retry::Soon))),
    );
    let (state, _) = take(&down, Fact::RetryDue(Timer::Unit));
    assert!(is_retry(&take(&state, coming(false)).1));
    let (state, _) = take(&down, Fact::Desired(target(2, "a", true)));
    assert!(!is_retry(&take(&state, coming(false)).1));
}

#[test]
fn a_look_while_systemd_is_at_it_is_no_failed_try() {
    let (down, _) = take(
        &running(),
        Fact::Observed(Observation::Stopped(ended("container-exited", false))),
    );
    let (state, _) = take(&down, Fact::RetryDue(Timer::Unit));
    let (state, _) = take(&state, coming(false));
    let (state, effects) = take(&state, Fact::StillRestarting(ended("container-exited", false)));
    assert_eq!(
        (state.stage(), state.failed_tries()),
        (Stage::Down, down.failed_tries())
    );
    assert!(matches!(effects.as_slice(), [Effect::RetryAfter(Timer::Unit, wait)] if wait.as_secs() > 60));
    // One end, and up again: it proved itself before, and does now.
    assert_eq!(take(&state, active("i2", 60_000)).0.stage(), Stage::Running);
    // A run that ended early proves nothing by coming up.
    let (state, _) = take(&down, Fact::RetryDue(Timer::Unit));
    let (state, _) = take(&state, coming(false));
    let (state, _) = take(&state, Fact::StillRestarting(ended("exited-early", true)));
    assert_eq!(take(&state, active("i2", 60_000)).0.stage(), Stage::Down);
}
