//! Containers that are done and stay so.

use fleet_machine::deployment::{Effect, Fact, Found, Observation, Retry, Stage, Timer};

use crate::common::{after, failure, run, target};
use crate::steps::{running, take};

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
