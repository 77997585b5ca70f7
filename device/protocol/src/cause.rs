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
}

impl Cause {
    /// A cause with its detail cut to [`MAX_DETAIL`] bytes.
    #[must_use]
    pub fn new(kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            detail: shorten(detail.into(), MAX_DETAIL),
        }
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
    fn a_short_detail_is_untouched() {
        assert_eq!(shorten("abc".into(), 3), "abc");
    }
}
