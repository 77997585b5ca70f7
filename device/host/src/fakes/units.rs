//! The fake of systemd's units.

use std::collections::BTreeSet;
use std::time::Duration;

use super::systemd::Stuck;
use super::world::{Denied, World};
use crate::names::UnitName;
use crate::units::{ActiveState, Started, TakenUp, UnitFacts, Units, UnitsError};

/// The fake of [`crate::UserUnits`].
#[derive(Debug, Clone)]
pub struct UserUnits(World);

impl UserUnits {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }

    async fn job(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
        again: bool,
    ) -> Result<Started, UnitsError> {
        let deadline = tokio::time::Instant::now() + within;
        let before = self.0.state.borrow().units.get(unit).cloned();
        if !self.0.state.borrow().loaded.contains_key(unit) {
            return Err(UnitsError::NoSuchUnit(unit.clone()));
        }
        if let (Some(facts), false) = (before, again)
            && facts.is_up()
            && let Some(invocation_id) = facts.invocation_id.clone()
        {
            return Ok(Started { invocation_id, facts });
        }
        // As systemd does: a start that is under way is joined, not begun anew.
        if !again && self.is_starting(unit) {
            return self.join(unit, deadline, within).await;
        }
        self.inits(unit, inits, deadline, within).await?;
        self.0.state.borrow_mut().run(unit);
        self.0.tell(unit);
        let facts = self.0.state.borrow().facts(unit);
        match (facts.active_state.clone(), facts.invocation_id.clone()) {
            (ActiveState::Active, Some(invocation_id)) => Ok(Started { invocation_id, facts }),
            (ActiveState::Activating, _) if !facts.is_restarting() => self.join(unit, deadline, within).await,
            _ if !facts.condition_result => Err(UnitsError::Skipped(unit.clone())),
            _ => Err(UnitsError::JobFailed {
                unit: unit.clone(),
                job_result: Some(if facts.is_down() { "done" } else { "failed" }.to_owned()),
                facts: Box::new(facts),
            }),
        }
    }

    fn is_starting(&self, unit: &UnitName) -> bool {
        let facts = self.0.state.borrow().facts(unit);
        facts.active_state == ActiveState::Activating && !facts.is_restarting()
    }

    /// Waits for the outcome of a start that is under way.
    async fn join(
        &self,
        unit: &UnitName,
        deadline: tokio::time::Instant,
        within: Duration,
    ) -> Result<Started, UnitsError> {
        while self.is_starting(unit) {
            if tokio::time::Instant::now() >= deadline {
                return Err(late(unit, within));
            }
            // Whoever plays systemd changes the state and tells nobody.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let facts = self.0.state.borrow().facts(unit);
        match facts.invocation_id.clone().filter(|_| facts.is_up()) {
            Some(invocation_id) => Ok(Started { invocation_id, facts }),
            None => Err(UnitsError::JobFailed {
                unit: unit.clone(),
                job_result: Some("failed".to_owned()),
                facts: Box::new(facts),
            }),
        }
    }

    /// Runs the init containers. A failure of one that the caller did not name is not heard: it waits for its deadline.
    async fn inits(
        &self,
        unit: &UnitName,
        named: &[UnitName],
        deadline: tokio::time::Instant,
        within: Duration,
    ) -> Result<(), UnitsError> {
        let outcome = self.0.state.borrow_mut().run_inits(unit);
        let inits = self.0.state.borrow().inits_of(unit);
        for init in inits {
            self.0.tell(&init);
        }
        let Err(Stuck { init, timeout }) = outcome else {
            return Ok(());
        };
        if let Some(timeout) = timeout {
            let ends = tokio::time::Instant::now() + timeout;
            tokio::time::sleep_until(ends.min(deadline)).await;
            if ends >= deadline {
                return Err(late(unit, within));
            }
            self.0.state.borrow_mut().time_out(&init);
            self.0.tell(&init);
        }
        if !named.contains(&init) {
            tokio::time::sleep_until(deadline).await;
            return Err(late(unit, within));
        }
        let facts = Box::new(self.0.state.borrow().facts(&init));
        Err(UnitsError::InitFailed { unit: init, facts })
    }
}

fn late(unit: &UnitName, within: Duration) -> UnitsError {
    UnitsError::Deadline {
        unit: unit.clone(),
        within,
    }
}

fn denied(operation: &'static str) -> impl FnOnce(Denied) -> UnitsError {
    move |_| UnitsError::Disconnected { operation }
}

impl Units for UserUnits {
    async fn reload(&self) -> Result<(), UnitsError> {
        self.0.call("units.reload", "").map_err(denied("Reload"))?;
        self.0.state.borrow_mut().load();
        Ok(())
    }

    async fn take_up(&self, unit: &UnitName) -> Result<TakenUp, UnitsError> {
        self.0
            .call("units.take_up", unit.as_str())
            .map_err(denied("GetAll"))?;
        let alone = self.0.state.borrow_mut().load_new(unit);
        if !alone {
            let before = self.0.state.borrow().loaded.clone();
            self.reload().await?;
            self.0.state.borrow_mut().end_outdated_inits(unit, &before);
        }
        let facts = self.0.state.borrow().facts(unit);
        Ok(TakenUp { facts, detour: None })
    }

    async fn let_go(&self, unit: &UnitName) -> Result<(), UnitsError> {
        self.0
            .call("units.let_go", unit.as_str())
            .map_err(denied("GetAll"))?;
        let alone = self.0.state.borrow_mut().unload(unit);
        if alone { Ok(()) } else { self.reload().await }
    }

    async fn start(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError> {
        self.0
            .call("units.start", unit.as_str())
            .map_err(denied("StartUnit"))?;
        self.job(unit, inits, within, false).await
    }

    async fn join(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError> {
        self.0
            .call("units.join", unit.as_str())
            .map_err(denied("StartUnit"))?;
        self.job(unit, inits, within, false).await
    }

    async fn stop(&self, unit: &UnitName, _: Duration) -> Result<(), UnitsError> {
        self.0
            .call("units.stop", unit.as_str())
            .map_err(denied("StopUnit"))?;
        let inits = self.0.state.borrow().held_inits(unit);
        for unit in inits.iter().chain([unit]) {
            self.0.state.borrow_mut().halt(unit);
            self.0.tell(unit);
        }
        Ok(())
    }

    async fn restart(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError> {
        self.0
            .call("units.restart", unit.as_str())
            .map_err(denied("RestartUnit"))?;
        self.0.state.borrow_mut().halt(unit);
        self.job(unit, inits, within, true).await
    }

    async fn reset_failed(&self, unit: &UnitName) -> Result<(), UnitsError> {
        self.0
            .call("units.reset_failed", unit.as_str())
            .map_err(denied("ResetFailedUnit"))?;
        if let Some(facts) = self.0.state.borrow_mut().units.get_mut(unit)
            && facts.active_state == ActiveState::Failed
        {
            facts.active_state = ActiveState::Inactive;
            facts.result = "success".to_owned();
        }
        Ok(())
    }

    async fn facts(&self, unit: &UnitName) -> Result<UnitFacts, UnitsError> {
        self.0
            .call("units.facts", unit.as_str())
            .map_err(denied("GetAll"))?;
        Ok(self.0.state.borrow().facts(unit))
    }

    async fn watch(&self, units: BTreeSet<UnitName>) -> Result<(), UnitsError> {
        self.0.call("units.watch", "").map_err(denied("AddMatch"))?;
        self.0.state.borrow_mut().watched = units;
        Ok(())
    }

    async fn changed(&self) -> BTreeSet<UnitName> {
        loop {
            let changed = std::mem::take(&mut self.0.state.borrow_mut().changed);
            if !changed.is_empty() {
                return changed;
            }
            self.0.news.notified().await;
        }
    }
}
