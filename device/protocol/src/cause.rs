//! Why something is as it is: a stable word for machines and a sentence for people.

use serde::{Deserialize, Serialize};

/// Longest `detail`, in bytes. Longer ones are cut at a character and marked with `…`.
pub const MAX_DETAIL: usize = 1024;

/// Why a phase was entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Stable and kebab-case, such as `image-not-found`: programs match on it, so it never changes.
    pub kind: String,
    /// One or two sentences for a person: what failed, on what, why, and what to do next.
    pub detail: String,
    /// How the container's process ended, where one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The init container that failed, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// The last lines of the container's log, the oldest first; at most [`MAX_LOG_LINES`]. Whatever the container
    /// wrote: not safe to show as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// Most log lines that a cause carries.
pub const MAX_LOG_LINES: usize = 10;
/// Longest log line that a cause carries, in bytes.
pub const MAX_LOG_LINE: usize = 512;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// It was ended by this signal.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl Cause {
    /// A cause with its detail cut to [`MAX_DETAIL`] bytes.
    #[must_use]
    pub fn new(kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            detail: shorten(detail.into(), MAX_DETAIL),
            exit: None,
            init: None,
            log: Vec::new(),
        }
    }

    /// With the last lines of a log, cut to [`MAX_LOG_LINES`] lines of [`MAX_LOG_LINE`] bytes.
    #[must_use]
    pub fn with_log(mut self, lines: &[String]) -> Self {
        let surplus = lines.len().saturating_sub(MAX_LOG_LINES);
        let kept = lines.iter().skip(surplus).cloned();
        self.log = kept.map(|line| shorten(line, MAX_LOG_LINE)).collect();
        self
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

/// Cuts `text` to at most `limit` bytes at a character boundary; a cut text ends in `…`.
#[must_use]
pub fn shorten(mut text: String, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text;
    }
    let mut end = limit.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut_at_a_character_and_marked() {
        let cause = Cause::new("x", "é".repeat(MAX_DETAIL));
        assert!(cause.detail.len() <= MAX_DETAIL);
        assert!(cause.detail.ends_with("é…"));
    }

    #[test]
    fn the_last_lines_of_a_log_are_kept_and_a_plain_cause_says_nothing_of_them() {
        let lines: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        let cause = Cause::new("x", "y").with_log(&lines);
        assert_eq!((cause.log.len(), cause.log[9].as_str()), (MAX_LOG_LINES, "11"));
        let plain = serde_json::to_string(&Cause::new("x", "y")).unwrap();
        assert_eq!(plain, r#"{"kind":"x","detail":"y"}"#);
    }

    #[test]
    fn a_short_detail_is_untouched() {
        assert_eq!(shorten("abc".into(), 3), "abc");
    }
}
