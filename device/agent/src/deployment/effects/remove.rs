//! `Remove`: the deployment ends, and nothing of it stays but the volumes to keep.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_host::{Host, Leftovers, UnitFiles, UnitFilesError, UnitName, Units, UnitsError};
use fleet_machine::deployment::{Fact, Failure};

use super::{Manners, Place};
use crate::deployment::failures;

/// What a stop takes beside the grace period: podman's own work, systemd's patience with it, and a slow card.
const STOP_WORK: Duration = Duration::from_secs(45);

impl<H: Host> Place<H> {
    /// Stops the unit and removes everything that is the deployment's. `keep` unknown: no volume is removed, and
    /// the removal is not complete while there is one.
    pub(in crate::deployment) async fn remove(
        self,
        keep: Option<BTreeSet<String>>,
        manners: Manners,
        inits: Vec<UnitName>,
    ) -> Fact {
        match self.try_remove(keep.as_ref(), &manners, &inits).await {
            Ok(()) => Fact::Removed,
            Err(failure) => Fact::RemoveFailed(failure),
        }
    }

    async fn try_remove(
        &self,
        keep: Option<&BTreeSet<String>>,
        manners: &Manners,
        inits: &[UnitName],
    ) -> Result<(), Failure> {
        let of_units = |error: UnitsError| failures::of_units(&error);
        let of_files = |error: UnitFilesError| failures::of_files(&error);
        if !manners.kill {
            let facts = self.units().facts(&self.unit).await.map_err(of_units)?;
            // A container may run before its unit is up: its health check is still out.
            if !facts.is_down() && !facts.is_restarting() {
                self.ask_to_end(None, "the deployment", manners).await?;
            }
        }
        self.units()
            .stop(&self.unit, manners.grace + STOP_WORK)
            .await
            .map_err(of_units)?;
        let files = self.shared.host.unit_files();
        for file in files.list().await.map_err(of_files)? {
            if file.deployment() == self.name {
                // Whether it was there says nothing: an agent that was killed may have removed it just now.
                let _ = files.remove(&file).await.map_err(of_files)?;
            }
        }
        // First, since systemd keeps what failed.
        self.units().reset_failed(&self.unit).await.map_err(of_units)?;
        self.units().let_go(&self.unit).await.map_err(of_units)?;
        self.watch(inits, false).await;
        let leftovers = self.shared.host.leftovers();
        let remains = leftovers
            .remove(&self.name, keep)
            .await
            .map_err(|error| failures::of_removal(&error))?;
        match remains.is_empty() {
            true => Ok(()),
            false => Err(failures::of_remains(&remains, keep.is_some())),
        }
    }

    /// Watches the units of the deployment from now on, or no longer.
    pub(in crate::deployment) async fn watch(&self, inits: &[UnitName], wanted: bool) {
        for unit in [&self.unit].into_iter().chain(inits) {
            self.shared.watch(unit, wanted).await;
        }
    }
}
