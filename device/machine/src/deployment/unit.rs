//! Facts about what was handed over to systemd.

use super::At;
use super::event::{Effect, Found, Start, Timer};
use super::state::{
    Back, Cutover, Failure, Gap, Goal, InitStep, Installed, Keep, Overtaken, Retry, Run, Running, Unit,
};
use super::turn::Turn;

/// What came up and is not trusted counts as up after this time, in milliseconds.
const SETTLED: At = 10_000;
/// So many ends in a row, and coming up is no proof any more.
const TRUSTED_ENDS: u32 = 1;

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
        self.state.unit = Unit::Starting {
            of,
            replaces,
            from,
            overtakes: None,
            init: None,
        };
        self.ask_to_start();
    }

    /// A start by other files is under way. Nothing of it served, so nothing is cut over.
    fn start_over(&mut self, of: Installed, overtaken: Overtaken) {
        self.state.running = None;
        self.state.unit = Unit::Starting {
            of,
            replaces: overtaken.invocation.clone(),
            from: None,
            overtakes: Some(overtaken),
            init: None,
        };
        self.ask_to_start();
    }

    /// The effect of what the unit is at.
    fn ask_to_start(&mut self) {
        let (of, replaces, overtakes) = match &self.state.unit {
            Unit::Starting {
                of,
                replaces,
                overtakes,
                ..
            } => (of.clone(), replaces.clone(), overtakes.clone()),
            Unit::StopIgnored {
                of,
                replaces,
                overtakes,
                ..
            } => (of.clone(), Some(replaces.clone()), overtakes.clone()),
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
            overtakes,
            retry,
        }));
    }

    /// A run of it is up: that is enough, unless such runs are known not to last.
    fn came_up(&mut self, of: Installed, run: Run) {
        let Some(failure) = self.state.unproven.clone() else {
            return self.up(of, run);
        };
        self.state.running = None;
        let next_try = self.settle(run.started_at);
        self.state.unit = Unit::Down {
            of,
            failure,
            next_try: Some(next_try),
            back: Some(Back { run, asked: true }),
            restarts: None,
        };
    }

    /// Comes back when a run that began then has stayed up for long enough; says when that is.
    pub(super) fn settle(&mut self, started_at: At) -> At {
        // A clock that was set in between says nothing about how long it ran.
        let left = (SETTLED - self.at.saturating_sub(started_at)).clamp(0, SETTLED);
        self.come_back(Timer::Unit, left)
    }

    /// What was back is down again: the next try stays where it was.
    pub(super) fn wait_on(&mut self) {
        if let Unit::Down {
            next_try: Some(next), ..
        } = self.state.unit
        {
            self.come_back(Timer::Unit, next.saturating_sub(self.at).max(0));
        }
    }

    pub(super) fn up(&mut self, mut of: Installed, run: Run) {
        of.optimistic = false;
        self.state.unproven = None;
        self.state.drift = None;
        self.state.running = Some(Running { of: of.clone(), run });
        self.state.unit = Unit::Up { of };
    }

    pub(super) fn ended_well(&mut self, mut of: Installed) {
        of.optimistic = false;
        (self.state.unproven, self.state.cutover) = (None, None);
        self.state.drift = None;
        self.state.running = None;
        self.state.unit_tries = 0;
        self.state.unit = Unit::Finished { of };
    }

    pub(super) fn down(&mut self, of: Installed, failure: Failure) {
        self.state.running = None;
        self.state.unit_tries = self.state.unit_tries.saturating_add(1);
        self.note_end(&failure);
        let next_try = self.retry(Timer::Unit, &failure, self.state.unit_tries);
        self.state.unit = Unit::Down {
            of,
            failure,
            next_try,
            back: None,
            restarts: None,
        };
    }

    /// Whether the next run has to stay up before it counts. Not for an init container: what it kept from running was
    /// never up.
    fn note_end(&mut self, failure: &Failure) {
        let end = failure.end.as_ref().filter(|end| end.init.is_none());
        if end.is_some_and(|end| end.early || self.state.unit_tries > TRUSTED_ENDS) {
            self.state.unproven = Some(failure.clone());
        }
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
        let (of, known, from, overtakes) = match &self.state.unit {
            Unit::Starting {
                of,
                replaces,
                from,
                overtakes,
                ..
            } => (of.clone(), replaces.clone(), *from, overtakes.clone()),
            Unit::StopIgnored {
                of,
                replaces,
                from,
                overtakes,
                ..
            } => (of.clone(), Some(replaces.clone()), *from, overtakes.clone()),
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
            overtakes,
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

    /// No try, and so no failed one. systemd's own restart is heard of: the next look is only for what nobody heard.
    pub(super) fn still_restarting(&mut self, failure: Failure) -> bool {
        let (Unit::Starting { of, .. } | Unit::StopIgnored { of, .. }) = &self.state.unit else {
            return false;
        };
        let of = of.clone();
        self.state.running = None;
        if failure.end.as_ref().is_some_and(|end| end.early) {
            self.state.unproven = Some(failure.clone());
        }
        let seldom = Failure::new(&failure.kind, "", Retry::Seldom);
        let next_try = self.retry(Timer::Unit, &seldom, self.state.unit_tries);
        self.state.unit = Unit::Down {
            of,
            failure,
            next_try,
            back: None,
            restarts: None,
        };
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
            restarts: None,
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
            restarts: None,
        };
        true
    }

    /// Installs what is installed once more, whatever is asked for meanwhile.
    pub(super) fn reinstall(&mut self, of: Installed, keep: Keep) {
        self.ask(Effect::Install(of.clone()));
        self.state.unit = Unit::Installing { of, keep, was: None };
    }

    /// A timer that fires late, after something else happened, means nothing.
    pub(super) fn unit_retry(&mut self) -> bool {
        match &self.state.unit {
            // It stayed up for as long as the timer ran.
            Unit::Down {
                of,
                back: Some(Back { run, .. }),
                ..
            } => {
                let (of, run) = (of.clone(), run.clone());
                self.up(of, run);
            }
            Unit::InstallFailed {
                next_try: Some(_), ..
            }
            | Unit::StopIgnored {
                next_try: Some(_), ..
            }
            | Unit::Down {
                next_try: Some(_), ..
            }
            | Unit::Removing {
                next_try: Some(_), ..
            } => self.try_unit_again(),
            Unit::None
            | Unit::Installing { .. }
            | Unit::InstallFailed { next_try: None, .. }
            | Unit::Starting { .. }
            | Unit::StopIgnored { next_try: None, .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Down { next_try: None, .. }
            | Unit::Removing { next_try: None, .. } => {}
        }
        true
    }

    pub(super) fn try_unit_again(&mut self) {
        match &mut self.state.unit {
            // Its files are in place. It stays what it is while it is asked: a failure that hides each few minutes is seen by
            // nobody.
            Unit::StopIgnored { next_try, .. } => {
                *next_try = None;
                self.ask_to_start();
            }
            Unit::InstallFailed { of, .. } | Unit::Down { of, back: None, .. } => {
                let of = of.clone();
                self.reinstall(of, Keep::None);
            }
            Unit::Removing {
                failure: failure @ Some(_),
                next_try,
                ..
            } => {
                (*failure, *next_try) = (None, None);
                self.ask(Effect::Remove);
            }
            Unit::None
            | Unit::Installing { .. }
            | Unit::Starting { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            // Its timer runs.
            | Unit::Down { back: Some(_), .. }
            | Unit::Removing { failure: None, .. } => {}
        }
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

    pub(super) fn unit_resumed(&mut self) {
        match &mut self.state.unit {
            Unit::None => {}
            Unit::Installing { of, keep, .. } => {
                // The crash may have come between the files and the restart.
                if matches!(keep, Keep::AnyIfUnchanged) {
                    *keep = Keep::None;
                }
                let of = of.clone();
                self.ask(Effect::Install(of));
            }
            Unit::Starting { .. } => self.ask_to_start(),
            Unit::Up { of } | Unit::Finished { of } => {
                let of = of.clone();
                self.ask(Effect::Verify(of));
            }
            Unit::InstallFailed { failure, .. } => {
                let retry = failure.retry;
                self.resume_waiting(retry);
            }
            // It may be up again, or over, by now.
            Unit::Down { of, failure, .. } | Unit::StopIgnored { of, failure, .. } => {
                let (of, retry) = (of.clone(), failure.retry);
                self.ask(Effect::Verify(of));
                self.resume_waiting(retry);
            }
            Unit::Removing {
                failure, next_try, ..
            } => {
                (*failure, *next_try) = (None, None);
                self.ask(Effect::Remove);
            }
        }
    }

    /// Without a next try it waits for its image, or for another specification.
    fn resume_waiting(&mut self, retry: Retry) {
        let waits = |unit: &Unit| match unit {
            Unit::InstallFailed { next_try, .. } | Unit::Down { next_try, .. } => next_try.is_some(),
            // Without one it was being asked.
            Unit::StopIgnored { .. } => true,
            Unit::None
            | Unit::Installing { .. }
            | Unit::Starting { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Removing { .. } => false,
        };
        if !waits(&self.state.unit) {
            return;
        }
        let again = self.retry_again(Timer::Unit, retry);
        if let Unit::InstallFailed { next_try, .. }
        | Unit::StopIgnored { next_try, .. }
        | Unit::Down { next_try, .. } = &mut self.state.unit
        {
            *next_try = again;
        }
    }
}
