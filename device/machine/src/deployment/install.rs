//! Files are handed over to systemd, and taken away again.

use super::event::{Effect, Found, Timer};
use super::state::{Failure, Goal, Installed, Keep, Older, Run, Running, Unit};
use super::turn::Turn;

impl Turn {
    /// Hands a specification over. What runs goes on running until the files are in place.
    pub(super) fn install(&mut self, of: Installed, keep: Keep) {
        if self.state.unit.installed().is_none_or(|old| old.spec != of.spec) {
            self.state.unit_tries = 0;
            (self.state.unproven, self.state.cutover) = (None, None);
        }
        self.state.goal = Goal::Met;
        // The one before is the older one now, unless one that is older still was not got rid of.
        let before = self.state.unit.installed().cloned();
        let before = before.map(|of| Older { of, invocation: None });
        let older = self.state.older.take().or(before);
        self.state.older = older.filter(|older| older.of.spec != of.spec);
        self.ask(Effect::Install(of.clone()));
        self.state.unit = Unit::Installing { of, keep };
    }

    /// Installs what is installed once more, whatever is asked for meanwhile.
    pub(super) fn reinstall(&mut self, of: Installed, keep: Keep) {
        self.ask(Effect::Install(of.clone()));
        self.state.unit = Unit::Installing { of, keep };
    }

    pub(super) fn installed(&mut self, changed: bool, found: Found) -> bool {
        let Unit::Installing { of, keep } = &self.state.unit else {
            return false;
        };
        let (of, keep) = (of.clone(), keep.clone());
        let is_kept =
            |id: Option<&str>| matches!(&keep, Keep::Invocation(known) if Some(known.as_str()) == id);
        match found {
            Found::Up(run)
                if is_kept(Some(&run.invocation)) || (keep == Keep::AnyIfUnchanged && !changed) =>
            {
                self.came_up(of, run);
            }
            Found::Up(run) => {
                let replaces = run.invocation.clone();
                self.is_up(run);
                self.start(of, Some(replaces));
            }
            Found::Coming { invocation } if is_kept(invocation.as_deref()) => self.start(of, None),
            Found::Coming { invocation } => {
                let older = self.state.older.take();
                let theirs = older.filter(|older| older.is(invocation.as_deref()));
                // Of the same version, but by other files.
                let by_other_files = || changed.then(|| of.clone());
                match theirs.map(|older| older.of).or_else(by_other_files) {
                    Some(theirs) => self.start_over(
                        of,
                        Older {
                            of: theirs,
                            invocation,
                        },
                    ),
                    None => self.start(of, None),
                }
            }
            Found::Down if keep == Keep::Finished => self.ended_well(of),
            Found::Down => self.start(of, None),
        }
        true
    }

    /// A run is up that is not trusted to be of what is installed: notes whose it is. A boot or systemd's own restart may have come in
    /// between.
    pub(super) fn is_up(&mut self, run: Run) {
        let same = |running: &Running| running.run.invocation == run.invocation;
        if self.state.running.as_ref().is_some_and(same) {
            return;
        }
        // It stays known as the older one: systemd may start it once more.
        let older = self.state.older.as_ref();
        let older = older.filter(|older| older.is(Some(&run.invocation)));
        let installed = self.state.unit.installed();
        let again = |running: &Running| installed.is_some_and(|of| of.spec == running.of.spec);
        let of = match (older, self.state.running.take()) {
            (Some(older), _) => Some(older.of.clone()),
            (None, Some(running)) if again(&running) => Some(running.of),
            (None, _) => None,
        };
        self.state.running = of.map(|of| Running { of, run });
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
        let running = self.state.running.take().map(|running| running.of);
        let older = self.state.older.take().map(|older| older.of);
        let was = running.or(older).or_else(|| self.state.unit.installed().cloned());
        let was = was.map(|of| of.spec);
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
