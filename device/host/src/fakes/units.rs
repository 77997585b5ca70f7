//! The fake of systemd's units.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{Behaviour, Denied, State, World};
use crate::names::{UnitName, container_name, volume_name};
use crate::units::{ActiveState, LoadState, Started, TakenUp, UnitFacts, Units, UnitsError};

/// The fake of [`crate::UserUnits`].
#[derive(Debug, Clone)]
pub struct UserUnits(World);

impl UserUnits {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }

    async fn job(&self, unit: &UnitName, within: Duration, again: bool) -> Result<Started, UnitsError> {
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
        self.0.state.borrow_mut().run(unit);
        self.0.tell(unit);
        let facts = self.0.state.borrow().facts(unit);
        match (facts.active_state.clone(), facts.invocation_id.clone()) {
            (ActiveState::Active, Some(invocation_id)) => Ok(Started { invocation_id, facts }),
            (ActiveState::Activating, _) if !facts.is_restarting() => {
                tokio::time::sleep(within).await;
                Err(UnitsError::Deadline {
                    unit: unit.clone(),
                    within,
                })
            }
            _ if !facts.condition_result => Err(UnitsError::Skipped(unit.clone())),
            _ => Err(UnitsError::JobFailed {
                unit: unit.clone(),
                job_result: Some(if facts.is_down() { "done" } else { "failed" }.to_owned()),
                facts: Box::new(facts),
            }),
        }
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
            self.reload().await?;
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

    async fn start(&self, unit: &UnitName, within: Duration) -> Result<Started, UnitsError> {
        self.0
            .call("units.start", unit.as_str())
            .map_err(denied("StartUnit"))?;
        self.job(unit, within, false).await
    }

    async fn stop(&self, unit: &UnitName, _: Duration) -> Result<(), UnitsError> {
        self.0
            .call("units.stop", unit.as_str())
            .map_err(denied("StopUnit"))?;
        self.0.state.borrow_mut().halt(unit);
        self.0.tell(unit);
        Ok(())
    }

    async fn restart(&self, unit: &UnitName, within: Duration) -> Result<Started, UnitsError> {
        self.0
            .call("units.restart", unit.as_str())
            .map_err(denied("RestartUnit"))?;
        self.0.state.borrow_mut().halt(unit);
        self.job(unit, within, true).await
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

impl State {
    pub(super) fn facts(&self, unit: &UnitName) -> UnitFacts {
        let load_state = if self.loaded.contains_key(unit) {
            LoadState::Loaded
        } else {
            LoadState::NotFound
        };
        match self.units.get(unit) {
            Some(facts) => UnitFacts {
                load_state,
                ..facts.clone()
            },
            None => UnitFacts {
                load_state,
                ..blank()
            },
        }
    }

    /// One start of the unit, whatever it was doing.
    pub(super) fn run(&mut self, unit: &UnitName) {
        let deployment = unit.deployment();
        let container = container_name(&deployment);
        let behaviour = self
            .behaviours
            .get(&deployment)
            .cloned()
            .unwrap_or(Behaviour::Runs);
        let run = self.next_run();
        let mut facts = UnitFacts {
            invocation_id: Some(run.clone()),
            state_change_monotonic: self.monotonic,
            ..blank()
        };
        self.containers.remove(&container);
        let fail = |facts: &mut UnitFacts, status| {
            facts.active_state = ActiveState::Activating;
            facts.sub_state = "auto-restart".to_owned();
            facts.result = "exit-code".to_owned();
            (facts.exec_main_code, facts.exec_main_status) = (1, status);
        };
        match behaviour {
            _ if !self.has_image(unit) => {
                fail(&mut facts, 125);
                self.logs.insert(run, vec!["Error: image not known".to_owned()]);
            }
            Behaviour::Runs => {
                facts.active_state = ActiveState::Active;
                facts.sub_state = "running".to_owned();
                self.containers.insert(container);
                self.make_volumes(unit);
            }
            // Done, and forgotten at once, exit status and all: systemd keeps only what failed or is referred to.
            Behaviour::Exits { status: 0, .. } if !self.starts_for_ever(unit) => {}
            Behaviour::Exits { status, lines } => {
                fail(&mut facts, status);
                self.logs.insert(run, lines);
            }
            Behaviour::Hangs => {
                facts.active_state = ActiveState::Activating;
                facts.sub_state = "start".to_owned();
                self.containers.insert(container);
            }
            Behaviour::Skipped => {
                facts.invocation_id = None;
                facts.condition_result = false;
            }
        }
        self.units.insert(unit.clone(), facts);
    }

    fn starts_for_ever(&self, unit: &UnitName) -> bool {
        self.loaded
            .get(unit)
            .is_some_and(|text| text.lines().any(|line| line == "Restart=always"))
    }

    pub(super) fn halt(&mut self, unit: &UnitName) {
        self.containers.remove(&container_name(&unit.deployment()));
        let now = self.monotonic;
        if let Some(facts) = self.units.get_mut(unit) {
            facts.active_state = ActiveState::Inactive;
            facts.sub_state = "dead".to_owned();
            facts.state_change_monotonic = now;
        }
    }

    /// The named volumes in the file's text come into being.
    fn make_volumes(&mut self, unit: &UnitName) {
        let prefix = volume_name(&unit.deployment(), "");
        let text = self.loaded.get(unit).cloned().unwrap_or_default();
        for source in text
            .lines()
            .filter_map(|line| line.strip_prefix("Volume=")?.split(':').next())
        {
            if source.starts_with(&prefix) {
                self.volumes.insert(source.to_owned());
            }
        }
    }
}

fn blank() -> UnitFacts {
    UnitFacts {
        load_state: LoadState::Loaded,
        active_state: ActiveState::Inactive,
        sub_state: "dead".to_owned(),
        result: "success".to_owned(),
        invocation_id: None,
        n_restarts: 0,
        exec_main_code: 0,
        exec_main_status: 0,
        state_change_monotonic: Duration::ZERO,
        condition_result: true,
        job_pending: false,
    }
}
