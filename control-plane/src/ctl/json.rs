//! JSON for programs, in which nothing acts on the terminal of a person who looks at it.
//!
//! Each `-o json` goes through here: what it prints came from devices, from containers and from people.

use serde::Serialize;

use crate::logs::ansi::shown_instead;

/// Over several lines, without a newline at its end.
pub(super) fn pretty<T: Serialize + ?Sized>(value: &T) -> String {
    escaped(&serde_json::to_string_pretty(value).expect("answers and views have string keys only"))
}

/// On one line, without a newline at its end.
pub(super) fn line<T: Serialize + ?Sized>(value: &T) -> String {
    escaped(&serde_json::to_string(value).expect("answers and views have string keys only"))
}

/// JSON knows `\u` for every character, so a reader gets the same value. Outside of strings there is nothing to escape but the line
/// breaks that we made, and serde_json escapes those within strings itself.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || shown_instead(c).is_none() {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a terminal may act on, and what it must not be taken for.
    fn hostile() -> String {
        let c0 = '\0'..='\u{1f}';
        let c1 = '\u{7f}'..='\u{9f}';
        let bidi = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let marks = ['\u{200e}', '\u{200f}', '\u{61c}', '\u{2028}', '\u{e0041}'];
        c0.chain(c1)
            .chain(bidi)
            .chain(marks)
            .chain("é \"\\u0085\" 🦀".chars())
            .collect()
    }

    #[test]
    fn what_would_act_on_a_terminal_is_escaped_and_reads_back_the_same() {
        let value = serde_json::json!({ hostile(): [hostile(), 1, null] });
        for text in [pretty(&value), line(&value)] {
            let raw = text.chars().find(|c| *c != '\n' && shown_instead(*c).is_some());
            assert_eq!(raw, None, "{text:?}");
            assert!(
                text.contains("é ") && text.contains('🦀'),
                "only what acts: {text}"
            );
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
        assert!(!line(&value).contains('\n'));
    }
}
