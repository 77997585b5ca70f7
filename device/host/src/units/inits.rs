//! A start that waits for init containers: their failures end the wait, since the job of the main unit goes on for as long
//! as systemd tries them again.

use std::time::Duration;

use super::bus::Looking;
use super::job::Mode;
use super::systemd::{FIRST_PAUSE, LONGEST_PAUSE};
use super::{ActiveState, Started, UnitFacts, Units, UnitsError, UserUnits};
use crate::names::{InvocationId, UnitName};

/// Ends what runs, init containers too, and starts anew.
pub(super) const RESTART: &str = "RestartUnit";
/// Starts what is down.
pub(super) const START: &str = "StartUnit";

/// An init container's unit, and the run that it had before. A failure of that one is an old one.
type Before = (UnitName, Option<InvocationId>);

impl UserUnits {
    /// Queues a start or restart and waits until the unit is up, or it or one of `inits` failed.
    pub(super) async fn run_job(
        &self,
        method: &'static str,
        mode: Mode,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError> {
        if inits.is_empty() {
            let result = self.job(method, mode, unit, within).await?;
            return self.started(unit, result).await;
        }
        let _looking = Looking::new(&self.shared, inits);
        // The signals first, then the runs, then the job: no failure of it falls between them.
        self.link().await?.follow(&self.shared).await?;
        let mut before: Vec<Before> = Vec::new();
        for init in inits {
            let glance = self.glance(init).await?;
            // A run that is under way belongs to what is waited for, and its failure counts; but a restart ends it first.
            let counts = !has_ended(&glance) && method != RESTART;
            before.push((init.clone(), glance.invocation_id.filter(|_| !counts)));
        }
        let job = async {
            let result = self.job(method, mode, unit, within).await?;
            self.started(unit, result).await
        };
        // Dropping the one that is not done loses nothing: systemd's job goes on, and the watch only reads.
        let outcome = tokio::select! {
            biased;
            outcome = job => outcome,
            failed = self.init_failure(&before) => Err(failed),
        };
        match outcome {
            // A job that ended otherwise may have ended for want of an init container.
            Err(error @ UnitsError::JobFailed { .. }) => {
                Err(self.failed_init(&before).await.unwrap_or(error))
            }
            outcome => outcome,
        }
    }

    /// Waits for the first failure. Told by a signal, or found by a poll.
    async fn init_failure(&self, before: &[Before]) -> UnitsError {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut heard = std::pin::pin!(self.shared.inits.notified());
            heard.as_mut().enable();
            if let Some(failed) = self.failed_init(before).await {
                return failed;
            }
            // Both arms only wait: nothing is lost when one of them is dropped.
            tokio::select! {
                () = heard => {}
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// The first that failed in a run of its own. What cannot be read now is read the next time.
    async fn failed_init(&self, before: &[Before]) -> Option<UnitsError> {
        for (unit, old) in before {
            let Ok(glance) = self.glance(unit).await else {
                continue;
            };
            if !ended_anew(&glance, old.as_ref()) {
                continue;
            }
            // How it ended are properties of the service. It may have gone on in between.
            let Ok(facts) = self.facts(unit).await else {
                continue;
            };
            if ended_anew(&facts, old.as_ref()) && facts.result != "success" {
                return Some(UnitsError::InitFailed {
                    unit: unit.clone(),
                    facts: Box::new(facts),
                });
            }
        }
        None
    }
}

/// Whether it has failed, and waits for its next try or has none.
fn has_ended(facts: &UnitFacts) -> bool {
    facts.is_restarting() || facts.active_state == ActiveState::Failed
}

/// Whether it has ended so in a run that is not the old one.
fn ended_anew(facts: &UnitFacts, old: Option<&InvocationId>) -> bool {
    has_ended(facts) && facts.invocation_id.is_some() && facts.invocation_id.as_ref() != old
}
