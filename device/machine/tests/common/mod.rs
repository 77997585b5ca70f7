//! Facts to drive the machine with.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use fleet_machine::deployment::{
    At, Digests, End, Event, Exit, Fact, Failure, Found, Gap, InitStep, Observation, Progress, Retry, Run,
    Stage, State, Target, Timer, step,
};

pub(crate) fn target(generation: u64, spec: &str, at_hand: bool) -> Target {
    Target {
        generation,
        spec: spec.to_owned(),
        image: format!("r.example/{spec}:1"),
        at_hand: at_hand.then(|| "sha256:aa".to_owned()),
        others: Digests::new(),
    }
}

pub(crate) fn failure(kind: &str, retry: Retry) -> Failure {
    Failure::new(kind, "because", retry)
}

/// Of a run that ended, right after its start or later.
pub(crate) fn ended(kind: &str, early: bool) -> Failure {
    failure(kind, Retry::Soon).with_end(End {
        exit: Some(Exit::Status(3)),
        early,
        ..End::default()
    })
}

pub(crate) fn pulled() -> Fact {
    Fact::Pulled {
        digest: "sha256:aa".to_owned(),
        others: Digests::new(),
    }
}

pub(crate) fn started(invocation: &str, started_at: At) -> Fact {
    Fact::Started {
        run: run(invocation, started_at),
        gap: Some(Gap { stop: 300, down: 700 }),
    }
}

/// Files in place while a start was under way.
pub(crate) fn coming(changed: bool) -> Fact {
    let invocation = Some("i1".to_owned());
    Fact::Installed {
        changed,
        found: Found::Coming { invocation },
    }
}

pub(crate) fn init_runs() -> Fact {
    Fact::InitRuns(InitStep {
        name: "migrate".to_owned(),
        step: 1,
        of: 2,
    })
}

pub(crate) fn run(invocation: &str, started_at: At) -> Run {
    Run {
        unit: "fleet-web.service".to_owned(),
        invocation: invocation.to_owned(),
        started_at,
    }
}

pub(crate) fn event(at: At, fact: Fact) -> Event {
    Event { at, jitter: 0, fact }
}

/// Takes facts in one after the other; each must be possible.
pub(crate) fn after(facts: impl IntoIterator<Item = Fact>) -> State {
    let mut state = State::default();
    for (at, fact) in (1..).zip(facts) {
        state = step(&state, event(at * 1_000, fact)).unwrap().0;
    }
    state
}

/// One example of each kind of fact, and of each shape that matters to a rule.
pub(crate) fn alphabet() -> Vec<Fact> {
    let soon = || failure("soon", Retry::Soon);
    vec![
        Fact::Desired(target(1, "a", false)),
        Fact::Desired(target(2, "a", false)),
        Fact::Desired(target(3, "b", false)),
        Fact::Desired(target(4, "c", true)),
        Fact::Rejected {
            generation: Some(9),
            failure: failure("spec-invalid", Retry::Never),
        },
        Fact::Gone,
        Fact::PullBegan,
        Fact::PullProgress(Progress::default()),
        pulled(),
        Fact::PullFailed(soon()),
        Fact::PullFailed(failure("image-not-found", Retry::Seldom)),
        Fact::Installed {
            changed: true,
            found: Found::Down,
        },
        Fact::Installed {
            changed: true,
            found: Found::Up(run("i1", 5)),
        },
        Fact::Installed {
            changed: false,
            found: Found::Up(run("i1", 5)),
        },
        coming(false),
        coming(true),
        Fact::InstallFailed(soon()),
        init_runs(),
        Fact::StopIgnored {
            invocation: None,
            failure: failure("stop-signal-ignored", Retry::Seldom),
        },
        started("i2", 6),
        Fact::Finished,
        Fact::StartFailed {
            failure: soon(),
            image_missing: false,
        },
        Fact::StartFailed {
            failure: soon(),
            image_missing: true,
        },
        Fact::StillRestarting(soon()),
        Fact::Observed(Observation::Active(run("i1", 5))),
        Fact::Observed(Observation::Active(run("i3", 7))),
        Fact::Observed(Observation::Activating { invocation: None }),
        Fact::Observed(Observation::Stopped(soon())),
        Fact::Observed(Observation::Stopped(ended("exited-early", true))),
        Fact::Observed(Observation::Stopped(failure("container-failed", Retry::Never))),
        Fact::Observed(Observation::Finished),
        Fact::Drifted(soon()),
        Fact::RetryDue(Timer::Goal),
        Fact::RetryDue(Timer::Unit),
        Fact::Removed,
        Fact::RemoveFailed(soon()),
        Fact::Resumed,
    ]
}

/// Every stage, reached the shortest way.
pub(crate) fn one_of_each_stage() -> Vec<(Stage, State)> {
    use Fact::*;
    let desired = || Desired(target(1, "a", false));
    let installed = || Installed {
        changed: true,
        found: Found::Down,
    };
    let soon = || failure("soon", Retry::Soon);
    let up = || vec![desired(), pulled(), installed(), started("i2", 6)];
    let replacing = || {
        let again = Installed {
            changed: true,
            found: Found::Up(run("i2", 6)),
        };
        [up(), vec![Desired(target(4, "c", true)), again]].concat()
    };
    let with = |mut facts: Vec<Fact>, fact: Fact| {
        facts.push(fact);
        after(facts)
    };
    vec![
        (Stage::Absent, State::default()),
        (Stage::Queued, after([desired()])),
        (Stage::Pulling, after([desired(), PullBegan])),
        (Stage::PullFailed, after([desired(), PullFailed(soon())])),
        (
            Stage::Rejected,
            after([Rejected {
                generation: Some(1),
                failure: failure("spec-invalid", Retry::Never),
            }]),
        ),
        (Stage::Replacing, with(up(), Desired(target(4, "c", true)))),
        (Stage::Installing, after([desired(), pulled()])),
        (
            Stage::InstallFailed,
            after([desired(), pulled(), InstallFailed(soon())]),
        ),
        (
            Stage::StopIgnored,
            with(
                replacing(),
                StopIgnored {
                    invocation: None,
                    failure: failure("stop-signal-ignored", Retry::Seldom),
                },
            ),
        ),
        (Stage::Starting, after([desired(), pulled(), installed()])),
        (Stage::Running, after(up())),
        (Stage::Finished, with(up(), Observed(Observation::Finished))),
        (Stage::Down, with(up(), Observed(Observation::Stopped(soon())))),
        (Stage::Removing, with(up(), Gone)),
    ]
}
