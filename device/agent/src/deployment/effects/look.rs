//! `Verify`, and the glances beside a start.

use fleet_host::{ActiveState, Host, LoadState, UnitFacts, UnitFiles, UnitFilesError, UnitName, Units};
use fleet_machine::deployment::{Fact, Failure, InitStep, Installed, Observation};
use fleet_protocol::PodmanV0Score;
use fleet_protocol::score::RestartPolicy;

use super::Place;
use crate::deployment::failures::{self, RunEnd};

impl<H: Host> Place<H> {
    /// Compares unit and files with what is installed. Reads only. `None` while the unit is on its way down.
    pub(in crate::deployment) async fn look(
        self,
        of: Installed,
        score: PodmanV0Score,
        was_up: bool,
    ) -> Option<Fact> {
        match self.drift(&of, &score).await {
            Ok(None) => {}
            Ok(Some(drift)) => return Some(Fact::Drifted(drift)),
            Err(error) => tracing::warn!("files of {} are not compared: {error}", self.name),
        }
        let facts = match self.units().facts(&self.unit).await {
            Ok(facts) => facts,
            Err(error) => {
                tracing::warn!("{} cannot be looked at: {error}", self.unit);
                return None;
            }
        };
        if facts.load_state != LoadState::Loaded {
            return Some(Fact::Drifted(failures::of_drift(self.unit.as_str(), true)));
        }
        self.observe(&facts, score.restart, was_up)
            .await
            .map(Fact::Observed)
    }

    /// How far a start is: whether the run that it replaces is over, and which init container runs. Reads only; `None`
    /// while there is nothing to tell, or nobody can.
    pub(in crate::deployment) async fn glance(
        self,
        old: Option<String>,
        inits: Vec<UnitName>,
    ) -> Option<Fact> {
        if let Some(old) = old {
            let facts = self.units().facts(&self.unit).await.ok()?;
            let same = facts.invocation_id.as_ref().is_some_and(|id| id.as_str() == old);
            let ending = same && !facts.is_down();
            return (!ending).then(|| Fact::Observed(activating(&facts)));
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        for (i, init) in inits.iter().enumerate() {
            let facts = self.units().facts(init).await.ok()?;
            if facts.active_state == ActiveState::Activating {
                return Some(Fact::InitRuns(InitStep {
                    name: init.init_name()?.to_owned(),
                    step: count(i + 1),
                    of: count(inits.len()),
                }));
            }
        }
        None
    }

    async fn drift(&self, of: &Installed, score: &PodmanV0Score) -> Result<Option<Failure>, UnitFilesError> {
        let Ok(rendered) = self.render(of, score) else {
            return Ok(None);
        };
        let files = self.shared.host.unit_files();
        for part in rendered.files() {
            let text = files.read(&part.file).await?;
            if text.as_deref() != Some(part.text.as_str()) {
                return Ok(Some(failures::of_drift(part.file.as_str(), text.is_none())));
            }
        }
        Ok(None)
    }

    async fn observe(&self, facts: &UnitFacts, policy: RestartPolicy, was_up: bool) -> Option<Observation> {
        if let Some(run) = self.active_run(facts) {
            return Some(Observation::Active(run));
        }
        // Its start waits for its init containers, as after a boot: it looks at rest and is not.
        if facts.is_down() && facts.job_pending {
            return Some(Observation::Activating { invocation: None });
        }
        // Of a unit that was not up, only a run of it counts: one that never ran looks as if it had ended well.
        if failures::ended_well(facts, policy) && (was_up || failures::ran_well(facts)) {
            return Some(Observation::Finished);
        }
        if facts.is_restarting() || facts.is_down() {
            let log = match was_up && (facts.is_restarting() || facts.result != "success") {
                true => self.last_words(facts).await,
                false => Vec::new(),
            };
            let next_restart = facts.next_restart.map(|at| self.wall_clock(at));
            let end = RunEnd {
                facts,
                log,
                next_restart,
            };
            return Some(Observation::Stopped(failures::of_stop(policy, end)));
        }
        (facts.active_state == ActiveState::Activating).then(|| activating(facts))
    }
}

fn activating(facts: &UnitFacts) -> Observation {
    let invocation = facts.invocation_id.as_ref().map(|id| id.as_str().to_owned());
    Observation::Activating { invocation }
}
