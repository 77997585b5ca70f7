//! A unit is up, or down, or waits for its next try.

use super::At;
use super::event::{Effect, Timer};
use super::state::{Back, Failure, Installed, Keep, Retry, Run, Running, Unit};
use super::turn::Turn;

/// What came up and is not trusted counts as up after this time, in milliseconds.
const SETTLED: At = 10_000;
/// So many ends in a row, and coming up is no proof any more.
const TRUSTED_ENDS: u32 = 1;

impl Turn {
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
        self.state.older = None;
        self.state.drift = None;
        self.state.running = Some(Running { of: of.clone(), run });
        self.state.unit = Unit::Up { of };
    }

    pub(super) fn ended_well(&mut self, mut of: Installed) {
        of.optimistic = false;
        (self.state.unproven, self.state.cutover) = (None, None);
        self.state.drift = None;
        (self.state.running, self.state.older) = (None, None);
        self.state.unit_tries = 0;
        self.state.unit = Unit::Finished { of };
    }

    pub(super) fn down(&mut self, of: Installed, failure: Failure) {
        self.state.unit_tries = self.state.unit_tries.saturating_add(1);
        self.note_end(&failure);
        let next_try = self.retry(Timer::Unit, &failure, self.state.unit_tries);
        self.is_down(of, failure, next_try);
    }

    /// Nothing of it runs. Without a next try it waits for its image, or for another specification.
    pub(super) fn is_down(&mut self, of: Installed, failure: Failure, next_try: Option<At>) {
        (self.state.running, self.state.older) = (None, None);
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
