//! Waiting for a condition with a deadline, in place of a sleep that is sometimes too short and always too long.

use std::thread::sleep;
use std::time::{Duration, Instant};

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

/// Looks every 10 ms, until `look` answers `Ok` or `deadline` has passed. Its `Err` says what it saw instead.
pub fn until<T>(
    what: impl Into<String>,
    deadline: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, Timeout> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= deadline => {
                return Err(Timeout {
                    what: what.into(),
                    waited: start.elapsed(),
                    last,
                });
            }
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let seen = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("look {looks}"))
            }
        });
        assert_eq!(seen.expect("three looks take 20 ms"), 3);
    }

    #[test]
    fn a_missed_deadline_says_what_was_seen_last() {
        let missed = until::<()>("the impossible", Duration::ZERO, || Err("nothing at all".into()));
        let text = missed.expect_err("it never holds").to_string();
        assert!(text.starts_with("the impossible: still not so after"), "{text}");
        assert!(text.ends_with("last seen: nothing at all"), "{text}");
    }
}
