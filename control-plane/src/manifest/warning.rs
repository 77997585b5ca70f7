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
/// A text behind `|` begins on the line after it, as it is. One in quotes that is written over several lines is not followed: then
/// the place is that of its beginning.
pub(super) fn place(warning: &Warning, scalar: Place, lines: &[&str]) -> Place {
    let line_of = |number: usize| lines.get(number.wrapping_sub(1)).copied().unwrap_or_default();
    let after: String = line_of(scalar.line)
        .chars()
        .skip(scalar.column.saturating_sub(1))
        .collect();
    let is_block = after.starts_with('|')
        || line_of(scalar.line).trim_end().ends_with(['|', '-', '+']) && after.is_empty();
    let line = scalar.line + warning.line - usize::from(!is_block);
    let text = line_of(line);
    let Some((at, width)) = longest_part(text, &warning.found) else {
        return scalar;
    };
    Place {
        line,
        column: text[..at].chars().count() + 1,
        width,
    }
}

/// Where the line holds as many of the first words as it does, and how wide they are in characters.
fn longest_part(line: &str, found: &str) -> Option<(usize, usize)> {
    let mut best = None;
    for (end, _) in found.match_indices(' ').chain(std::iter::once((found.len(), ""))) {
        let part = &found[..end];
        let Some(at) = line.find(part).filter(|_| !part.is_empty()) else {
            break;
        };
        best = Some((at, part.chars().count()));
    }
    best
}
