//! Is the device's clock right? Judged by what time servers answer, and by the newest time that was ever verified.
//!
//! Pure: offsets and times come in, a standing comes out. A clock that is wrong for certain is told from one that
//! nobody could check: the first breaks every token and certificate, the second may well be right, and a device whose
//! network lets no time server through must run nevertheless.

mod text;
mod weigh;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use text::{Skew, span};
pub use weigh::{Answer, Finding, weigh, weigh_servers};

/// How the clock stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Standing {
    /// Time servers agree with it, within the tolerance.
    Right {
        /// Milliseconds by which the servers are ahead of the device; negative when they are behind.
        offset_millis: i64,
    },
    /// Time servers agree among themselves and not with it.
    Skewed {
        /// As above.
        offset_millis: i64,
    },
    /// Nobody could say, and it shows a time that was over long ago.
    Behind {
        /// Milliseconds that it is behind at least.
        least_millis: i64,
        /// Why nobody could say.
        doubt: Doubt,
    },
    /// Nobody could say.
    Unverified {
        /// Why not.
        doubt: Doubt,
    },
}

/// Why nobody could say whether the clock is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// No server answered.
    Silence,
    /// Servers answered, and no majority of them agrees.
    Contradiction,
}

impl Standing {
    /// Judges a finding of the moment `now`.
    ///
    /// `floor` is the newest time at which the clock was ever [`Standing::Right`]; both are milliseconds since the
    /// epoch. The floor only counts when servers do not: it was theirs once, and they may have been wrong then.
    #[must_use]
    pub fn judge(finding: &Finding, now: i64, floor: Option<i64>, tolerance: Duration) -> Self {
        let tolerance = i64::try_from(tolerance.as_millis()).unwrap_or(i64::MAX);
        let doubt = match *finding {
            Finding::Agreed {
                offset_millis,
                error_millis,
                ..
            } => {
                // A refusal needs certainty.
                let bound = tolerance.saturating_add_unsigned(error_millis);
                return match offset_millis.saturating_abs() <= bound {
                    true => Self::Right { offset_millis },
                    false => Self::Skewed { offset_millis },
                };
            }
            Finding::Contradiction { .. } => Doubt::Contradiction,
            Finding::Silence => Doubt::Silence,
        };
        let behind = floor.map_or(0, |floor| floor.saturating_sub(now));
        match behind > tolerance {
            true => Self::Behind {
                least_millis: behind,
                doubt,
            },
            false => Self::Unverified { doubt },
        }
    }

    /// Whether the clock is wrong for certain. Tokens made or checked by it would be refused, with a reason that leads
    /// nobody to the clock; so they are not even tried.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Skewed { .. } | Self::Behind { .. })
    }

    /// Whether servers found it right.
    #[must_use]
    pub fn is_right(&self) -> bool {
        matches!(self, Self::Right { .. })
    }
}

/// First wait after a check that did not find the clock right; doubled for each further one.
const FIRST_AGAIN: Duration = Duration::from_mins(1);
/// A clock that is wrong is being put right by somebody: they should not wait for hours to be believed.
const WRONG_AGAIN_AT_MOST: Duration = Duration::from_mins(15);

/// When to check again. `period` is for a clock that is right; `failed` counts the checks since it last was.
#[must_use]
pub fn next_check(standing: &Standing, failed: u32, period: Duration) -> Duration {
    let longest = match standing {
        Standing::Right { .. } => return period,
        Standing::Unverified { .. } => period,
        Standing::Skewed { .. } | Standing::Behind { .. } => WRONG_AGAIN_AT_MOST.min(period),
    };
    let doublings = failed.saturating_sub(1).min(16);
    FIRST_AGAIN.saturating_mul(1 << doublings).min(longest)
}

/// One moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The wall clock, in milliseconds since the epoch.
    pub wall_millis: i64,
    /// The clock that only rises, in milliseconds since boot.
    pub monotonic_millis: i64,
}

/// A clock that is disciplined drifts from the monotonic one by far less; a step is more.
const STEP: u64 = 1_000;

impl Moment {
    /// Whether somebody set the wall clock between this moment and a later one.
    #[must_use]
    pub fn was_set_until(&self, later: &Self) -> bool {
        let wall = later.wall_millis.saturating_sub(self.wall_millis);
        wall.abs_diff(self.millis_until(later)) > STEP
    }

    fn millis_until(&self, later: &Self) -> i64 {
        later.monotonic_millis.saturating_sub(self.monotonic_millis)
    }

    /// How long ago it was; `None` when it is of another boot.
    fn age(&self, now: &Self) -> Option<Duration> {
        u64::try_from(self.millis_until(now))
            .ok()
            .map(Duration::from_millis)
    }
}

/// How long servers' word that the clock is wrong stands when they fall silent. Not for ever: they may have been wrong, and gone.
const SKEWED_STANDS: Duration = Duration::from_hours(1);

/// What the last check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    /// What was found.
    pub standing: Standing,
    /// Checks in a row that found the same trouble.
    pub failed: u32,
    /// When.
    pub at: Moment,
    /// When servers last said so themselves.
    pub said: Moment,
}

impl Memo {
    /// The memo of a check that found `standing`. Silence after servers said that the clock is wrong makes it no better: as long as
    /// nobody sets it, and for an hour, what they said stands.
    #[must_use]
    pub fn after(before: Option<&Self>, standing: Standing, at: Moment) -> Self {
        let by_servers = matches!(standing, Standing::Right { .. } | Standing::Skewed { .. });
        let stands = before.filter(|before| {
            let recent = before.said.age(&at).is_some_and(|age| age < SKEWED_STANDS);
            let skewed = matches!(before.standing, Standing::Skewed { .. });
            !by_servers && skewed && recent && !before.at.was_set_until(&at)
        });
        let said = stands.map_or(at, |before| before.said);
        let standing = stands.map_or(standing, |before| before.standing.clone());
        let same = before
            .filter(|before| std::mem::discriminant(&before.standing) == std::mem::discriminant(&standing));
        let failed = match standing.is_right() {
            true => 0,
            false => same.map_or(0, |before| before.failed).saturating_add(1),
        };
        Self {
            standing,
            failed,
            at,
            said,
        }
    }

    /// Whether it still says something about the clock: it has not been set since, and the next check is not due.
    #[must_use]
    pub fn holds(&self, now: &Moment, period: Duration) -> bool {
        let due = next_check(&self.standing, self.failed, period);
        !self.at.was_set_until(now) && self.age(now).is_some_and(|age| age < due)
    }

    /// How long ago it was found; `None` when that was in another boot.
    #[must_use]
    pub fn age(&self, now: &Moment) -> Option<Duration> {
        self.at.age(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(30);
    const PERIOD: Duration = Duration::from_hours(6);
    const NOW: i64 = 1_767_225_600_000;

    fn agreed(offset_millis: i64) -> Finding {
        Finding::Agreed {
            offset_millis,
            error_millis: 0,
            agreeing: 2,
            dropped: 0,
        }
    }

    fn judge(finding: &Finding, floor: Option<i64>) -> Standing {
        Standing::judge(finding, NOW, floor, TOLERANCE)
    }

    #[test]
    fn thirty_seconds_are_tolerated_in_both_directions_and_no_more() {
        for offset_millis in [0, 30_000, -30_000] {
            assert_eq!(
                judge(&agreed(offset_millis), None),
                Standing::Right { offset_millis }
            );
        }
        for offset_millis in [30_001, -30_001, i64::MIN, i64::MAX] {
            let standing = judge(&agreed(offset_millis), None);
            assert!(standing == Standing::Skewed { offset_millis } && standing.is_wrong());
        }
    }

    #[test]
    fn what_the_servers_do_not_know_for_certain_refuses_nothing() {
        let vague = Finding::Agreed {
            offset_millis: 31_000,
            error_millis: 1_000,
            agreeing: 1,
            dropped: 0,
        };
        assert!(judge(&vague, None).is_right());
    }

    #[test]
    fn without_an_answer_only_the_floor_can_call_a_clock_wrong_and_servers_overrule_it() {
        let doubt = Doubt::Silence;
        assert_eq!(judge(&Finding::Silence, None), Standing::Unverified { doubt });
        assert_eq!(
            judge(&Finding::Silence, Some(NOW + 30_000)),
            Standing::Unverified { doubt }
        );
        let behind = judge(&Finding::Silence, Some(NOW + 30_001));
        let least_millis = 30_001;
        assert!(behind == Standing::Behind { least_millis, doubt } && behind.is_wrong());
        assert!(judge(&agreed(0), Some(NOW + 1_000_000_000)).is_right());
        let doubt = Doubt::Contradiction;
        assert_eq!(
            judge(&Finding::Contradiction { answers: 2 }, Some(NOW)),
            Standing::Unverified { doubt }
        );
    }

    #[test]
    fn a_wrong_clock_is_looked_at_again_soon_and_one_that_nobody_knows_ever_more_rarely() {
        let minutes = |standing: &Standing, failed| next_check(standing, failed, PERIOD).as_secs() / 60;
        let wrong = Standing::Skewed { offset_millis: 1 };
        assert_eq!(
            [1, 2, 3, 4, 5, 99].map(|failed| minutes(&wrong, failed)),
            [1, 2, 4, 8, 15, 15]
        );
        let unknown = Standing::Unverified {
            doubt: Doubt::Silence,
        };
        assert_eq!(
            [0, 1, 2, 9, 10, u32::MAX].map(|failed| minutes(&unknown, failed)),
            [1, 1, 2, 256, 360, 360]
        );
        assert_eq!(minutes(&Standing::Right { offset_millis: 0 }, 7), 360);
    }

    fn at(minutes: i64) -> Moment {
        Moment {
            wall_millis: NOW + minutes * MINUTE,
            monotonic_millis: minutes * MINUTE,
        }
    }

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_memo_holds_until_the_next_check_is_due_and_only_while_nobody_sets_the_clock() {
        let memo = Memo::after(None, Standing::Right { offset_millis: 5 }, at(1));
        let set = |minutes: i64, millis: i64| Moment {
            wall_millis: at(minutes).wall_millis + millis,
            ..at(minutes)
        };
        assert!(memo.holds(&at(1), PERIOD) && memo.holds(&set(61, 900), PERIOD));
        assert!(!memo.holds(&set(61, 1_001), PERIOD), "it was set forward");
        assert!(!memo.holds(&set(61, -300_000), PERIOD), "it was set back");
        assert!(!memo.holds(&at(361), PERIOD), "a check is due");
        assert!(!memo.holds(&at(0), PERIOD), "another boot's");
        let far = Moment {
            wall_millis: i64::MIN,
            monotonic_millis: i64::MAX,
        };
        assert!(!memo.holds(&far, PERIOD));
    }

    #[test]
    fn servers_that_fall_silent_do_not_take_back_that_the_clock_is_wrong_for_an_hour() {
        let skewed = Standing::Skewed {
            offset_millis: 872_000,
        };
        let silence = Standing::Unverified {
            doubt: Doubt::Silence,
        };
        let mut memo = Memo::after(None, skewed.clone(), at(0));
        for (minutes, failed) in [(1, 2), (3, 3), (7, 4), (59, 5)] {
            memo = Memo::after(Some(&memo), silence.clone(), at(minutes));
            assert_eq!((&memo.standing, memo.failed), (&skewed, failed), "{minutes}");
        }
        let over = Memo::after(Some(&memo), silence.clone(), at(60));
        assert_eq!(
            (&over.standing, over.failed),
            (&silence, 1),
            "another trouble begins anew"
        );

        let set = Moment {
            wall_millis: at(4).wall_millis + 872_000,
            ..at(4)
        };
        assert_eq!(
            Memo::after(Some(&memo), silence, set).standing,
            Standing::Unverified {
                doubt: Doubt::Silence
            }
        );
        let right = Memo::after(Some(&memo), Standing::Right { offset_millis: 0 }, at(5));
        assert_eq!(right.failed, 0);
    }
}
