//! The fake of systemd's units.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::world::{Behaviour, Denied, State, World};
use crate::names::{UnitName, container_name, init_container_name, volume_name};
use crate::units::{ActiveState, LoadState, Started, TakenUp, UnitFacts, Units, UnitsError};

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

/// The init container at which a start stands: one that failed, or (with its time limit) one that hangs.
pub(super) struct Stuck {
    init: UnitName,
    timeout: Option<Duration>,
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

    /// One start of the unit's own container, whatever it was doing.
    pub(super) fn run(&mut self, unit: &UnitName) {
        let behaviour = match unit.init_name() {
            None => self
                .behaviours
                .get(&unit.deployment())
                .cloned()
                .unwrap_or(Behaviour::Runs),
            Some(_) => self.init_behaviours.get(unit).cloned().unwrap_or(ENDS_WELL),
        };
        let container = container_of(unit);
        let run = self.next_run();
        let stamps = self.units.get(unit).cloned().unwrap_or_else(blank);
        let mut facts = UnitFacts {
            invocation_id: Some(run.clone()),
            state_change_monotonic: self.monotonic,
            active_enter: stamps.active_enter,
            active_exit: stamps.active_exit,
            inactive_enter: stamps.inactive_enter,
            ..blank()
        };
        self.containers.remove(&container);
        self.begun.push(unit.clone());
        match behaviour {
            _ if !self.has_image(unit) => {
                self.fails(&mut facts, "exit-code", (1, 125));
                self.logs.insert(run, vec!["Error: image not known".to_owned()]);
            }
            Behaviour::Runs if unit.init_name().is_none() => {
                facts.active_state = ActiveState::Active;
                facts.sub_state = "running".to_owned();
                facts.active_enter = self.monotonic;
                self.containers.insert(container);
                self.make_volumes(unit);
            }
            // The main unit mentions it, so that systemd does not forget how it ended.
            Behaviour::Exits { status: 0, .. } if unit.init_name().is_some() => {
                (facts.exec_main_code, facts.exec_main_status) = (1, 0);
                self.make_volumes(unit);
            }
            // Done, and forgotten at once, exit status and all: systemd keeps only what failed or is referred to.
            Behaviour::Exits { status: 0, .. } if !self.starts_for_ever(unit) => {}
            Behaviour::Exits { status, lines } => {
                self.fails(&mut facts, "exit-code", (1, status));
                self.logs.insert(run, lines);
            }
            Behaviour::Runs | Behaviour::Hangs => {
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

    pub(super) fn come_up(&mut self, unit: &UnitName) {
        let now = self.monotonic;
        if let Some(facts) = self.units.get_mut(unit)
            && facts.active_state == ActiveState::Activating
            && !facts.is_restarting()
        {
            facts.active_state = ActiveState::Active;
            facts.sub_state = "running".to_owned();
            facts.active_enter = now;
        }
    }

    /// systemd waits for its next try.
    fn fails(&self, facts: &mut UnitFacts, result: &str, end: (i32, i32)) {
        facts.active_state = ActiveState::Activating;
        facts.sub_state = "auto-restart".to_owned();
        facts.result = result.to_owned();
        facts.next_restart = Some(self.monotonic + Duration::from_secs(1));
        (facts.exec_main_code, facts.exec_main_status) = end;
    }

    /// The init containers that the loaded unit requires, in their order.
    pub(super) fn inits_of(&self, unit: &UnitName) -> Vec<UnitName> {
        let text = self.loaded.get(unit).map_or("", String::as_str);
        let required = text.lines().filter_map(|line| line.strip_prefix("Requires="));
        required.filter_map(|name| UnitName::parse(name).ok()).collect()
    }

    /// Every init container of the deployment that systemd knows of, also one that is required no more.
    pub(super) fn held_inits(&self, unit: &UnitName) -> Vec<UnitName> {
        let ours = |name: &&UnitName| name.init_name().is_some() && name.deployment() == unit.deployment();
        self.units.keys().filter(ours).cloned().collect()
    }

    /// systemd's next try after an init container failed: that one, and those after it.
    pub(super) fn try_inits_again(&mut self, unit: &UnitName) -> Result<(), Stuck> {
        let inits = self.inits_of(unit);
        let waits = |init: &UnitName| self.units.get(init).is_some_and(UnitFacts::is_restarting);
        let from = inits.iter().position(waits).unwrap_or(0);
        self.run_these(inits[from..].to_vec())
    }

    /// Runs the init containers one after the other, up to the first that does not end well.
    pub(super) fn run_inits(&mut self, unit: &UnitName) -> Result<(), Stuck> {
        self.run_these(self.inits_of(unit))
    }

    fn run_these(&mut self, inits: Vec<UnitName>) -> Result<(), Stuck> {
        for init in inits {
            let restarts = self
                .units
                .get(&init)
                .map_or(0, |facts| match facts.is_restarting() {
                    true => facts.n_restarts + 1,
                    false => 0,
                });
            self.run(&init);
            let timeout = self.timeout_of(&init);
            let Some(facts) = self.units.get_mut(&init) else {
                continue;
            };
            facts.n_restarts = restarts;
            if facts.active_state == ActiveState::Activating {
                let timeout = (!facts.is_restarting()).then_some(timeout);
                return Err(Stuck { init, timeout });
            }
        }
        Ok(())
    }

    /// The container is ended at its unit's time limit.
    pub(super) fn time_out(&mut self, unit: &UnitName) {
        self.containers.remove(&container_of(unit));
        let Some(mut facts) = self.units.remove(unit) else {
            return;
        };
        self.fails(&mut facts, "timeout", (2, 15));
        self.units.insert(unit.clone(), facts);
    }

    fn timeout_of(&self, unit: &UnitName) -> Duration {
        let text = self.loaded.get(unit).map_or("", String::as_str);
        let limit = text
            .lines()
            .find_map(|line| line.strip_prefix("TimeoutStartSec="));
        Duration::from_secs(limit.and_then(|limit| limit.parse().ok()).unwrap_or(300))
    }

    /// Ends the runs of init containers whose files are others since, or gone.
    pub(super) fn end_outdated_inits(&mut self, unit: &UnitName, before: &BTreeMap<UnitName, String>) {
        for init in self.held_inits(unit) {
            if self.loaded.get(&init) != before.get(&init) {
                self.halt(&init);
            }
            if !self.loaded.contains_key(&init) {
                self.units.remove(&init);
            }
        }
    }

    pub(super) fn starts_for_ever(&self, unit: &UnitName) -> bool {
        self.loaded
            .get(unit)
            .is_some_and(|text| text.lines().any(|line| line == "Restart=always"))
    }

    pub(super) fn halt(&mut self, unit: &UnitName) {
        self.containers.remove(&container_of(unit));
        let now = self.monotonic;
        if let Some(facts) = self.units.get_mut(unit) {
            if facts.is_up() {
                facts.active_exit = now;
            }
            if !facts.is_down() {
                facts.inactive_enter = now;
            }
            facts.next_restart = None;
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

/// What an init container does that is not told otherwise.
const ENDS_WELL: Behaviour = Behaviour::Exits {
    status: 0,
    lines: Vec::new(),
};

fn container_of(unit: &UnitName) -> String {
    match unit.init_name() {
        None => container_name(&unit.deployment()),
        Some(init) => init_container_name(&unit.deployment(), init),
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
        exec_main_start: Duration::ZERO,
        exec_main_exit: Duration::ZERO,
        state_change_monotonic: Duration::ZERO,
        active_enter: Duration::ZERO,
        active_exit: Duration::ZERO,
        inactive_enter: Duration::ZERO,
        next_restart: None,
        condition_result: true,
        job_pending: false,
    }
}
