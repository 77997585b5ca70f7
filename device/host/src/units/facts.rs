//! What systemd knows about a unit.

use std::time::Duration;

use crate::names::InvocationId;

/// A unit that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// This run.
    pub invocation_id: InvocationId,
    /// What systemd knew right after, without what is the service's own: how an earlier run ended.
    pub facts: UnitFacts,
}

/// A unit whose file systemd was made to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenUp {
    /// What systemd knows about it now, without what is the service's own: how an earlier run ended.
    pub facts: UnitFacts,
    /// Why it took a reload although systemd did not hold the unit before: something to look into, since it
    /// costs time, and nothing to fail for.
    pub detour: Option<String>,
}

/// Whether systemd has the unit's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadState {
    /// It has.
    Loaded,
    /// There is none.
    NotFound,
    /// There is one that systemd cannot use (`bad-setting`, `error`, `masked`, …), as systemd says it.
    Unusable(String),
}

impl From<&str> for LoadState {
    fn from(word: &str) -> Self {
        match word {
            "loaded" | "merged" => Self::Loaded,
            "not-found" => Self::NotFound,
            other => Self::Unusable(other.to_owned()),
        }
    }
}

/// systemd's `ActiveState`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActiveState {
    /// Up.
    Active,
    /// Up, and reading its configuration again.
    Reloading,
    /// Down.
    Inactive,
    /// Down after a failure.
    Failed,
    /// Between down and up; also while it waits for its next automatic restart.
    Activating,
    /// Between up and down.
    Deactivating,
    /// A word of another systemd.
    Unknown(String),
}

impl From<&str> for ActiveState {
    fn from(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "reloading" | "refreshing" => Self::Reloading,
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            "activating" => Self::Activating,
            "deactivating" => Self::Deactivating,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// What systemd knows about a unit, read at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFacts {
    /// Whether there is a file.
    pub load_state: LoadState,
    /// Up or down.
    pub active_state: ActiveState,
    /// The finer word: `running`, `start`, `auto-restart`, `dead`, …
    pub sub_state: String,
    /// systemd's `Result` of the last run: `success`, `exit-code`, `signal`, `timeout`, `oom-kill`,
    /// `start-limit-hit`, …
    pub result: String,
    /// The present or last run; `None` when it never ran since boot.
    pub invocation_id: Option<InvocationId>,
    /// Automatic restarts since the last start that somebody asked for.
    pub n_restarts: u32,
    /// How the main process ended: 1 exited, 2 killed, 3 dumped (`CLD_*`); 0 when it has not ended.
    pub exec_main_code: i32,
    /// Its exit status or signal.
    pub exec_main_status: i32,
    /// When the main process of the last run began, since boot; zero when it never did, or where the service's own properties
    /// were not read.
    pub exec_main_start: Duration,
    /// When it ended; zero while it has not.
    pub exec_main_exit: Duration,
    /// When the state last changed, since boot (`CLOCK_MONOTONIC`); zero when never.
    pub state_change_monotonic: Duration,
    /// When it last came up, since boot; zero when never.
    pub active_enter: Duration,
    /// When it last began to go down, since boot; zero when never.
    pub active_exit: Duration,
    /// When it was last down at the end of that, since boot; zero when never. A restart passes through it.
    pub inactive_enter: Duration,
    /// When systemd starts it again by itself, since boot; only while it waits for that, and only where the service's own
    /// properties were read.
    pub next_restart: Option<Duration>,
    /// Whether the conditions of the last start held.
    pub condition_result: bool,
    /// A job is queued or running.
    pub job_pending: bool,
}

impl UnitFacts {
    /// Up, and the last run has not failed.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.active_state, ActiveState::Active | ActiveState::Reloading)
    }

    /// Down for good: neither up nor on its way there.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.active_state, ActiveState::Inactive | ActiveState::Failed)
    }

    /// Neither up nor down for good: it starts, stops, waits for its next automatic restart, or a job of it is queued.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        !self.is_up() && (!self.is_down() || self.job_pending)
    }

    /// Waiting for systemd's next automatic restart, which is a failure that never reads `failed`.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        self.sub_state.starts_with("auto-restart")
    }

    /// How long the main process of the last run lived, where that is known.
    #[must_use]
    pub fn lived(&self) -> Option<Duration> {
        let ended = !self.exec_main_start.is_zero() && !self.exec_main_exit.is_zero();
        self.exec_main_exit
            .checked_sub(self.exec_main_start)
            .filter(|_| ended)
    }

    /// Whether the last run was up before it ended.
    #[must_use]
    pub fn came_up(&self) -> bool {
        self.active_enter >= self.exec_main_start
    }

    /// One sentence about the last run's end, for a cause.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.exec_main_code, self.result.as_str()) {
            (1, "exit-code" | "success") => format!("exited with status {}", self.exec_main_status),
            (2 | 3, "signal" | "core-dump") => format!("killed by signal {}", self.exec_main_status),
            (_, "timeout") => "did not become ready in time".to_owned(),
            (_, "oom-kill") => "killed because it exceeded its memory".to_owned(),
            (_, "start-limit-hit") => "failed too often in a row; systemd stopped trying".to_owned(),
            (_, result) => format!("ended with result {result}"),
        }
    }
}
