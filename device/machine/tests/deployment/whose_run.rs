//! Which version a run that systemd is at belongs to.

use fleet_machine::deployment::{Effect, Fact, Found, Observation, Retry, Stage, Start, Timer, Unit};

use crate::common::{after, coming, failure, pulled, run, started, target};
use crate::steps::{active, generation_up, installed, never_came_about, running, take};

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
