//! Waiting for a condition with a deadline, in place of a sleep that is sometimes too short and always too long.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::interrupt::{self, Interrupted};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("{what}: still not so after {:.1} s; last seen: {last}", waited.as_secs_f64())]
pub struct Timeout {
    /// What was waited for, as a short phrase.
    pub what: String,
    /// How long it was waited for.
    pub waited: Duration,
    /// What the last look saw instead.
    pub last: String,
}

/// Why a wait ended without its condition.
#[derive(Debug, thiserror::Error)]
pub enum Unmet {
    /// It did not come true in time.
    #[error(transparent)]
    Late(#[from] Timeout),
    /// Somebody asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Looks again and again, with growing pauses of 50 ms at most, until `look` answers `Ok(Ok(value))`. An `Ok(Err(text))` says what was
/// seen instead; an `Err` ends the wait at once, and so does an interrupt that this process watches for.
pub fn until<T, E: From<Unmet>>(
    what: impl Into<String>,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>, E>,
) -> Result<T, E> {
    through_interrupts(what, deadline, || {
        interrupt::check().map_err(|interrupted| E::from(Unmet::from(interrupted)))?;
        look()
    })
}

/// The same for what belongs to ending: an interrupt, which often is why things end, does not cut it short.
pub(crate) fn through_interrupts<T, E: From<Unmet>>(
    what: impl Into<String>,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>, E>,
) -> Result<T, E> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let last = match look()? {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        let Some(left) = left(start + deadline) else {
            let (what, waited) = (what.into(), start.elapsed());
            return Err(E::from(Unmet::from(Timeout { what, waited, last })));
        };
        sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What is left until `end`, never zero: a zero timeout means "for ever" to a socket.
pub fn left(end: Instant) -> Option<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let seen = until::<_, Unmet>("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("look {looks}"))
            })
        });
        assert_eq!(seen.expect("three looks take some milliseconds"), 3);
    }

    #[test]
    fn a_missed_deadline_says_what_was_seen_last() {
        let mut looks = 0;
        let missed = until::<(), Unmet>("the impossible", Duration::from_millis(20), || {
            looks += 1;
            Ok(Err(format!("look {looks}")))
        });
        let text = missed.expect_err("it never holds").to_string();
        assert!(looks > 1, "it looked once only");
        assert!(text.starts_with("the impossible: still not so after"), "{text}");
        assert!(text.ends_with(&format!("last seen: look {looks}")), "{text}");
    }

    #[test]
    fn an_error_of_the_look_ends_the_wait() {
        let start = Instant::now();
        let broken = until::<(), Unmet>("anything", Duration::from_secs(60), || Err(Interrupted.into()));
        assert!(matches!(broken, Err(Unmet::Interrupted(_))), "{broken:?}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
