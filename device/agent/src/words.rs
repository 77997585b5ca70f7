//! Errors as sentences, and what stands behind them.

use std::error::Error;

/// An error and its sources, joined by colons; a source that the text before it already holds is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = error.source();
    }
    text
}

/// What stands between a sentence and podman's words.
const IN_PODMANS_WORDS: &str = ". In podman's words: ";

/// A sentence with the words of podman that it was made from. They come last: cut to its length, a text loses no advice.
pub(crate) fn with_podmans(sentence: &str, words: &str) -> String {
    format!("{sentence}{IN_PODMANS_WORDS}{words}")
}

/// The sentence, and podman's words where they stand behind it.
pub(crate) fn apart(text: &str) -> (&str, Option<&str>) {
    match text.split_once(IN_PODMANS_WORDS) {
        Some((sentence, words)) => (sentence, Some(words)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_cause_is_named_and_nothing_is_said_twice() {
        let error = Outer(std::io::Error::other("the key is lost"));
        assert_eq!(chain(&error), "cannot open the door: the key is lost");
    }

    #[test]
    fn podmans_words_are_told_apart_from_the_sentence_again() {
        let both = with_podmans("it is not there; push it", "manifest unknown");
        assert_eq!(
            apart(&both),
            ("it is not there; push it", Some("manifest unknown"))
        );
        assert_eq!(apart("it ended: at once"), ("it ended: at once", None));
    }
}
