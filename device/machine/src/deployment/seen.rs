//! Facts about a unit that nobody asked for: what it was seen doing, and what was done to its files.

use super::At;
use super::event::Observation;
use super::state::{Back, Failure, Keep, Run, Unit};
use super::turn::Turn;

/// A run of this length, in milliseconds, wipes out the failures before it.
const LONG_RUN: At = 600_000;

impl Turn {
    pub(super) fn observed(&mut self, observation: Observation) -> bool {
        match observation {
            Observation::Active(run) => self.seen_active(run),
            Observation::Activating { invocation } => self.seen_activating(invocation.as_deref()),
            Observation::Finished => self.seen_finished(),
            Observation::Stopped(failure) => self.seen_stopped(failure),
        }
    }

    fn seen_active(&mut self, run: Run) -> bool {
        match &mut self.state.unit {
            Unit::None => return false,
            Unit::Up { .. } => {
                if let Some(running) = &mut self.state.running {
                    running.run = run;
                }
            }
            Unit::Installing { .. } | Unit::InstallFailed { .. } => self.is_up(run),
            // The next boot runs it again.
            Unit::Finished { of } => {
                let of = of.clone();
                self.up(of, run);
            }
            Unit::Down { .. } => self.seen_back(run),
            Unit::StopIgnored { replaces, .. } => {
                if *replaces != run.invocation {
                    self.ended_after_all();
                } else if self.state.running.is_none() {
                    self.is_up(run);
                }
            }
            Unit::Starting { .. } | Unit::Removing { .. } => {}
        }
        true
    }

    /// systemd brought it back by itself.
    fn seen_back(&mut self, run: Run) {
        if self.is_of_older(&run) {
            return self.is_up(run);
        }
        let Unit::Down { of, back, .. } = &mut self.state.unit else {
            return;
        };
        if self.state.unproven.is_none() {
            let of = of.clone();
            return self.up(of, run);
        }
        if back
            .as_ref()
            .is_none_or(|back| back.run.invocation != run.invocation)
        {
            let started_at = run.started_at;
            *back = Some(Back { run, asked: false });
            self.settle(started_at);
        }
    }

    /// Whether a run is one that should have been replaced, and was not: the start never came about.
    fn is_of_older(&self, run: &Run) -> bool {
        let running = self.state.running.as_ref();
        let known = running.is_some_and(|old| old.run.invocation == run.invocation);
        let older = self.state.older.as_ref();
        known || older.is_some_and(|older| older.is(Some(&run.invocation)))
    }

    /// The unit is down: nothing older is up any more. Whether something was.
    fn older_ended(&mut self) -> bool {
        let (running, older) = (self.state.running.take(), self.state.older.take());
        running.is_some() || older.is_some()
    }

    /// The run that would not end is over. systemd starts the new version, whose files are in place, or is asked to.
    fn ended_after_all(&mut self) {
        let Unit::StopIgnored {
            of, replaces, from, ..
        } = &self.state.unit
        else {
            return;
        };
        let (of, replaces, from) = (of.clone(), replaces.clone(), *from);
        self.state.running = None;
        self.begin_start(of, Some(replaces), from);
    }

    fn seen_activating(&mut self, invocation: Option<&str>) -> bool {
        match &self.state.unit {
            Unit::None => return false,
            Unit::Up { of } => {
                let replaces = self.state.running.as_ref().map(|r| r.run.invocation.clone());
                let of = of.clone();
                self.state.running = None;
                self.start(of, replaces);
            }
            Unit::Starting { .. } => self.state.running = None,
            // The start that would not end may still be under way itself.
            Unit::StopIgnored { replaces, .. } => {
                if invocation != Some(replaces.as_str()) {
                    self.ended_after_all();
                }
            }
            // A start asked for here would run what is done once more, were it over by then.
            Unit::Installing { .. }
            | Unit::InstallFailed { .. }
            | Unit::Finished { .. }
            | Unit::Down { .. }
            | Unit::Removing { .. } => {}
        }
        true
    }

    fn seen_finished(&mut self) -> bool {
        match &mut self.state.unit {
            Unit::None => return false,
            Unit::Up { of } => {
                let of = of.clone();
                self.ended_well(of);
            }
            Unit::Down { of, .. } => {
                let of = of.clone();
                if !self.older_ended() {
                    self.ended_well(of);
                }
            }
            Unit::Installing { .. } | Unit::InstallFailed { .. } | Unit::Starting { .. } => {
                self.state.running = None;
            }
            Unit::StopIgnored { .. } => self.ended_after_all(),
            Unit::Finished { .. } | Unit::Removing { .. } => {}
        }
        true
    }

    fn seen_stopped(&mut self, failure: Failure) -> bool {
        if matches!(self.state.unit, Unit::Down { .. }) && self.older_ended() {
            return true;
        }
        match &mut self.state.unit {
            Unit::None => return false,
            Unit::Up { of } | Unit::Finished { of } => {
                let of = of.clone();
                let began = self.state.running.as_ref().map(|r| r.run.started_at);
                if began.is_some_and(|began| self.at.saturating_sub(began) >= LONG_RUN) {
                    self.state.unit_tries = 0;
                }
                self.down(of, failure);
            }
            Unit::Installing { .. } | Unit::InstallFailed { .. } | Unit::Starting { .. } => {
                self.state.running = None;
            }
            Unit::StopIgnored { .. } => self.ended_after_all(),
            Unit::Down {
                of, back, restarts, ..
            } => match back.take() {
                Some(Back { asked: true, .. }) => {
                    let of = of.clone();
                    self.down(of, failure);
                }
                asked_by_systemd => {
                    *restarts = failure.end.and_then(|end| end.restarts).or(*restarts);
                    if asked_by_systemd.is_some() {
                        self.wait_on();
                    }
                }
            },
            Unit::Removing { .. } => {}
        }
        true
    }

    /// Somebody changed a file: write it again. What runs needs no restart, if it is still the run that
    /// proved itself before.
    pub(super) fn drifted(&mut self, failure: Failure) -> bool {
        match &self.state.unit {
            Unit::None => return false,
            Unit::Up { of } => {
                let of = of.clone();
                let keep = match &self.state.running {
                    Some(running) => Keep::Invocation(running.run.invocation.clone()),
                    None => Keep::None,
                };
                self.state.drift = Some(failure);
                self.reinstall(of, keep);
            }
            Unit::Finished { of } => {
                let of = of.clone();
                self.state.drift = Some(failure);
                self.reinstall(of, Keep::Finished);
            }
            Unit::Starting { of, .. } => {
                let of = of.clone();
                self.state.drift = Some(failure);
                self.reinstall(of, Keep::None);
            }
            // Each of these writes all files when it goes on.
            Unit::Installing { .. }
            | Unit::InstallFailed { .. }
            | Unit::StopIgnored { .. }
            | Unit::Down { .. }
            | Unit::Removing { .. } => {}
        }
        true
    }
}
