//! Random sequences of facts: whatever happens, the machine is never stuck and never grows.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use common::{alphabet, event, pulled, run, started};
use fleet_machine::deployment::{Effect, Fact, Found, Goal, MAX_MARKS, Stage, State, Unit, step};
use proptest::prelude::*;

/// What good luck makes of an effect.
fn good_outcome(effect: &Effect) -> Vec<Fact> {
    match effect {
        Effect::Pull(_) => vec![Fact::PullBegan, pulled()],
        Effect::Install(_) => vec![Fact::Installed {
            changed: true,
            found: Found::Down,
        }],
        Effect::Start(_) => vec![started("good", 0)],
        Effect::RetryAfter(timer, _) => vec![Fact::RetryDue(*timer)],
        Effect::Remove => vec![Fact::Removed],
        Effect::Verify(_) => vec![Fact::Observed(fleet_machine::deployment::Observation::Active(
            run("good", 0),
        ))],
        Effect::CancelPull | Effect::Forget => vec![],
    }
}

/// Restarts the agent on this record and lets everything succeed from then on.
fn resume_with_good_luck(state: &State) -> State {
    let mut at = 10_000_000;
    let (mut state, mut effects) = step(state, event(at, Fact::Resumed)).unwrap();
    for _ in 0..20 {
        if effects.is_empty() {
            break;
        }
        at += 1_000_000;
        let mut next = Vec::new();
        for fact in effects.iter().flat_map(good_outcome) {
            // An effect that was replaced by a later one of the same step has no outcome.
            if let Ok((after, more)) = step(&state, event(at, fact)) {
                state = after;
                next.extend(more);
            }
        }
        effects = next;
    }
    state
}

/// Where a deployment may rest: nothing more is going to be tried.
fn at_rest(state: &State) -> bool {
    match state.stage() {
        Stage::Absent | Stage::Running | Stage::Finished | Stage::Rejected => true,
        Stage::Down | Stage::StopIgnored | Stage::InstallFailed | Stage::PullFailed => {
            state.next_try().is_none()
        }
        Stage::Queued
        | Stage::Pulling
        | Stage::Replacing
        | Stage::Installing
        | Stage::Starting
        | Stage::Removing => false,
    }
}

fn check(state: &State) -> Result<(), TestCaseError> {
    prop_assert!(state.marks.len() <= MAX_MARKS);
    let (up, starting) = (
        matches!(state.unit, Unit::Up { .. }),
        matches!(state.unit, Unit::Starting { .. }),
    );
    prop_assert!(!up || state.running.is_some());
    let replacing = matches!(
        state.stage(),
        Stage::Replacing
            | Stage::StopIgnored
            | Stage::Queued
            | Stage::Pulling
            | Stage::PullFailed
            | Stage::Rejected
    );
    prop_assert!(!starting || state.running.is_none() || replacing);
    let gone = matches!(state.goal, Goal::Nothing);
    let going = matches!(state.unit, Unit::None | Unit::Removing { .. });
    prop_assert!(!gone || going, "taken away, and still held: {state:?}");
    let finished = matches!(state.unit, Unit::Finished { .. });
    prop_assert!(
        !finished || state.running.is_none(),
        "done, and still runs: {state:?}"
    );
    if state.stage() == Stage::Running {
        let running = state.running.as_ref().unwrap();
        prop_assert_eq!(running.of.generation, state.generation, "runs what was asked for");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_the_rules_hold_and_a_restart_leads_to_rest(
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..40_000i64, any::<u16>()), 0..60)
    ) {
        let facts = alphabet();
        let mut state = State::default();
        let mut at = 0;
        for (pick, later, jitter) in picks {
            at += later;
            let mut event = event(at, pick.get(&facts).clone());
            event.jitter = jitter;
            if let Ok((after, effects)) = step(&state, event) {
                let stops = effects.iter().any(|e| matches!(e, Effect::Start(_)));
                let optimistic = after.unit.installed().is_some_and(|of| of.optimistic);
                let has_image = after.unit.installed().is_some_and(|of| !of.digest.is_empty());
                prop_assert!(!stops || optimistic || has_image);
                state = after;
                check(&state)?;
            }
            let rested = resume_with_good_luck(&state);
            prop_assert!(at_rest(&rested), "stuck: {state:?} -> {rested:?}");
        }
    }
}
