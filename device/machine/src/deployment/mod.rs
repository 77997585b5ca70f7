//! One deployment on one device.
//!
//! The state has two regions that move side by side, since a device keeps its old version running while
//! it fetches the new one:
//!
//! - [`Goal`]: what was asked for and is not yet handed over (an image being pulled, a specification that
//!   was refused);
//! - [`Unit`]: what was handed over to systemd, and how it does.
//!
//! A person sees one word for both: [`Stage`]. `docs/deployment-states.md` draws it.
//!
//! Rules that the code keeps, each with a test:
//! - an image is there before anything that runs is stopped;
//! - a change that changes nothing restarts nothing: the same specification under a new generation only
//!   moves the generation;
//! - a newer specification replaces a pull of an older one;
//! - a start of an older version that is under way is started over, and its outcome is never taken for the newer one's;
//! - `Running` is entered on a start job's success or on a unit that systemd holds up with the files
//!   that were installed, never on hope;
//! - once a run ended right after its start, the next one counts as running only after it stayed up;
//! - what must not be killed goes on running when it ignores the signal to stop, and the state says so;
//! - removal ends with nothing, and only then is the state's key deleted.

mod backoff;
mod event;
mod goal;
mod install;
mod seen;
mod stage;
mod start;
mod state;
mod turn;
mod unit;

pub use event::{Effect, Event, Fact, Found, Observation, Start, Timer};
pub use stage::Stage;
pub use state::{
    Back, Cutover, Digests, End, Exit, Failure, Gap, Goal, InitStep, Installed, Keep, Kept, MAX_MARKS, Mark,
    Older, Progress, Restarts, Retry, Run, Running, State, Target, Unit,
};

use turn::Turn;

/// Times in this machine: milliseconds since the Unix epoch by the device's clock. Only shown and
/// subtracted from each other, never waited for.
pub type At = i64;

/// A fact that cannot be true in this state: the caller has a bug, or the outcome is of an effect that
/// was replaced. The state stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fact} makes no sense while {stage}")]
pub struct IllegalEvent {
    /// Where the deployment was.
    pub stage: Stage,
    /// The fact.
    pub fact: &'static str,
}

/// Takes one fact in: the state after it, and what has to be done now, in this order.
///
/// # Errors
/// [`IllegalEvent`] when the fact cannot be true in this state.
pub fn step(state: &State, event: Event) -> Result<(State, Vec<Effect>), IllegalEvent> {
    let illegal = IllegalEvent {
        stage: state.stage(),
        fact: event.fact.name(),
    };
    let mut turn = Turn::new(state, event.at, event.jitter);
    let known = match event.fact {
        Fact::Desired(target) => turn.desired(target),
        Fact::Rejected { generation, failure } => turn.rejected(generation, failure),
        Fact::Gone => turn.gone(),
        Fact::PullBegan => turn.pull_began(),
        Fact::PullProgress(progress) => turn.pull_progress(progress),
        Fact::Pulled { digest, others } => turn.pulled(digest, others),
        Fact::PullFailed(failure) => turn.pull_failed(failure),
        Fact::Installed { changed, found } => turn.installed(changed, found),
        Fact::InstallFailed(failure) => turn.install_failed(failure),
        Fact::InitRuns(step) => turn.init_runs(step),
        Fact::StopIgnored { invocation, failure } => turn.stop_ignored(invocation, failure),
        Fact::Started { run, gap } => turn.started(run, gap),
        Fact::Finished => turn.finished(),
        Fact::StartFailed {
            failure,
            image_missing,
        } => turn.start_failed(failure, image_missing),
        Fact::StillRestarting(failure) => turn.still_restarting(failure),
        Fact::Observed(observation) => turn.observed(observation),
        Fact::Drifted(failure) => turn.drifted(failure),
        Fact::RetryDue(Timer::Goal) => turn.goal_retry(),
        Fact::RetryDue(Timer::Unit) => turn.unit_retry(),
        Fact::Removed => turn.removed(),
        Fact::RemoveFailed(failure) => turn.remove_failed(failure),
        Fact::Resumed => turn.resumed(),
    };
    match known {
        true => Ok(turn.finish()),
        false => Err(illegal),
    }
}
