//! How long to wait before the next try.

use std::time::Duration;

use super::state::Retry;

/// First wait, in milliseconds.
const FIRST: u64 = 1_000;
/// Longest wait, in milliseconds; also the slow rhythm.
const LONGEST: u64 = 300_000;

/// The wait after `tries` failures in a row; `None` when waiting does not help. Half of it is fixed, half
/// is spread by `jitter`, so that a thousand devices do not come back in the same second.
pub(super) fn wait(retry: Retry, tries: u32, jitter: u16) -> Option<Duration> {
    let whole = match retry {
        Retry::Soon => (FIRST << tries.saturating_sub(1).min(16)).min(LONGEST),
        Retry::Seldom => LONGEST,
        Retry::Never => return None,
    };
    let spread = whole / 2 * u64::from(jitter) / u64::from(u16::MAX);
    Some(Duration::from_millis(whole / 2 + spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_are_spread_over_their_second_half() {
        let wait = |tries, jitter| wait(Retry::Soon, tries, jitter).unwrap().as_millis();
        assert_eq!((wait(1, 0), wait(1, u16::MAX)), (500, 1_000));
        assert_eq!(wait(4, u16::MAX), 8_000);
        assert_eq!((wait(10, 0), wait(u32::MAX, u16::MAX)), (150_000, 300_000));
    }

    #[test]
    fn what_time_cannot_cure_is_not_waited_for() {
        assert_eq!(wait(Retry::Never, 1, 0), None);
        assert_eq!(wait(Retry::Seldom, 1, u16::MAX), Some(Duration::from_mins(5)));
    }
}
