//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

use crate::error::Fault;

/// Asks `look` until it answers `Ok(Ok(value))`; a `Ok(Err(text))` is the last observation, an `Err` ends the wait at once.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>, Fault>,
) -> Result<T, Fault> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(2);
    loop {
        let last = match look()? {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        if Instant::now() >= end {
            return Err(Fault::Late {
                what: what.to_owned(),
                deadline,
                last,
            });
        }
        std::thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// What is left until `end`, never zero: a zero timeout means "for ever" to a socket.
pub(crate) fn left(end: Instant) -> Option<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_condition_is_reported_with_the_last_observation() {
        let mut count = 0;
        let error = until::<()>("the third look", Duration::from_millis(20), || {
            count += 1;
            Ok(Err(format!("look {count}")))
        })
        .expect_err("it never holds");
        assert!(
            count > 1 && error.to_string().contains(&format!("look {count}")),
            "{error}"
        );
    }
}
