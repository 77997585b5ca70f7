//! What the machine is told, and what it asks for.

use std::time::Duration;

use super::At;
use super::state::{Digests, Failure, Gap, InitStep, Installed, Older, Progress, Run, Target};

/// A fact, with what the machine may not get by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it was learned.
    pub at: At,
    /// A random number, which spreads retries.
    pub jitter: u16,
    /// What was learned.
    pub fact: Fact,
}

/// What can be learned of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// This is asked for.
    Desired(Target),
    /// Something is asked for that this agent cannot run.
    Rejected {
        /// Its generation, as far as it could be read; otherwise the one before.
        generation: Option<u64>,
        /// Why not.
        failure: Failure,
    },
    /// It was taken away.
    Gone,
    /// [`Effect::Pull`] got its turn.
    PullBegan,
    /// [`Effect::Pull`] came this far.
    PullProgress(Progress),
    /// [`Effect::Pull`] ended well.
    Pulled {
        /// What the image resolved to.
        digest: String,
        /// What the images of its init containers resolved to.
        others: Digests,
    },
    /// [`Effect::Pull`] failed.
    PullFailed(Failure),
    /// [`Effect::Install`] ended well.
    Installed {
        /// A file on disk was not as it should be.
        changed: bool,
        /// What the unit was at, right after.
        found: Found,
    },
    /// [`Effect::Install`] failed.
    InstallFailed(Failure),
    /// [`Effect::Start`] came to an init container.
    InitRuns(InitStep),
    /// [`Effect::Start`] did not come to the start: what it was to replace goes on, and must not be killed.
    StopIgnored {
        /// Invocation that goes on.
        invocation: Option<String>,
        /// Why it does.
        failure: Failure,
    },
    /// [`Effect::Start`] ended well: the start job succeeded.
    Started {
        /// The run that came of it.
        run: Run,
        /// How long nothing was up, where that is known.
        gap: Option<Gap>,
    },
    /// [`Effect::Start`] ended, and so did the container, well: its restart policy asks for no other run.
    Finished,
    /// [`Effect::Start`] failed.
    StartFailed {
        /// Why.
        failure: Failure,
        /// The image is not on the device after all.
        image_missing: bool,
    },
    /// [`Effect::Start`] started nothing: the same failed before, and systemd is about to start it again by itself.
    StillRestarting(Failure),
    /// The unit was looked at, or spoke up by itself.
    Observed(Observation),
    /// A file of the unit is not as it was installed.
    Drifted(Failure),
    /// The time of an [`Effect::RetryAfter`] is over.
    RetryDue(Timer),
    /// [`Effect::Remove`] ended well.
    Removed,
    /// [`Effect::Remove`] failed.
    RemoveFailed(Failure),
    /// The agent started and found this record.
    Resumed,
}

impl Fact {
    /// The fact as a word, as it stands in `docs/deployment-states.md`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Desired(_) => "desired",
            Self::Rejected { .. } => "rejected",
            Self::Gone => "gone",
            Self::PullBegan => "pull-began",
            Self::PullProgress(_) => "pull-progress",
            Self::Pulled { .. } => "pulled",
            Self::PullFailed(_) => "pull-failed",
            Self::Installed { .. } => "installed",
            Self::InstallFailed(_) => "install-failed",
            Self::InitRuns(_) => "init-runs",
            Self::StopIgnored { .. } => "stop-ignored",
            Self::Started { .. } => "started",
            Self::Finished => "finished",
            Self::StartFailed { .. } => "start-failed",
            Self::StillRestarting(_) => "still-restarting",
            Self::Observed(Observation::Active(_)) => "observed-active",
            Self::Observed(Observation::Activating { .. }) => "observed-activating",
            Self::Observed(Observation::Finished) => "observed-finished",
            Self::Observed(Observation::Stopped(_)) => "observed-stopped",
            Self::Drifted(_) => "drifted",
            Self::RetryDue(_) => "retry-due",
            Self::Removed => "removed",
            Self::RemoveFailed(_) => "remove-failed",
            Self::Resumed => "resumed",
        }
    }
}

/// What a unit was at when its files were put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Down,
    /// A start that was under way before: it is neither up nor down, or waits for its next automatic restart.
    Coming {
        /// systemd's `InvocationID`, where it has one: a start that waits for init containers has none of its own yet.
        invocation: Option<String>,
    },
    /// This run is up.
    Up(Run),
}

/// What a unit was seen doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// It runs.
    Active(Run),
    /// A start job of it runs.
    Activating {
        /// Invocation that it is the start of; `None` while the start waits for init containers.
        invocation: Option<String>,
    },
    /// It ended well, and its restart policy asks for no other run.
    Finished,
    /// It does not run, even if systemd means to start it again.
    Stopped(Failure),
}

/// What has to be done. Each is idempotent: after a crash it is simply asked for again.
///
/// A newer effect replaces an older one of the same row, which is dropped where it stands:
/// `Pull` and `CancelPull`; `Install`, `Start`, `Verify` and `Remove`; each timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Bring the image to the device.
    Pull(Target),
    /// No pull is wanted any more.
    CancelPull,
    /// Write the unit's files, load them, and say which run is active afterwards.
    Install(Installed),
    /// Start the unit, or restart it while the run to be replaced is active, and wait until the start
    /// job ended. What must not be killed is asked to end first.
    Start(Start),
    /// Compare the unit and its files with what is installed.
    Verify(Installed),
    /// Stop the unit and remove it with its files, containers and volumes. What must not be killed is asked to end first.
    Remove,
    /// Come back with [`Fact::RetryDue`] after this time.
    RetryAfter(Timer, Duration),
    /// Delete the record and the state's key.
    Forget,
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// What is started.
    pub of: Installed,
    /// Invocation to be replaced: any other active one is the outcome of this very start.
    pub replaces: Option<String>,
    /// A start that was under way by other files: it is not waited for, and what comes of it is no outcome of this one.
    pub overtakes: Option<Older>,
    /// The same was tried before and failed, and nobody asked again since.
    pub retry: bool,
}

/// Which retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Of a pull.
    Goal,
    /// Of an install, a start, a removal.
    Unit,
}
