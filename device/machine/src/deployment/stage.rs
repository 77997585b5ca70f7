//! The one word that a person sees for both regions.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::At;
use super::state::{Failure, Goal, InitStep, Progress, Restarts, State, Unit};

/// Where a deployment is. Finer than the wire's phase, which is derived from it in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Nothing is known of it: before the first word and after the removal.
    Absent,
    /// Its image waits for its turn to be pulled.
    Queued,
    /// Its image is being pulled.
    Pulling,
    /// The pull failed.
    PullFailed,
    /// It cannot be run by this agent.
    Rejected,
    /// Its files replace those of a version that runs, or that version is being stopped.
    Replacing,
    /// Its files are being written; nothing of it runs.
    Installing,
    /// Its files could not be written or loaded.
    InstallFailed,
    /// What it was to replace did not end when it was asked to, and goes on.
    StopIgnored,
    /// Its start job runs.
    Starting,
    /// It proved itself.
    Running,
    /// It ended well, and its restart policy asks for no other run.
    Finished,
    /// It did not start, or it ended.
    Down,
    /// It is being removed.
    Removing,
}

impl Stage {
    /// Every stage, in the order in which a deployment meets them.
    pub const ALL: [Self; 14] = [
        Self::Absent,
        Self::Queued,
        Self::Pulling,
        Self::PullFailed,
        Self::Rejected,
        Self::Replacing,
        Self::Installing,
        Self::InstallFailed,
        Self::StopIgnored,
        Self::Starting,
        Self::Running,
        Self::Finished,
        Self::Down,
        Self::Removing,
    ];

    /// The stage as a word, as it stands in `docs/deployment-states.md`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "Absent",
            Self::Queued => "Queued",
            Self::Pulling => "Pulling",
            Self::PullFailed => "PullFailed",
            Self::Rejected => "Rejected",
            Self::Replacing => "Replacing",
            Self::Installing => "Installing",
            Self::InstallFailed => "InstallFailed",
            Self::StopIgnored => "StopIgnored",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Finished => "Finished",
            Self::Down => "Down",
            Self::Removing => "Removing",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    /// Where the deployment is: what is asked for comes before what was handed over.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match &self.goal {
            Goal::Fetching { began: false, .. } => Stage::Queued,
            Goal::Fetching { began: true, .. } => Stage::Pulling,
            Goal::FetchFailed { .. } => Stage::PullFailed,
            Goal::Rejected { .. } => Stage::Rejected,
            Goal::Nothing | Goal::Met | Goal::AfterRemoval { .. } => self.unit_stage(),
        }
    }

    fn unit_stage(&self) -> Stage {
        match &self.unit {
            Unit::None => Stage::Absent,
            Unit::Installing { .. } | Unit::Starting { .. } if self.running.is_some() => Stage::Replacing,
            Unit::Installing { .. } => Stage::Installing,
            Unit::InstallFailed { .. } => Stage::InstallFailed,
            Unit::StopIgnored { .. } => Stage::StopIgnored,
            Unit::Starting { .. } => Stage::Starting,
            Unit::Up { .. } => Stage::Running,
            Unit::Finished { .. } => Stage::Finished,
            Unit::Down { .. } => Stage::Down,
            Unit::Removing { .. } => Stage::Removing,
        }
    }

    /// Why it is there, if something is wrong.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match (&self.goal, &self.unit) {
            (Goal::FetchFailed { failure, .. } | Goal::Rejected { failure }, _) => Some(failure),
            (Goal::Fetching { .. }, _) => None,
            (
                _,
                Unit::InstallFailed { failure, .. }
                | Unit::StopIgnored { failure, .. }
                | Unit::Down { failure, .. },
            ) => Some(failure),
            (_, Unit::Removing { failure, .. }) => failure.as_ref(),
            (_, Unit::Installing { .. } | Unit::Starting { .. }) => self.drift.as_ref(),
            (_, Unit::None | Unit::Up { .. } | Unit::Finished { .. }) => None,
        }
    }

    /// When the device tries again by itself.
    #[must_use]
    pub fn next_try(&self) -> Option<At> {
        match (&self.goal, &self.unit) {
            (Goal::FetchFailed { next_try, .. }, _) => *next_try,
            (Goal::Rejected { .. } | Goal::Fetching { .. }, _) => None,
            (
                _,
                Unit::InstallFailed { next_try, .. }
                | Unit::StopIgnored { next_try, .. }
                | Unit::Down { next_try, .. }
                | Unit::Removing { next_try, .. },
            ) => *next_try,
            (
                _,
                Unit::None
                | Unit::Installing { .. }
                | Unit::Starting { .. }
                | Unit::Up { .. }
                | Unit::Finished { .. },
            ) => None,
        }
    }

    /// How often what is shown was tried and failed.
    #[must_use]
    pub fn failed_tries(&self) -> u32 {
        match &self.goal {
            Goal::Fetching { .. } | Goal::FetchFailed { .. } | Goal::Rejected { .. } => self.pull_tries,
            Goal::Nothing | Goal::Met | Goal::AfterRemoval { .. } => self.unit_tries,
        }
    }

    /// How far a pull is.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        match &self.goal {
            Goal::Fetching { progress, .. } => *progress,
            Goal::Nothing
            | Goal::Met
            | Goal::FetchFailed { .. }
            | Goal::Rejected { .. }
            | Goal::AfterRemoval { .. } => None,
        }
    }

    /// Which init container runs.
    #[must_use]
    pub fn init(&self) -> Option<&InitStep> {
        match &self.unit {
            Unit::Starting { init, .. } if self.stage() == Stage::Starting => init.as_ref(),
            Unit::None
            | Unit::Installing { .. }
            | Unit::InstallFailed { .. }
            | Unit::Starting { .. }
            | Unit::StopIgnored { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Down { .. }
            | Unit::Removing { .. } => None,
        }
    }

    /// The automatic restarts of a container that is down.
    #[must_use]
    pub fn restarts(&self) -> Option<Restarts> {
        match &self.unit {
            Unit::Down {
                failure, restarts, ..
            } => restarts.or_else(|| failure.end.as_ref().and_then(|end| end.restarts)),
            Unit::None
            | Unit::Installing { .. }
            | Unit::InstallFailed { .. }
            | Unit::Starting { .. }
            | Unit::StopIgnored { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Removing { .. } => None,
        }
    }
}
