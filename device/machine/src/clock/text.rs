//! The words for a wrong clock. The sentence is the customer's own, to the letter: it is what they search for.

use std::fmt;

/// A span as a person reads it: `45s`, `14m32s`, `5h02m11s`, `412d03h`.
#[must_use]
pub fn span(millis: i64) -> String {
    let seconds = millis.unsigned_abs() / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m{:02}s", minutes % 60, seconds % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// The sentence for a clock that is off by so many milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Skew(pub i64);

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skew = span(self.0);
        write!(
            f,
            "system clock skew is {skew}; JWT validation will fail. Enable systemd-timesyncd or chrony."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_the_one_that_was_agreed_on() {
        let sentence =
            "system clock skew is 14m32s; JWT validation will fail. Enable systemd-timesyncd or chrony.";
        assert_eq!(Skew(872_000).to_string(), sentence);
        assert_eq!(
            Skew(-872_999).to_string(),
            sentence,
            "a direction is no part of it"
        );
    }

    #[test]
    fn spans_have_the_units_that_matter() {
        let shown = [999, 45_000, 60_000, 3_661_000, 86_400_000, 35_607_600_000].map(span);
        assert_eq!(shown, ["0s", "45s", "1m00s", "1h01m01s", "1d00h", "412d03h"]);
        assert!(span(i64::MIN).ends_with('h'));
    }
}
