//! Errors as sentences.

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
}
