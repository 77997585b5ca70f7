//! Words of commands: their text, as far as it is known before they run, and where they are written.

use std::rc::Rc;

/// Stands in a text for what is only known when it runs.
pub(super) const HOLE: char = '\u{fffc}';

/// A place in a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// Path of the field, relative to the score.
    pub(super) path: Rc<str>,
    /// Line in the field's text, from 1.
    pub(super) line: usize,
}

impl Spot {
    pub(super) fn field(path: String) -> Self {
        Self {
            path: path.into(),
            line: 1,
        }
    }

    /// The place some lines further down.
    pub(super) fn below(&self, lines: usize) -> Self {
        Self {
            path: Rc::clone(&self.path),
            line: self.line + lines,
        }
    }
}

/// One word of a command, or a text that is given to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What it says; [`HOLE`] for each part that is not known.
    pub(super) text: String,
    /// Where it begins.
    pub(super) spot: Spot,
    /// It names something that was just made for this run, such as by `mktemp`.
    pub(super) fresh: bool,
}

impl Word {
    pub(super) fn exact(text: &str, spot: Spot) -> Self {
        Self {
            // A hole of the author's own would be taken for one of ours, which does no harm.
            text: text.to_owned(),
            spot,
            fresh: false,
        }
    }

    pub(super) fn is_option(&self) -> bool {
        self.text.len() > 1 && self.text.starts_with('-')
    }

    /// Whether a bundle of short options (`-sfn`) has this one.
    pub(super) fn has_short(&self, option: char) -> bool {
        self.is_option() && !self.text.starts_with("--") && self.text[1..].contains(option)
    }

    /// The last part of a path: `bash` of `/bin/bash`.
    pub(super) fn base(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or(&self.text)
    }
}

/// The words that are no options. What follows `--` is none.
pub(super) fn operands(words: &[Word]) -> Vec<&Word> {
    let mut found = Vec::new();
    let mut ended = false;
    for word in words {
        if !ended && word.text == "--" {
            ended = true;
        } else if ended || !word.is_option() {
            found.push(word);
        }
    }
    found
}

/// Words as one line for a person.
pub(super) fn shown(words: &[Word]) -> String {
    let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
    texts.join(" ")
}
