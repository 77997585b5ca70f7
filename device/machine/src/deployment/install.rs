//! Files are handed over to systemd, and taken away again.

use super::event::{Effect, Found, Timer};
use super::state::{Failure, Goal, Installed, Keep, Overtaken, Run, Running, Unit};
use super::turn::Turn;

impl Turn {
    /// Hands a specification over. What runs goes on running until the files are in place.
    pub(super) fn install(&mut self, of: Installed, keep: Keep) {
        if self.state.unit.installed().is_none_or(|old| old.spec != of.spec) {
            self.state.unit_tries = 0;
            (self.state.unproven, self.state.cutover) = (None, None);
        }
        self.state.goal = Goal::Met;
        let was = match &self.state.unit {
            // Never handed over: what was before it may still be under way.
            Unit::Installing { was, .. } => was.clone(),
            unit => unit.installed().cloned().map(Box::new),
        };
        let was = was.filter(|was| was.spec != of.spec);
        self.ask(Effect::Install(of.clone()));
        self.state.unit = Unit::Installing { of, keep, was };
    }

    /// Installs what is installed once more, whatever is asked for meanwhile.
    pub(super) fn reinstall(&mut self, of: Installed, keep: Keep) {
        self.ask(Effect::Install(of.clone()));
        self.state.unit = Unit::Installing { of, keep, was: None };
    }

    pub(super) fn installed(&mut self, changed: bool, found: Found) -> bool {
        let Unit::Installing { of, keep, was } = &self.state.unit else {
            return false;
        };
        let (of, was) = (of.clone(), was.clone());
        let kept = |run: &Run| match keep {
            Keep::None | Keep::Finished => false,
            Keep::AnyIfUnchanged => !changed,
            Keep::Invocation(known) => *known == run.invocation,
        };
        match found {
            Found::Up(run) if kept(&run) => self.came_up(of, run),
            Found::Up(run) => {
                let replaces = run.invocation.clone();
                self.is_still(was, run);
                self.start(of, Some(replaces));
            }
            Found::Coming { invocation } => match was.or_else(|| changed.then(|| Box::new(of.clone()))) {
                Some(was) => {
                    let overtaken = Overtaken {
                        invocation,
                        spec: was.spec,
                        generation: was.generation,
                    };
                    self.start_over(of, overtaken);
                }
                None => self.start(of, None),
            },
            Found::Down if *keep == Keep::Finished => self.ended_well(of),
            Found::Down => self.start(of, None),
        }
        true
    }

    /// What runs is what ran before, whichever run of it: a boot or systemd's own restart may have come in between.
    fn is_still(&mut self, was: Option<Box<Installed>>, run: Run) {
        match (&mut self.state.running, was) {
            (Some(running), _) => running.run = run,
            (None, Some(was)) => self.state.running = Some(Running { of: *was, run }),
            (None, None) => {}
        }
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

    pub(super) fn remove(&mut self) {
        // What runs is what has to be stopped; it may be older than what is installed.
        let running = self.state.running.take().map(|running| running.of.spec);
        let was = running.or_else(|| self.state.unit.installed().map(|of| of.spec.clone()));
        self.state.drift = None;
        self.state.unit_tries = 0;
        (self.state.unproven, self.state.cutover) = (None, None);
        self.ask(Effect::Remove);
        self.state.unit = Unit::Removing {
            failure: None,
            next_try: None,
            was,
        };
    }

    pub(super) fn remove_failed(&mut self, why: Failure) -> bool {
        if !matches!(self.state.unit, Unit::Removing { .. }) {
            return false;
        }
        self.state.unit_tries = self.state.unit_tries.saturating_add(1);
        let again = self.retry(Timer::Unit, &why, self.state.unit_tries);
        if let Unit::Removing {
            failure, next_try, ..
        } = &mut self.state.unit
        {
            (*failure, *next_try) = (Some(why), again);
        }
        true
    }
}
