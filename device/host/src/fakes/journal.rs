//! The fake of the journal: what containers said, run by run, and what happened to it since.

use std::collections::BTreeMap;

use tokio::time::{Duration, sleep};

use super::World;
use crate::exec::{ExecError, ExecStatus};
use crate::journal::{Journal, JournalError, LogLimits, LogLine, LogTail, WhichRun};
use crate::names::InvocationId;

/// What the journal holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    /// By container, the oldest run first.
    runs: BTreeMap<String, Vec<Run>>,
    made: u64,
    slow: Duration,
}

#[derive(Debug, Clone)]
struct Run {
    id: String,
    lines: Vec<LogLine>,
    /// The beginning is still there.
    begins: bool,
}

impl World {
    /// The container of this name is made anew and says these lines.
    pub fn says(&self, container: &str, lines: &[&str]) {
        let mut state = self.state.borrow_mut();
        let at = state.now;
        let store = &mut state.journal;
        store.made += 1;
        let run = Run {
            id: format!("{:064x}", store.made),
            lines: lines
                .iter()
                .map(|text| LogLine {
                    at,
                    text: (*text).to_owned(),
                })
                .collect(),
            begins: true,
        };
        store.runs.entry(container.to_owned()).or_default().push(run);
    }

    /// The journal loses all but the last `lines` lines of each container.
    pub fn vacuum_journal(&self, lines: usize) {
        for runs in self.state.borrow_mut().journal.runs.values_mut() {
            let mut left = lines;
            for run in runs.iter_mut().rev() {
                let kept = run.lines.len().min(left);
                run.begins &= kept == run.lines.len() && left > 0;
                run.lines.drain(..run.lines.len() - kept);
                left -= kept;
            }
            runs.retain(|run| run.begins || !run.lines.is_empty());
        }
    }

    /// Each query takes this long, by tokio's clock.
    pub fn journal_takes(&self, time: Duration) {
        self.state.borrow_mut().journal.slow = time;
    }
}

/// The fake of [`crate::UserJournal`].
#[derive(Debug, Clone)]
pub struct UserJournal(World);

impl UserJournal {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }

    fn call(&self, operation: &'static str, subject: &str) -> Result<(), JournalError> {
        self.0.call(operation, subject).map_err(|denied| {
            JournalError(ExecError {
                tool: "journalctl",
                args: String::new(),
                status: ExecStatus::NotStarted(denied.into()),
                stderr: String::new(),
            })
        })
    }
}

impl Journal for UserJournal {
    async fn tail(&self, run: &InvocationId, lines: u16) -> Result<Vec<String>, JournalError> {
        self.call("journal.tail", run.as_str())?;
        let found = self.0.state.borrow().logs.get(run).cloned().unwrap_or_default();
        Ok(found[found.len().saturating_sub(usize::from(lines))..].to_vec())
    }

    async fn query(
        &self,
        container: &str,
        run: WhichRun,
        limits: LogLimits,
    ) -> Result<LogTail, JournalError> {
        self.call("journal.query", container)?;
        let slow = self.0.state.borrow().journal.slow;
        if !slow.is_zero() {
            sleep(slow).await;
        }
        let state = self.0.state.borrow();
        let nth = match run {
            WhichRun::Newest => 0,
            WhichRun::Previous => 1,
        };
        let runs = state.journal.runs.get(container);
        let Some(run) = runs.and_then(|runs| runs.iter().rev().nth(nth)) else {
            return Ok(LogTail::default());
        };
        let first = run.lines.len().saturating_sub(limits.lines);
        Ok(LogTail {
            run: Some(run.id.clone()),
            lines: run.lines[first..].to_vec(),
            complete: run.begins && first == 0,
        })
    }
}
