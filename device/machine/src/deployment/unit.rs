//! Facts about what was handed over to systemd.

use super::At;
use super::event::{Effect, Observation, Start, Timer};
use super::state::{Failure, Goal, Installed, Keep, Run, Running, Unit};
use super::turn::Turn;

/// A run of this length, in milliseconds, wipes out the failures before it.
const LONG_RUN: At = 600_000;
/// A unit that systemd brought back counts as up after this time, in milliseconds.
const SETTLED: At = 10_000;

impl Turn {
    /// Hands a specification over. What runs goes on running until the files are in place.
    pub(super) fn install(&mut self, of: Installed, keep: Keep) {
        if self.state.unit.installed().is_none_or(|old| old.spec != of.spec) {
            self.state.unit_tries = 0;
        }
        self.state.goal = Goal::Met;
        self.ask(Effect::Install(of.clone()));
        self.state.unit = Unit::Installing { of, keep };
    }

    fn start(&mut self, of: Installed, replaces: Option<String>) {
        // What is being replaced runs until it is seen to be down.
        let replaced = |run: &Run| replaces.as_ref() == Some(&run.invocation);
        if !self.state.running.as_ref().is_some_and(|old| replaced(&old.run)) {
            self.state.running = None;
        }
        self.ask(Effect::Start(Start {
            of: of.clone(),
            replaces: replaces.clone(),
        }));
        self.state.unit = Unit::Starting { of, replaces };
    }

    fn up(&mut self, mut of: Installed, run: Run) {
        of.optimistic = false;
        self.state.drift = None;
        self.state.running = Some(Running { of: of.clone(), run });
        self.state.unit = Unit::Up { of };
    }

    fn ended_well(&mut self, mut of: Installed) {
        of.optimistic = false;
        self.state.drift = None;
        self.state.running = None;
        self.state.unit_tries = 0;
        self.state.unit = Unit::Finished { of };
    }

    fn down(&mut self, of: Installed, failure: Failure) {
        self.state.running = None;
        self.state.unit_tries = self.state.unit_tries.saturating_add(1);
        let next_try = self.retry(Timer::Unit, &failure, self.state.unit_tries);
        self.state.unit = Unit::Down {
            of,
            failure,
            next_try,
            back: None,
        };
    }

    pub(super) fn remove(&mut self) {
        self.state.drift = None;
        self.state.running = None;
        self.state.unit_tries = 0;
        self.ask(Effect::Remove);
        self.state.unit = Unit::Removing {
            failure: None,
            next_try: None,
        };
    }

    pub(super) fn installed(&mut self, changed: bool, active: Option<Run>) -> bool {
        let Unit::Installing { of, keep } = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        let kept = |run: &Run| match keep {
            Keep::None | Keep::Finished => false,
            Keep::AnyIfUnchanged => !changed,
            Keep::Invocation(known) => *known == run.invocation,
        };
        match active {
            Some(run) if kept(&run) => self.up(of, run),
            Some(run) => self.start(of, Some(run.invocation)),
            None if *keep == Keep::Finished => self.ended_well(of),
            None => self.start(of, None),
        }
        true
    }

    pub(super) fn install_failed(&mut self, failure: Failure) -> bool {
        let Unit::Installing { of, .. } = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        self.state.unit_tries = self.state.unit_tries.saturating_add(1);
        let next_try = self.retry(Timer::Unit, &failure, self.state.unit_tries);
        self.state.unit = Unit::InstallFailed {
            of,
            failure,
            next_try,
        };
        true
    }

    pub(super) fn started(&mut self, run: Run) -> bool {
        let Unit::Starting { of, .. } = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        self.up(of, run);
        true
    }

    pub(super) fn finished(&mut self) -> bool {
        let Unit::Starting { of, .. } = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        self.ended_well(of);
        true
    }

    pub(super) fn start_failed(&mut self, failure: Failure, image_missing: bool) -> bool {
        let Unit::Starting { of, .. } = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        self.state.running = None;
        if image_missing && matches!(self.state.goal, Goal::Met) {
            return match of.optimistic {
                true => self.fetch_missing(of, failure),
                false => self.fetch_vanished(of, failure),
            };
        }
        self.down(of, failure);
        true
    }

    /// The image was thought to be there and is not: fetch it, then start over.
    fn fetch_missing(&mut self, of: Installed, failure: Failure) -> bool {
        let target = of.to_target();
        self.ask(Effect::Pull(target.clone()));
        self.state.goal = Goal::Fetching {
            target,
            began: false,
            progress: None,
        };
        self.state.unit = Unit::Down {
            of,
            failure,
            next_try: None,
            back: None,
        };
        true
    }

    /// A pull confirmed the image, and it is not there: somebody removed it, or the storage loses it. Another start
    /// cannot help. It is fetched again, each time later, so that a storage that loses it is not filled for ever.
    fn fetch_vanished(&mut self, of: Installed, failure: Failure) -> bool {
        self.state.unit_tries = self.state.unit_tries.saturating_add(1);
        self.state.pull_tries = self.state.unit_tries;
        let next_try = self.retry(Timer::Goal, &failure, self.state.unit_tries);
        self.state.goal = Goal::FetchFailed {
            target: of.to_target(),
            failure: failure.clone(),
            next_try,
        };
        self.state.unit = Unit::Down {
            of,
            failure,
            next_try: None,
            back: None,
        };
        true
    }

    pub(super) fn observed(&mut self, observation: Observation) -> bool {
        match observation {
            Observation::Active(run) => self.seen_active(run),
            Observation::Activating => self.seen_activating(),
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
            // The old version, restarted by systemd: its files are still the ones that are loaded.
            Unit::Installing { .. } | Unit::InstallFailed { .. } => {
                if let Some(running) = &mut self.state.running {
                    running.run = run;
                }
            }
            // The next boot runs it again.
            Unit::Finished { of } => {
                let of = of.clone();
                self.up(of, run);
            }
            Unit::Down { of, back, .. } => {
                if self.state.unit_tries <= 1 {
                    let of = of.clone();
                    self.up(of, run);
                } else {
                    *back = Some(run);
                }
            }
            Unit::Starting { .. } | Unit::Removing { .. } => {}
        }
        true
    }

    fn seen_activating(&mut self) -> bool {
        match &self.state.unit {
            Unit::None => return false,
            Unit::Up { of } => {
                let replaces = self.state.running.as_ref().map(|r| r.run.invocation.clone());
                let of = of.clone();
                self.state.running = None;
                self.start(of, replaces);
            }
            Unit::Starting { .. } => self.state.running = None,
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
            Unit::Up { of } | Unit::Down { of, .. } => {
                let of = of.clone();
                self.ended_well(of);
            }
            Unit::Installing { .. } | Unit::InstallFailed { .. } | Unit::Starting { .. } => {
                self.state.running = None;
            }
            Unit::Finished { .. } | Unit::Removing { .. } => {}
        }
        true
    }

    fn seen_stopped(&mut self, failure: Failure) -> bool {
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
            Unit::Down { back, .. } => *back = None,
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
            | Unit::Down { .. }
            | Unit::Removing { .. } => {}
        }
        true
    }

    /// Installs what is installed once more, whatever is asked for meanwhile.
    fn reinstall(&mut self, of: Installed, keep: Keep) {
        self.ask(Effect::Install(of.clone()));
        self.state.unit = Unit::Installing { of, keep };
    }

    /// A timer that fires late, after something else happened, means nothing.
    pub(super) fn unit_retry(&mut self) -> bool {
        let awaited = match &self.state.unit {
            Unit::InstallFailed { next_try, .. }
            | Unit::Down { next_try, .. }
            | Unit::Removing { next_try, .. } => next_try.is_some(),
            Unit::None
            | Unit::Installing { .. }
            | Unit::Starting { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. } => false,
        };
        if awaited {
            self.try_unit_again();
        }
        true
    }

    pub(super) fn try_unit_again(&mut self) {
        match &self.state.unit {
            Unit::InstallFailed { of, .. } => {
                let of = of.clone();
                self.reinstall(of, Keep::None);
            }
            Unit::Down {
                of, back, failure, ..
            } => {
                let (of, back, failure) = (of.clone(), back.clone(), failure.clone());
                match back {
                    None => self.reinstall(of, Keep::None),
                    Some(run) if self.at.saturating_sub(run.started_at) >= SETTLED => self.up(of, run),
                    Some(run) => self.not_yet_settled(of, failure, run),
                }
            }
            Unit::Removing { failure: Some(_), .. } => {
                self.ask(Effect::Remove);
                self.state.unit = Unit::Removing {
                    failure: None,
                    next_try: None,
                };
            }
            Unit::None
            | Unit::Installing { .. }
            | Unit::Starting { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Removing { failure: None, .. } => {}
        }
    }

    fn not_yet_settled(&mut self, of: Installed, failure: Failure, run: Run) {
        self.down(of, failure);
        if let Unit::Down { back, .. } = &mut self.state.unit {
            *back = Some(run);
        }
    }

    pub(super) fn remove_failed(&mut self, failure: Failure) -> bool {
        let Unit::Removing { .. } = &self.state.unit else {
            return false;
        };
        self.state.unit_tries = self.state.unit_tries.saturating_add(1);
        let next_try = self.retry(Timer::Unit, &failure, self.state.unit_tries);
        self.state.unit = Unit::Removing {
            failure: Some(failure),
            next_try,
        };
        true
    }

    pub(super) fn unit_resumed(&mut self) {
        match &mut self.state.unit {
            Unit::None => {}
            Unit::Installing { of, keep } => {
                // The crash may have come between the files and the restart.
                if matches!(keep, Keep::AnyIfUnchanged) {
                    *keep = Keep::None;
                }
                let of = of.clone();
                self.ask(Effect::Install(of));
            }
            Unit::Starting { of, replaces } => {
                let (of, replaces) = (of.clone(), replaces.clone());
                self.ask(Effect::Start(Start { of, replaces }));
            }
            Unit::Up { of } | Unit::Finished { of } => {
                let of = of.clone();
                self.ask(Effect::Verify(of));
            }
            // Without a next try it waits for its image, or for another specification.
            Unit::InstallFailed { next_try: None, .. } | Unit::Down { next_try: None, .. } => {}
            Unit::InstallFailed { failure, .. } | Unit::Down { failure, .. } => {
                let retry = failure.retry;
                let again = self.retry_again(Timer::Unit, retry);
                if let Unit::InstallFailed { next_try, .. } | Unit::Down { next_try, .. } =
                    &mut self.state.unit
                {
                    *next_try = again;
                }
            }
            Unit::Removing { failure, next_try } => {
                (*failure, *next_try) = (None, None);
                self.ask(Effect::Remove);
            }
        }
    }
}
