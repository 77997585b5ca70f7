//! The whole of it: which stage takes which fact, what a restart does, and what is written down.

use fleet_machine::deployment::{Effect, Fact, Stage, State, Timer, step};

use crate::common::{self, after, event, init_runs, one_of_each_stage, started, target};
use crate::steps::{installed, take};

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
    let text = include_str!("../fixtures/states-0.3.0.json");
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
