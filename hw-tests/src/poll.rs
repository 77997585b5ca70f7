//! Waiting for a condition: the test bed's loop, with the faults of a rig.

use std::time::Duration;

use crate::error::Fault;

pub(crate) use fleet_testbed::poll::left;

/// Asks `look` until it answers `Ok(Ok(value))`; an `Ok(Err(text))` is the last observation, an `Err` or an interrupt ends the wait at once.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    look: impl FnMut() -> Result<Result<T, String>, Fault>,
) -> Result<T, Fault> {
    fleet_testbed::poll::until(what, deadline, look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_condition_is_a_fault_with_the_last_observation() {
        let late = until::<()>("the device's answer", Duration::ZERO, || {
            Ok(Err("silence".to_owned()))
        });
        let error = late.expect_err("it never holds");
        assert!(matches!(error, Fault::Late { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.starts_with("the device's answer did not happen") && text.ends_with("last seen: silence"),
            "{text}"
        );
    }
}
