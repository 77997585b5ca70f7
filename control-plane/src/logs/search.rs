//! Words in a log.

use super::ansi::{Line, Span};

/// What a person looks for. Upper and lower case are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search(String);

/// A piece of a line, and whether it is what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text.
    pub text: &'a str,
    /// Its style, of the span it is from.
    pub span: &'a Span,
    /// It is (a part of) a match.
    pub found: bool,
}

impl Search {
    /// Longest text that is looked for, in characters.
    pub const MAX: usize = 200;

    /// A search; `None` when there is nothing to look for.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text: String = text.trim().chars().take(Self::MAX).collect();
        (!text.is_empty()).then(|| Self(folded(&text)))
    }

    /// Where it is in a text: byte ranges, in order, none over another.
    #[must_use]
    pub fn ranges(&self, text: &str) -> Vec<(usize, usize)> {
        // Folding may change lengths, so each folded character remembers where it came from.
        let mut folded = String::with_capacity(text.len());
        let mut from = Vec::with_capacity(text.len());
        for (at, c) in text.char_indices() {
            for lower in c.to_lowercase() {
                folded.push(lower);
                from.extend(std::iter::repeat_n((at, at + c.len_utf8()), lower.len_utf8()));
            }
        }
        let ranges = folded.match_indices(&self.0).filter_map(|(at, found)| {
            let first = from.get(at)?;
            let last = from.get(at + found.len() - 1)?;
            Some((first.0, last.1))
        });
        ranges.collect()
    }

    /// Whether it is in a line.
    #[must_use]
    pub fn finds(&self, line: &Line) -> bool {
        !self.ranges(&line.plain()).is_empty()
    }
}

fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// A line cut where its style or its being found changes. A match may go over several spans.
#[must_use]
pub fn pieces<'a>(line: &'a Line, search: Option<&Search>) -> Vec<Piece<'a>> {
    let ranges = search.map_or_else(Vec::new, |search| search.ranges(&line.plain()));
    let mut pieces = Vec::new();
    let mut begin = 0;
    for span in &line.spans {
        let end = begin + span.text.len();
        let edges = ranges.iter().flat_map(|(from, to)| [*from, *to]);
        let mut cuts: Vec<usize> = edges.filter(|at| (begin..end).contains(at)).collect();
        cuts.push(end);
        let mut at = begin;
        for cut in cuts {
            if cut > at {
                let found = ranges.iter().any(|(from, to)| (*from..*to).contains(&at));
                let text = &span.text[at - begin..cut - begin];
                pieces.push(Piece { text, span, found });
                at = cut;
            }
        }
        begin = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(raw: &str, what: &str) -> Vec<String> {
        let line = Line::read(raw);
        let search = Search::new(what);
        let pieces = pieces(&line, search.as_ref());
        let whole: String = pieces.iter().map(|piece| piece.text).collect();
        assert_eq!(whole, line.plain(), "no word is lost");
        let found = pieces.into_iter().filter(|piece| piece.found);
        found.map(|piece| piece.text.to_owned()).collect()
    }

    #[test]
    fn a_word_is_found_in_any_case_and_as_often_as_it_is_there() {
        assert_eq!(
            found("Error: no such table; ERROR again", " error "),
            ["Error", "ERROR"]
        );
        assert_eq!(found("no such", "table"), Vec::<String>::new());
        assert_eq!(Search::new("  "), None);
    }

    #[test]
    fn a_match_goes_over_colours_and_over_letters_that_fold_to_several() {
        assert_eq!(found("\u{1b}[31mcon\u{1b}[0mnect", "CONNECT"), ["con", "nect"]);
        assert_eq!(found("İstanbul x", "stan"), ["stan"]);
        assert_eq!(found("\u{1b}[1m<b>\u{1b}[0m", "<b>"), ["<b>"]);
    }

    proptest! {
        #[test]
        fn any_search_in_any_line_keeps_every_word(raw in ".{0,40}", what in ".{0,3}") {
            found(&raw, &what);
        }
    }
}
