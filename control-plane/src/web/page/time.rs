//! Times: relative in the text, exact on hover and for programs. The script keeps them current and turns the exact one into
//! the viewer's zone.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};

fn element(at: DateTime<Utc>, form: &str, text: &str) -> Markup {
    html! {
        time datetime=(at.to_rfc3339_opts(SecondsFormat::Secs, true)) title=(at.format("%Y-%m-%d %H:%M:%S UTC")) data-rel=(form) { (text) }
    }
}

/// `4 min ago`; a time to come (another clock is ahead) is `just now`.
pub(super) fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    element(at, "ago", &ago_text(now - at))
}

/// `4 min`: how long something has been so.
pub(super) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    element(at, "age", &span(now - at))
}

/// `in 40 s`; `now` when it is over.
pub(super) fn until(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    let left = at - now;
    let text = if left.num_seconds() < 1 {
        "now".to_owned()
    } else {
        format!("in {}", span(left))
    };
    element(at, "until", &text)
}

/// `21:04:11`, with the day in the title.
pub(super) fn clock(at: DateTime<Utc>) -> Markup {
    element(at, "clock", &at.format("%H:%M:%S").to_string())
}

fn ago_text(passed: TimeDelta) -> String {
    if passed.num_seconds() < 1 {
        "just now".to_owned()
    } else {
        format!("{} ago", span(passed))
    }
}

/// One unit, rounded down: `42 s`, `4 min`, `3 h`, `12 d`.
pub(crate) fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Two units, for durations that are over: `1.4 s`, `2 min 5 s`, `3 h 12 min`.
pub(super) fn took(span: TimeDelta) -> String {
    let millis = span.num_milliseconds().max(0);
    let seconds = millis / 1000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_one_short_unit() {
        let text = |seconds| span(TimeDelta::seconds(seconds));
        assert_eq!(
            [-5, 0, 59, 60, 3599, 3600, 172_799, 172_800].map(text),
            ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d"]
        );
        assert_eq!(took(TimeDelta::milliseconds(1420)), "1.4 s");
        assert_eq!(took(TimeDelta::seconds(125)), "2 min 5 s");
    }
}
