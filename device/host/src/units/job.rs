//! Jobs of systemd, from the call to their end.
//!
//! A job's end is told by the signal `JobRemoved`, which can be lost (systemd#8803). So each wait has a
//! deadline and, beside the signal, a poll of the job itself; and what counts at the end are the unit's own
//! facts, not the word of the job (systemd#22369).

use std::time::Duration;

use tokio::time::Instant;
use zbus::OwnedObjectPath;

use super::bus::{PROPERTIES, SYSTEMD, Waiting};
use super::systemd::{FIRST_PAUSE, LONGEST_PAUSE, missing};
use super::{Started, Units, UnitsError, UserUnits};
use crate::names::UnitName;

/// What a job does to those that its unit requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are started with it, in the same transaction.
    Replace,
    /// They are left alone. A start that joins one under way, or that waits for systemd's own restart, would start its init
    /// containers once more, beside the one that runs.
    IgnoreRequirements,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::IgnoreRequirements => "ignore-requirements",
        }
    }
}

impl UserUnits {
    /// Queues a job and waits for its end. `None`: it ended, and nobody heard how.
    pub(super) async fn job(
        &self,
        method: &'static str,
        mode: Mode,
        unit: &UnitName,
        within: Duration,
    ) -> Result<Option<String>, UnitsError> {
        let deadline = Instant::now() + within;
        let _waiting = Waiting::new(&self.shared);
        let link = self.link().await?;
        let reply = link
            .manager(method, &(unit.as_str(), mode.as_str()))
            .await
            .map_err(|error| missing(error, unit))?;
        let job: OwnedObjectPath = reply
            .body()
            .deserialize()
            .map_err(|error| UnitsError::Malformed {
                operation: method,
                problem: error.to_string(),
            })?;
        match tokio::time::timeout_at(deadline, self.end_of(job.as_str())).await {
            Ok(result) => Ok(result),
            Err(_) => Err(UnitsError::Deadline {
                unit: unit.clone(),
                within,
            }),
        }
    }

    /// The signal, or a poll that finds the job gone. The caller bounds it.
    async fn end_of(&self, job: &str) -> Option<String> {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut heard = std::pin::pin!(self.shared.jobs.notified());
            heard.as_mut().enable();
            if let Some(result) = self.shared.result(job) {
                return Some(result);
            }
            // Both arms only wait: nothing is lost when one of them is dropped.
            tokio::select! {
                () = heard => continue,
                () = tokio::time::sleep(pause) => {}
            }
            if self.job_is_gone(job).await {
                // The signal may have come just before the answer.
                return self.shared.result(job);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks the job for its state. Without an answer it may still be there.
    async fn job_is_gone(&self, job: &str) -> bool {
        let Ok(link) = self.link().await else { return false };
        let asked = link
            .call(
                SYSTEMD,
                job,
                PROPERTIES,
                "Get",
                &("org.freedesktop.systemd1.Job", "State"),
            )
            .await;
        match asked {
            Err(UnitsError::Refused { name, .. }) => {
                let unknown = [
                    "UnknownObject",
                    "UnknownMethod",
                    "UnknownInterface",
                    "UnknownProperty",
                ];
                unknown.iter().any(|word| name.ends_with(word))
            }
            _ => false,
        }
    }

    /// Judges a start by what is true now. For a run that is up one question is enough.
    pub(super) async fn started(
        &self,
        unit: &UnitName,
        job_result: Option<String>,
    ) -> Result<Started, UnitsError> {
        let facts = self.glance(unit).await?;
        let done = matches!(job_result.as_deref(), None | Some("done"));
        if done && facts.is_up() {
            let invocation_id = facts.invocation_id.clone();
            return match invocation_id {
                Some(invocation_id) => Ok(Started { invocation_id, facts }),
                None => Err(UnitsError::Malformed {
                    operation: "GetAll",
                    problem: format!("{unit} is up and has no InvocationID"),
                }),
            };
        }
        if job_result.as_deref() == Some("skipped") || (done && facts.is_down() && !facts.condition_result) {
            return Err(UnitsError::Skipped(unit.clone()));
        }
        Err(UnitsError::JobFailed {
            unit: unit.clone(),
            job_result,
            facts: Box::new(self.facts(unit).await?),
        })
    }
}
