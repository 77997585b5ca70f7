//! One step in progress: the state being changed, and the effects gathered on the way.

use std::time::Duration;

use super::backoff;
use super::event::{Effect, Timer};
use super::state::{Failure, MAX_MARKS, Mark, Retry, State};
use super::{At, Stage};

/// One step in progress. The methods that take facts return whether the fact can be true here.
pub(super) struct Turn {
    pub(super) state: State,
    pub(super) effects: Vec<Effect>,
    pub(super) at: At,
    jitter: u16,
    before: Stage,
}

impl Turn {
    pub(super) fn new(state: &State, at: At, jitter: u16) -> Self {
        Self {
            before: state.stage(),
            state: state.clone(),
            effects: Vec::new(),
            at,
            jitter,
        }
    }

    pub(super) fn finish(mut self) -> (State, Vec<Effect>) {
        let stage = self.state.stage();
        // What is absent has no history.
        if stage != self.before && stage != Stage::Absent {
            self.state.since = self.at;
            self.state.marks.push(Mark { stage, at: self.at });
            let over = self.state.marks.len().saturating_sub(MAX_MARKS);
            self.state.marks.drain(..over);
        }
        (self.state, self.effects)
    }

    pub(super) fn ask(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Arms a retry and says when it comes.
    pub(super) fn retry(&mut self, timer: Timer, failure: &Failure, tries: u32) -> Option<At> {
        let wait = backoff::wait(failure.retry, tries, self.jitter)?;
        self.ask(Effect::RetryAfter(timer, wait));
        Some(self.at.saturating_add(millis(wait)))
    }

    /// Arms a timer for after so many milliseconds; says when that is.
    pub(super) fn come_back(&mut self, timer: Timer, millis: At) -> At {
        let wait = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
        self.ask(Effect::RetryAfter(timer, wait));
        self.at.saturating_add(millis)
    }

    /// Arms a retry that was lost in a restart of the agent: soon, since the world may have changed.
    pub(super) fn retry_again(&mut self, timer: Timer, retry: Retry) -> Option<At> {
        let soon = match retry {
            Retry::Never => Retry::Never,
            Retry::Soon | Retry::Seldom => Retry::Soon,
        };
        let wait = backoff::wait(soon, 1, self.jitter)?;
        self.ask(Effect::RetryAfter(timer, wait));
        Some(self.at.saturating_add(millis(wait)))
    }
}

fn millis(duration: Duration) -> At {
    At::try_from(duration.as_millis()).unwrap_or(At::MAX)
}
