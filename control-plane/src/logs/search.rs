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

/// Most matches that are marked on one page: a browser slows down with each.
pub const MAX_MARKS: usize = 10_000;

/// How many matches may still be marked on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    left: usize,
    cut: bool,
}

impl Marks {
    /// None is marked yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            left: MAX_MARKS,
            cut: false,
        }
    }

    /// Whether there were more matches than marks.
    #[must_use]
    pub fn are_cut(&self) -> bool {
        self.cut
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self::new()
    }
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

    /// Where it is in a text: byte ranges, in order, none over another or next to it.
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
        let found = folded.match_indices(&self.0).filter_map(|(at, found)| {
            let first = from.get(at)?;
            let last = from.get(at + found.len() - 1)?;
            Some((first.0, last.1))
        });
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for (begin, end) in found {
            match ranges.last_mut() {
                Some(before) if before.1 >= begin => before.1 = end,
                _ => ranges.push((begin, end)),
            }
        }
        ranges
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

/// A line cut where its style or its being found changes. A match may go over several spans; what is found beyond the `marks` is a
/// piece like any other.
#[must_use]
pub fn pieces<'a>(line: &'a Line, search: Option<&Search>, marks: &mut Marks) -> Vec<Piece<'a>> {
    let ranges = search.map_or_else(Vec::new, |search| search.ranges(&line.plain()));
    cut(line, &ranges, marks, || ())
}

/// Goes through spans and ranges side by side; each step ends a piece or a range.
fn cut<'a>(
    line: &'a Line,
    ranges: &[(usize, usize)],
    marks: &mut Marks,
    mut step: impl FnMut(),
) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut ranges = ranges.iter().copied().peekable();
    let mut begin = 0;
    for span in &line.spans {
        let end = begin + span.text.len();
        let mut at = begin;
        while at < end {
            step();
            let (to, found) = match ranges.peek() {
                Some((_, to)) if *to <= at => {
                    ranges.next();
                    continue;
                }
                Some(_) if marks.left == 0 => {
                    marks.cut = true;
                    (end, false)
                }
                Some((from, to)) if *from <= at => (end.min(*to), true),
                Some((from, _)) => (end.min(*from), false),
                None => (end, false),
            };
            marks.left -= usize::from(found);
            let text = &span.text[at - begin..to - begin];
            pieces.push(Piece { text, span, found });
            at = to;
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
        let pieces = pieces(&line, search.as_ref(), &mut Marks::new());
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

    #[test]
    fn matches_that_touch_are_one() {
        assert_eq!(found("aaaa b", "a"), ["aaaa"]);
        assert_eq!(found("ababa", "ab"), ["abab"]);
    }

    /// As many spans and matches as a chunk can hold in one line: the work grows with both together, not with their product.
    #[test]
    fn a_line_full_of_matches_and_colours_takes_a_step_for_each() {
        let raw = "a\u{1b}[31mb\u{1b}[0m".repeat(2_000);
        let line = Line::read(&raw);
        let search = Search::new("a").unwrap();
        let ranges = search.ranges(&line.plain());
        assert_eq!((line.spans.len(), ranges.len()), (4_000, 2_000));
        let mut steps = 0;
        let all = cut(&line, &ranges, &mut Marks::new(), || steps += 1);
        assert_eq!(all.len(), 4_000);
        assert!(steps <= all.len() + ranges.len(), "{steps} steps");
    }

    #[test]
    fn no_page_has_more_marks_than_its_limit_and_the_rest_is_whole() {
        let line = Line::read(&"a ".repeat(MAX_MARKS + 7));
        let search = Search::new("a");
        let mut marks = Marks::new();
        let all = pieces(&line, search.as_ref(), &mut marks);
        assert_eq!(all.iter().filter(|piece| piece.found).count(), MAX_MARKS);
        assert!(marks.are_cut() && all.len() <= 2 * MAX_MARKS + 1, "{}", all.len());
        let whole: String = all.iter().map(|piece| piece.text).collect();
        assert_eq!(whole, line.plain());
        // Just as many as there may be are no surplus.
        let line = Line::read(&"a ".repeat(MAX_MARKS));
        let mut marks = Marks::new();
        let _ = pieces(&line, search.as_ref(), &mut marks);
        assert!(!marks.are_cut());
    }

    proptest! {
        #[test]
        fn any_search_in_any_line_keeps_every_word(raw in ".{0,40}", what in ".{0,3}") {
            found(&raw, &what);
        }
    }
}
