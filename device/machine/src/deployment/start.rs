//! A start: what it takes the place of, and what comes of it.

use super::event::{Effect, Start, Timer};
use super::state::{Back, Cutover, Failure, Gap, Goal, InitStep, Installed, Older, Retry, Run, Unit};
use super::turn::Turn;

impl Turn {
    pub(super) fn start(&mut self, of: Installed, replaces: Option<String>) {
        // What is being replaced runs until it is seen to be down.
        let replaced = |run: &Run| replaces.as_ref() == Some(&run.invocation);
        let old = self.state.running.take().filter(|old| replaced(&old.run));
        let from = old.as_ref().filter(|old| old.of.spec != of.spec);
        let from = from.map(|old| old.of.generation);
        self.state.running = old;
        self.begin_start(of, replaces, from);
    }

    pub(super) fn begin_start(&mut self, of: Installed, replaces: Option<String>, from: Option<u64>) {
        self.state.older = None;
        self.state.unit = Unit::Starting {
            of,
            replaces,
            from,
            init: None,
        };
        self.ask_to_start();
    }

    /// A start by other files is under way. Nothing of it served, so nothing is cut over.
    pub(super) fn start_over(&mut self, of: Installed, older: Older) {
        self.state.running = None;
        self.state.unit = Unit::Starting {
            of,
            replaces: older.invocation.clone(),
            from: None,
            init: None,
        };
        self.state.older = Some(older);
        self.ask_to_start();
    }

    /// The effect of what the unit is at.
    pub(super) fn ask_to_start(&mut self) {
        let (of, replaces) = match &self.state.unit {
            Unit::Starting { of, replaces, .. } => (of.clone(), replaces.clone()),
            Unit::StopIgnored { of, replaces, .. } => (of.clone(), Some(replaces.clone())),
            Unit::None
            | Unit::Installing { .. }
            | Unit::InstallFailed { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Down { .. }
            | Unit::Removing { .. } => return,
        };
        let retry = self.state.unit_tries > 0;
        self.ask(Effect::Start(Start {
            of,
            replaces,
            overtakes: self.state.older.clone(),
            retry,
        }));
    }

    pub(super) fn init_runs(&mut self, step: InitStep) -> bool {
        match &mut self.state.unit {
            Unit::Starting { init, .. } => {
                *init = Some(step);
                true
            }
            Unit::None
            | Unit::Installing { .. }
            | Unit::InstallFailed { .. }
            | Unit::StopIgnored { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Down { .. }
            | Unit::Removing { .. } => false,
        }
    }

    pub(super) fn stop_ignored(&mut self, invocation: Option<String>, failure: Failure) -> bool {
        let (of, known, from) = match &self.state.unit {
            Unit::Starting {
                of, replaces, from, ..
            } => (of.clone(), replaces.clone(), *from),
            Unit::StopIgnored {
                of, replaces, from, ..
            } => (of.clone(), Some(replaces.clone()), *from),
            Unit::None
            | Unit::Installing { .. }
            | Unit::InstallFailed { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Down { .. }
            | Unit::Removing { .. } => return false,
        };
        let Some(replaces) = invocation.or(known) else {
            // Nothing that could go on: only the asking failed.
            self.down(of, failure);
            return true;
        };
        self.state.unit_tries = self.state.unit_tries.saturating_add(1);
        let next_try = self.retry(Timer::Unit, &failure, self.state.unit_tries);
        self.state.unit = Unit::StopIgnored {
            of,
            replaces,
            from,
            failure,
            next_try,
        };
        true
    }

    pub(super) fn started(&mut self, run: Run, gap: Option<Gap>) -> bool {
        let (Unit::Starting { of, from, .. } | Unit::StopIgnored { of, from, .. }) = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        if let (Some(from), Some(gap)) = (*from, gap) {
            self.state.cutover = Some(Cutover { from, gap });
        }
        self.came_up(of, run);
        true
    }

    /// A run of it is up: that is enough, unless such runs are known not to last.
    pub(super) fn came_up(&mut self, of: Installed, run: Run) {
        let Some(failure) = self.state.unproven.clone() else {
            return self.up(of, run);
        };
        (self.state.running, self.state.older) = (None, None);
        let next_try = self.settle(run.started_at);
        self.state.unit = Unit::Down {
            of,
            failure,
            next_try: Some(next_try),
            back: Some(Back { run, asked: true }),
            restarts: None,
        };
    }

    pub(super) fn finished(&mut self) -> bool {
        let (Unit::Starting { of, .. } | Unit::StopIgnored { of, .. }) = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        self.ended_well(of);
        true
    }

    pub(super) fn start_failed(&mut self, failure: Failure, image_missing: bool) -> bool {
        let (Unit::Starting { of, .. } | Unit::StopIgnored { of, .. }) = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        // Without an end of a run nothing is known to have ended: what was to be replaced may be up still.
        let unmet = failure.end.is_none() && !image_missing;
        let running = self.state.running.take();
        let running = running.filter(|old| unmet && old.of.spec != of.spec);
        let older = self.state.older.take().filter(|_| unmet);
        if image_missing && matches!(self.state.goal, Goal::Met) {
            return match of.optimistic {
                true => self.fetch_missing(of, failure),
                false => self.fetch_vanished(of, failure),
            };
        }
        self.down(of, failure);
        (self.state.running, self.state.older) = (running, older);
        true
    }

    /// No try, and so no failed one. systemd's own restart is heard of: the next look is only for what nobody heard.
    pub(super) fn still_restarting(&mut self, failure: Failure) -> bool {
        let (Unit::Starting { of, .. } | Unit::StopIgnored { of, .. }) = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        if failure.end.as_ref().is_some_and(|end| end.early) {
            self.state.unproven = Some(failure.clone());
        }
        let seldom = Failure::new(&failure.kind, "", Retry::Seldom);
        let next_try = self.retry(Timer::Unit, &seldom, self.state.unit_tries);
        self.is_down(of, failure, next_try);
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
        self.is_down(of, failure, None);
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
        self.is_down(of, failure, None);
        true
    }
}
