//! What is wrong with a manifest, shown as a compiler would.

use std::fmt;

/// Longest part of a source line that is shown, in characters.
const SHOWN: usize = 120;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters that are wrong, from `column`; at least 1.
    pub width: usize,
    /// Path of the field, such as `spec.score.podman_v0.ports[0].host`; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right, where that is known.
    pub help: Option<String>,
    /// The line itself.
    pub source_line: String,
}

/// Everything that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestErrors(pub Vec<ManifestError>);

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{} ", self.path)?;
        }
        f.write_str(&self.problem)?;
        let shown = Shown {
            line: self.line,
            column: self.column,
            width: self.width,
            text: &self.source_line,
        };
        write!(f, "{shown}")?;
        if let Some(help) = &self.help {
            write!(f, "\n{:gutter$} = help: {help}", "", gutter = shown.gutter())?;
        }
        Ok(())
    }
}

/// A source line, with carets under what is meant.
pub(super) struct Shown<'a> {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
    pub(super) text: &'a str,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.trim().is_empty() {
            return Ok(());
        }
        let gutter = self.gutter();
        let (shown, before) = self.window();
        let carets = self
            .width
            .clamp(1, shown.chars().count().saturating_sub(before).max(1));
        write!(f, "\n{:gutter$} |\n{} | {shown}", "", self.line)?;
        write!(f, "\n{:gutter$} | {:before$}{}", "", "", "^".repeat(carets))
    }
}

impl Shown<'_> {
    /// Characters of the line's number.
    pub(super) fn gutter(&self) -> usize {
        self.line.to_string().len()
    }

    /// The part of the line that is shown, and how many characters of it are before the caret. Control
    /// characters are made visible: the text goes to a terminal.
    fn window(&self) -> (String, usize) {
        let at = self.column.saturating_sub(1);
        let start = if at + self.width > SHOWN {
            at.saturating_sub(SHOWN / 3)
        } else {
            0
        };
        let shown = self.text.chars().skip(start).take(SHOWN);
        let shown: String = shown
            .map(|c| match c {
                '\t' => ' ',
                c if c.is_control() => '\u{fffd}',
                c => c,
            })
            .collect();
        let before = (at - start.min(at)).min(shown.chars().count());
        (shown.trim_end().to_owned(), before)
    }
}
