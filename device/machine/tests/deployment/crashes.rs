//! Containers that end and come back: what counts as a failed try, and when it is well again.

use fleet_machine::deployment::{Effect, Fact, Observation, Restarts, Retry, Stage, State, Timer, step};

use crate::common::{after, coming, ended, event, failure, started, target};
use crate::steps::{active, installed, running, take};

fn ends(early: bool) -> Fact {
    Fact::Observed(Observation::Stopped(ended("container-exited", early)))
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
