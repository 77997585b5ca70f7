//! Facts about what is asked for.

use super::event::{Effect, Timer};
use super::state::{Digests, Failure, Goal, Keep, Progress, State, Target, Unit};
use super::turn::Turn;

impl Turn {
    pub(super) fn desired(&mut self, target: Target) -> bool {
        if self.state.generation != target.generation {
            self.state.generation = target.generation;
            self.state.marks.clear();
        }
        if matches!(self.state.unit, Unit::Removing { .. }) {
            self.state.goal = Goal::AfterRemoval { target };
            return true;
        }
        let installed = self.state.unit.installed_mut();
        if let Some(of) = installed.filter(|of| of.spec == target.spec) {
            of.generation = target.generation;
            self.adopt_generation(&target);
            self.unit_is_wanted();
            return true;
        }
        match &mut self.state.goal {
            Goal::Fetching { target: fetched, .. } if fetched.spec == target.spec => {
                fetched.generation = target.generation;
            }
            Goal::Nothing
            | Goal::Met
            | Goal::Fetching { .. }
            | Goal::FetchFailed { .. }
            | Goal::Rejected { .. }
            | Goal::AfterRemoval { .. } => self.pursue(target),
        }
        true
    }

    /// The run that is up is of the same specification: it now counts for the new generation.
    fn adopt_generation(&mut self, target: &Target) {
        if let Some(running) = self.state.running.as_mut().filter(|r| r.of.spec == target.spec) {
            running.of.generation = target.generation;
        }
    }

    /// What is installed is what is asked for: stop looking for anything else, and put it right at once
    /// if it is down, since a person asked again.
    fn unit_is_wanted(&mut self) {
        if matches!(self.state.goal, Goal::Fetching { .. }) {
            // A pull that repairs a missing image of this very specification goes on.
            if let Goal::Fetching { target, .. } = &mut self.state.goal
                && self
                    .state
                    .unit
                    .installed()
                    .is_some_and(|of| of.spec == target.spec)
            {
                target.generation = self.state.generation;
                return;
            }
            self.ask(Effect::CancelPull);
        }
        self.state.goal = Goal::Met;
        if matches!(
            self.state.unit,
            Unit::InstallFailed { .. } | Unit::StopIgnored { .. } | Unit::Down { .. }
        ) {
            self.state.unit_tries = 0;
            self.try_unit_again();
        }
    }

    /// Goes for a specification that is not installed.
    fn pursue(&mut self, target: Target) {
        self.state.pull_tries = 0;
        match target.at_hand.clone() {
            Some(digest) => {
                self.cancel_pull();
                let (keep, others) = (self.keep_for_new(&target.spec), target.others.clone());
                self.install(target.with(digest, others, true), keep);
            }
            None => self.fetch(target),
        }
    }

    fn fetch(&mut self, target: Target) {
        self.ask(Effect::Pull(target.clone()));
        self.state.goal = Goal::Fetching {
            target,
            began: false,
            progress: None,
        };
    }

    fn cancel_pull(&mut self) {
        if matches!(self.state.goal, Goal::Fetching { .. }) {
            self.ask(Effect::CancelPull);
        }
    }

    pub(super) fn rejected(&mut self, generation: Option<u64>, failure: Failure) -> bool {
        let generation = generation.unwrap_or(self.state.generation);
        if self.state.generation != generation {
            self.state.generation = generation;
            self.state.marks.clear();
        }
        self.cancel_pull();
        self.state.pull_tries = 0;
        self.state.goal = Goal::Rejected { failure };
        true
    }

    pub(super) fn gone(&mut self) -> bool {
        self.cancel_pull();
        self.state.goal = Goal::Nothing;
        match &self.state.unit {
            Unit::None => self.forget(),
            Unit::Removing { .. } => {}
            Unit::Installing { .. }
            | Unit::InstallFailed { .. }
            | Unit::Starting { .. }
            | Unit::StopIgnored { .. }
            | Unit::Up { .. }
            | Unit::Finished { .. }
            | Unit::Down { .. } => self.remove(),
        }
        true
    }

    pub(super) fn forget(&mut self) {
        self.state = State::default();
        self.ask(Effect::Forget);
    }

    pub(super) fn pull_began(&mut self) -> bool {
        match &mut self.state.goal {
            Goal::Fetching { began, .. } => {
                *began = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn pull_progress(&mut self, news: Progress) -> bool {
        match &mut self.state.goal {
            Goal::Fetching {
                began: true,
                progress,
                ..
            } => {
                *progress = Some(news);
                true
            }
            _ => false,
        }
    }

    pub(super) fn pulled(&mut self, digest: String, others: Digests) -> bool {
        let Goal::Fetching { target, .. } = &self.state.goal else {
            return false;
        };
        let of = target.clone().with(digest, others, false);
        self.state.pull_tries = 0;
        let keep = self.keep_for_new(&of.spec);
        self.install(of, keep);
        true
    }

    /// What is of this very specification need not end for it, whatever was to take its place meanwhile. And where nothing is on
    /// record, whatever runs from these very files was started from them.
    fn keep_for_new(&self, spec: &str) -> Keep {
        // What is of the version that is installed itself was started by other files.
        let anew = self.state.unit.installed().is_none_or(|of| of.spec != spec);
        let running = self.state.running.as_ref();
        let running = running.filter(|old| anew && old.of.spec == spec);
        let older = self.state.older.as_ref();
        let older = older.filter(|old| anew && old.of.spec == spec);
        let known = running.map(|old| old.run.invocation.clone());
        match known.or_else(|| older.and_then(|old| old.invocation.clone())) {
            Some(invocation) => Keep::Invocation(invocation),
            None if self.state.unit == Unit::None => Keep::AnyIfUnchanged,
            None => Keep::None,
        }
    }

    pub(super) fn pull_failed(&mut self, failure: Failure) -> bool {
        let Goal::Fetching { target, .. } = &self.state.goal else {
            return false;
        };
        let target = target.clone();
        self.state.pull_tries = self.state.pull_tries.saturating_add(1);
        let next_try = self.retry(Timer::Goal, &failure, self.state.pull_tries);
        self.state.goal = Goal::FetchFailed {
            target,
            failure,
            next_try,
        };
        true
    }

    /// A timer that fires late, after something else happened, means nothing.
    pub(super) fn goal_retry(&mut self) -> bool {
        if let Goal::FetchFailed {
            target,
            next_try: Some(_),
            ..
        } = &self.state.goal
        {
            let target = target.clone();
            self.fetch(target);
        }
        true
    }

    pub(super) fn removed(&mut self) -> bool {
        let Unit::Removing { .. } = &self.state.unit else {
            return false;
        };
        self.state.unit = Unit::None;
        self.state.unit_tries = 0;
        match &self.state.goal {
            Goal::AfterRemoval { target } => {
                let target = target.clone();
                self.pursue(target);
            }
            Goal::Rejected { .. } => {}
            Goal::Nothing | Goal::Met | Goal::Fetching { .. } | Goal::FetchFailed { .. } => self.forget(),
        }
        true
    }

    pub(super) fn resumed(&mut self) -> bool {
        if let Goal::Fetching { target, .. } = &self.state.goal {
            let target = target.clone();
            self.fetch(target);
        }
        if let Goal::FetchFailed { failure, .. } = &self.state.goal {
            let retry = failure.retry;
            let again = self.retry_again(Timer::Goal, retry);
            if let Goal::FetchFailed { next_try, .. } = &mut self.state.goal {
                *next_try = again;
            }
        }
        self.unit_resumed();
        true
    }
}
