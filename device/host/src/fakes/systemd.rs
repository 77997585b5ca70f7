//! What the fake systemd does with its units by itself: runs, ends, pauses and restarts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{Behaviour, State};
use crate::names::{UnitName, container_name, init_container_name, volume_name};
use crate::units::{ActiveState, LoadState, UnitFacts};

/// The init container at which a start stands: one that failed, or (with its time limit) one that hangs.
pub(super) struct Stuck {
    pub(super) init: UnitName,
    pub(super) timeout: Option<Duration>,
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
