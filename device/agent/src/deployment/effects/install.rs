//! `Install`: the files of a deployment, and systemd's knowledge of them.

use fleet_host::{ActiveState, Changed, Host, LoadState, UnitFacts, UnitFiles, Units, UnitsError};
use fleet_machine::deployment::{Fact, Failure, Found, Installed, Retry};
use fleet_protocol::PodmanV0Score;

use super::Place;
use crate::deployment::failures::{self, failure};

impl<H: Host> Place<H> {
    /// Writes the files and loads them. `loaded` says that systemd has read these files before.
    pub(in crate::deployment) async fn install(
        self,
        of: Installed,
        score: PodmanV0Score,
        loaded: bool,
    ) -> Fact {
        self.at_rest.set(false);
        match self.try_install(&of, &score, loaded).await {
            Ok((changed, facts)) => {
                self.shared.health.right("disk-full");
                self.at_rest
                    .set(facts.active_state == ActiveState::Inactive && !facts.job_pending);
                Fact::Installed {
                    changed: changed.is_changed(),
                    found: self.found(&facts),
                }
            }
            Err(failure) => {
                self.note_full_disk(&failure);
                Fact::InstallFailed(failure)
            }
        }
    }

    async fn try_install(
        &self,
        of: &Installed,
        score: &PodmanV0Score,
        loaded: bool,
    ) -> Result<(Changed, UnitFacts), Failure> {
        let rendered = self.render(of, score)?;
        let files = self.shared.host.unit_files();
        let changed = files
            .replace(&rendered)
            .await
            .map_err(|error| failures::of_files(&error))?;
        let of_units = |error: UnitsError| failures::of_units(&error);
        let known = async {
            let known = match loaded && !changed.is_changed() {
                true => Some(self.units().facts(&self.unit).await?),
                false => None,
            };
            match known.filter(|facts| facts.load_state == LoadState::Loaded) {
                Some(facts) => Ok(facts),
                None => self.take_up().await,
            }
        };
        // The watch is asked for first, so that no change after the facts is missed; its answer is not waited for.
        let inits = rendered.init_units();
        let ((), facts) = tokio::join!(biased; self.watch(&inits, true), known);
        let facts = facts.map_err(of_units)?;
        match facts.load_state {
            LoadState::Loaded => Ok((changed, facts)),
            LoadState::NotFound => Err(of_units(UnitsError::NoSuchUnit(self.unit.clone()))),
            LoadState::Unusable(word) => Err(failure(
                "unit-refused",
                format!("systemd cannot use {} ({word}): look at its journal", self.unit),
                Retry::Seldom,
            )),
        }
    }

    fn found(&self, facts: &UnitFacts) -> Found {
        match self.active_run(facts) {
            Some(run) => Found::Up(run),
            None if facts.is_coming() => {
                // A start that waits for its init containers has no invocation yet; systemd shows that of the last run.
                let waits = facts.job_pending && (facts.is_down() || facts.is_restarting());
                let invocation = facts.invocation_id.as_ref().filter(|_| !waits);
                Found::Coming {
                    invocation: invocation.map(ToString::to_string),
                }
            }
            None => Found::Down,
        }
    }

    async fn take_up(&self) -> Result<UnitFacts, UnitsError> {
        let taken = self.units().take_up(&self.unit).await?;
        if let Some(why) = taken.detour {
            tracing::warn!("{} took a reload of systemd: {why}", self.unit);
        }
        Ok(taken.facts)
    }
}
