//! The one place where the machine's state becomes the wire's.

use chrono::{DateTime, Utc};
use fleet_machine::deployment::{
    At, Cutover, Exit as Ended, Failure, InitStep, Mark, Progress, Restarts, Running as Run, Stage, State,
};
use fleet_protocol::cause::Exit;
use fleet_protocol::state::{
    CrashLoop, Cutover as CutoverTold, InitProgress, PhaseMark, PullProgress, Running,
};
use fleet_protocol::{Cause, DeploymentState, PROTOCOL_VERSION, Phase};

/// The wire's word for a stage; `None` for what is absent.
#[must_use]
pub fn phase(stage: Stage) -> Option<Phase> {
    match stage {
        Stage::Absent => None,
        Stage::Queued => Some(Phase::Pending),
        Stage::Pulling => Some(Phase::Pulling),
        Stage::Replacing => Some(Phase::Upgrading),
        Stage::Installing | Stage::Starting => Some(Phase::Starting),
        Stage::Running => Some(Phase::Running),
        Stage::Finished => Some(Phase::Finished),
        Stage::PullFailed | Stage::Rejected | Stage::InstallFailed | Stage::StopIgnored | Stage::Down => {
            Some(Phase::Failed)
        }
        Stage::Removing => Some(Phase::Removing),
    }
}

/// What the wire is told; `None` for what is absent.
#[must_use]
pub fn report(state: &State) -> Option<DeploymentState> {
    let phase = phase(state.stage())?;
    Some(DeploymentState {
        protocol: PROTOCOL_VERSION,
        observed_generation: state.generation,
        phase,
        since: time(state.since),
        cause: state.failure().map(cause),
        progress: state.progress().map(progress),
        running: state.running.as_ref().map(running),
        init: state.init().map(init),
        cutover: state.cutover.as_ref().map(cutover),
        crash_loop: state.restarts().map(crash_loop),
        next_try_at: state.next_try().map(time),
        failed_tries: state.failed_tries(),
        marks: marks(&state.marks),
    })
}

/// A time of the machine.
#[must_use]
pub fn time(at: At) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at).unwrap_or_default()
}

fn cause(failure: &Failure) -> Cause {
    let cause = Cause::new(&failure.kind, failure.detail.clone());
    let Some(end) = &failure.end else {
        return cause;
    };
    let cause = Cause {
        exit: end.exit.map(exit),
        init: end.init.clone(),
        ..cause
    };
    cause.with_log(&end.log)
}

fn exit(exit: Ended) -> Exit {
    match exit {
        Ended::Status(status) => Exit::Status(status),
        Ended::Signal(signal) => Exit::Signal(signal),
    }
}

fn init(step: &InitStep) -> InitProgress {
    InitProgress {
        name: step.name.clone(),
        step: step.step,
        of: step.of,
    }
}

fn cutover(cutover: &Cutover) -> CutoverTold {
    CutoverTold {
        from_generation: cutover.from,
        stop_millis: cutover.gap.stop,
        down_millis: cutover.gap.down,
    }
}

fn crash_loop(restarts: Restarts) -> CrashLoop {
    CrashLoop {
        restarts: restarts.count,
        next_restart_at: restarts.next_at.map(time),
    }
}

fn progress(progress: Progress) -> PullProgress {
    PullProgress {
        layers_done: progress.layers_done,
        layers_total: progress.layers_total,
        bytes: progress.bytes,
    }
}

fn running(running: &Run) -> Running {
    Running {
        generation: running.of.generation,
        image: running.of.image.clone(),
        digest: Some(running.of.digest.clone()),
        unit: running.run.unit.clone(),
        invocation_id: running.run.invocation.clone(),
        started_at: time(running.run.started_at),
    }
}

/// Stages that are one phase on the wire are one mark: that of the first.
fn marks(marks: &[Mark]) -> Vec<PhaseMark> {
    let mut phases: Vec<PhaseMark> = Vec::new();
    for mark in marks {
        if let Some(phase) = phase(mark.stage)
            && phases.last().is_none_or(|last| last.phase != phase)
        {
            phases.push(PhaseMark {
                phase,
                at: time(mark.at),
            });
        }
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_but_absent_has_a_phase_and_every_phase_a_stage() {
        let phases: Vec<Phase> = Stage::ALL.into_iter().filter_map(phase).collect();
        assert_eq!(phases.len(), Stage::ALL.len() - 1);
        assert!(Phase::KNOWN.iter().all(|known| phases.contains(known)));
    }

    #[test]
    fn a_container_that_is_down_is_told_with_its_end_and_its_crash_loop() {
        use fleet_machine::deployment::{Digests, End, Goal, Installed, Retry, Unit};
        let end = End {
            exit: Some(Ended::Signal(11)),
            log: vec!["bad luck".to_owned()],
            restarts: Some(Restarts {
                count: 4,
                next_at: Some(9_000),
            }),
            ..End::default()
        };
        let of = Installed {
            generation: 1,
            spec: "a".to_owned(),
            image: "r.io/a:1".to_owned(),
            digest: "sha256:aa".to_owned(),
            others: Digests::new(),
            optimistic: false,
        };
        let state = State {
            goal: Goal::Met,
            unit: Unit::Down {
                of,
                failure: Failure::new("container-exited", "it ended", Retry::Soon).with_end(end),
                next_try: None,
                back: None,
                restarts: None,
            },
            ..State::default()
        };
        let told = report(&state).unwrap();
        let cause = told.cause.unwrap();
        assert_eq!((cause.exit, cause.log.len()), (Some(Exit::Signal(11)), 1));
        let crash_loop = told.crash_loop.unwrap();
        assert_eq!(
            (crash_loop.restarts, crash_loop.next_restart_at),
            (4, Some(time(9_000)))
        );
    }

    #[test]
    fn a_state_that_was_never_told_anything_is_not_reported() {
        assert_eq!(report(&State::default()), None);
    }
}
