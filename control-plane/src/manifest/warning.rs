//! What the lint says of a manifest, shown as a compiler would.

use std::fmt;

use super::error::Shown;
use super::node::Place;
use crate::deploy::lint::Warning;

/// One warning, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestWarning {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters that are meant, from `column`; at least 1.
    pub width: usize,
    /// The line itself.
    pub source_line: String,
    /// What it is.
    pub warning: Warning,
}

impl fmt::Display for ManifestWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Warning {
            path,
            rule,
            found,
            why,
            fix,
            ..
        } = &self.warning;
        write!(
            f,
            "{}:{}:{}: warning[{rule}]: {path}: {found}",
            self.file, self.line, self.column
        )?;
        let shown = Shown {
            line: self.line,
            column: self.column,
            width: self.width,
            text: &self.source_line,
        };
        let gutter = shown.gutter();
        write!(
            f,
            "{shown}\n{:gutter$} = why: {why}\n{:gutter$} = fix: {fix}",
            "", ""
        )
    }
}

/// Where a warning is meant, in a file of these lines; `scalar` is where the field's text begins.
///
/// A text behind `|` begins on the line after it, as it is. Any other has its lines elsewhere than the file has (`"a\nb"` is two on
/// one), so what was found is looked for within the scalar; where it is not found, the place is that of the scalar's beginning.
pub(super) fn place(warning: &Warning, scalar: Place, lines: &[&str]) -> Place {
    let line_of = |number: usize| lines.get(number.wrapping_sub(1)).copied().unwrap_or_default();
    if let Some(head) = block(scalar, lines) {
        let line = head + warning.line;
        let found = longest_part(line_of(line), &warning.found);
        return found.map_or(scalar, |found| found.place(line, line_of(line), 0));
    }
    let mut left = scalar.width;
    let mut best: Option<(Part, Place)> = None;
    for (at, line) in lines.iter().enumerate().skip(scalar.line.wrapping_sub(1)) {
        if left == 0 {
            break;
        }
        let skipped = if at + 1 == scalar.line {
            scalar.column.saturating_sub(1)
        } else {
            0
        };
        let own: String = line.chars().skip(skipped).take(left).collect();
        // The end of the line is a character of the scalar, too.
        left = left.saturating_sub(own.chars().count() + 1);
        if let Some(part) = longest_part(&own, &warning.found)
            && best.is_none_or(|(longest, _)| part.width > longest.width)
        {
            best = Some((part, part.place(at + 1, &own, skipped)));
        }
    }
    best.map_or(scalar, |(_, place)| place)
}

/// The line of the `|`, if the scalar is the text behind one: the reader has its first line that is not blank.
fn block(scalar: Place, lines: &[&str]) -> Option<usize> {
    let own = lines.get(scalar.line.checked_sub(1)?)?;
    let is_first = own
        .chars()
        .take(scalar.column.saturating_sub(1))
        .all(char::is_whitespace);
    let above = lines.get(..scalar.line - 1)?;
    let head = above.iter().rposition(|line| !line.trim().is_empty())?;
    let words = above[head].split(" #").next()?.split_whitespace();
    (is_first && words.last()?.starts_with('|')).then_some(head + 1)
}

/// A part of what was found, in a line.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// In bytes.
    at: usize,
    /// In characters.
    width: usize,
}

impl Part {
    /// Its place in the file, if `text` is that line behind its first `skipped` characters.
    fn place(self, line: usize, text: &str, skipped: usize) -> Place {
        Place {
            line,
            column: skipped + text[..self.at].chars().count() + 1,
            width: self.width,
        }
    }
}

/// Where the line holds as many of the first words as it does, and how wide they are in characters.
fn longest_part(line: &str, found: &str) -> Option<Part> {
    let mut best = None;
    for (end, _) in found.match_indices(' ').chain(std::iter::once((found.len(), ""))) {
        let part = &found[..end];
        let Some(at) = line.find(part).filter(|_| !part.is_empty()) else {
            break;
        };
        best = Some(Part {
            at,
            width: part.chars().count(),
        });
    }
    best
}
