//! A log line as spans of text with a style each.
//!
//! Colours and emphasis (SGR) become a [`Style`]; every other sequence is dropped, with [`HIDDEN`] in its place where it carried
//! a payload (OSC, DCS and the like). What begins as a sequence and is none is shown behind [`HIDDEN`]: no byte but a legal sequence goes
//! without a mark. Control characters become their pictures (`␍`), and characters that reorder or hide text become
//! `⟨U+202E⟩`. So the text of a span never holds an escape, a control character or an invisible change of direction; `<` and the
//! like are text here and are for the template to escape.

use std::fmt::Write;

use anstyle::{Ansi256Color, AnsiColor, Color, Effects, RgbColor, Style};
use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};

/// Stands where a sequence with a payload was taken out, and before what began as a sequence and is none.
pub const HIDDEN: char = '␛';

/// A piece of a line in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Text without anything that acts.
    pub text: String,
    /// Its style; the default one is plain.
    pub style: Style,
}

/// A line that is safe to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Its pieces; none is empty, and neighbours differ in style.
    pub spans: Vec<Span>,
}

impl Line {
    /// Reads a line as a container wrote it. Styles begin anew with each line, so no line colours another.
    #[must_use]
    pub fn read(raw: &str) -> Self {
        let mut reader = Reader::default();
        let mut rest = raw;
        while let Some(at) = rest.find(ESC) {
            let (before, from) = rest.split_at(at);
            reader.show(before);
            let (sequence, len) = Sequence::at_start(from);
            let (taken, after) = from.split_at(len);
            reader.sequence(sequence, taken);
            rest = after;
        }
        reader.show(rest);
        reader.line
    }

    /// The text without styles.
    #[must_use]
    pub fn plain(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }

    /// The text for a terminal that has colours; ends as it began, in no style.
    #[must_use]
    pub fn coloured(&self) -> String {
        let mut text = String::new();
        for Span { text: part, style } in &self.spans {
            let _ = write!(text, "{style}{part}{style:#}");
        }
        text
    }
}

/// A text of one line as a person may read it anywhere: no style, nothing that acts.
#[must_use]
pub fn plain(raw: &str) -> String {
    Line::read(raw).plain()
}

/// What to show for a character that must not act; `None` for one that may be shown as it is.
#[must_use]
pub fn shown_instead(c: char) -> Option<String> {
    match c {
        '\t' => None,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).map(String::from),
        '\x7f' => Some('␡'.to_string()),
        c if c.is_control() || reorders_or_hides(c) => Some(format!("⟨U+{:04X}⟩", u32::from(c))),
        _ => None,
    }
}

/// Marks, embeddings, overrides and isolates of direction; separators that break a line; characters that show nothing. A joiner
/// (U+200D) is none: it is part of many emoji and scripts.
fn reorders_or_hides(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

const ESC: char = '\u{1b}';

/// What an escape begins (ECMA-48, 5.3 to 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    /// It acts and says nothing.
    Control,
    /// A control string with its payload, which is not for a reader.
    Payload,
    /// It is none, or never ends: hiding it would hide words.
    Broken,
}

impl Sequence {
    /// The sequence that a text begins with, and its length in bytes, which ends at a character.
    fn at_start(text: &str) -> (Self, usize) {
        let bytes = text.as_bytes();
        let run = |from: usize, of: std::ops::RangeInclusive<u8>| {
            let rest = bytes.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|byte| of.contains(byte)).count()
        };
        let (end, last) = match bytes.get(1) {
            Some(b']' | b'P' | b'X' | b'^' | b'_') => return Self::string(text),
            Some(b'[') => (run(run(2, b'0'..=b'?'), b' '..=b'/'), b'@'..=b'~'),
            _ => (run(1, b' '..=b'/'), b'0'..=b'~'),
        };
        match bytes.get(end) {
            Some(byte) if last.contains(byte) => (Self::Control, end + 1),
            _ => (Self::Broken, end),
        }
    }

    /// A control string ends by "string terminator", or by BEL as xterm has it. Another escape ends it too, as terminals do; after
    /// "cancel" and "substitute" it is none.
    fn string(text: &str) -> (Self, usize) {
        let ends = |c: char| matches!(c, '\u{7}' | '\u{18}' | '\u{1a}' | '\u{9c}' | ESC);
        let Some((at, end)) = text.char_indices().skip(1).find(|(_, c)| ends(*c)) else {
            return (Self::Broken, text.len());
        };
        match end {
            '\u{18}' | '\u{1a}' => (Self::Broken, at),
            ESC if text[at..].starts_with("\u{1b}\\") => (Self::Payload, at + 2),
            ESC => (Self::Payload, at),
            end => (Self::Payload, at + end.len_utf8()),
        }
    }
}

/// Collects spans while a line is read.
#[derive(Default)]
struct Reader {
    line: Line,
    style: Style,
}

impl Reader {
    fn push(&mut self, c: char) {
        match self.line.spans.last_mut() {
            Some(span) if span.style == self.style => span.text.push(c),
            _ => self.line.spans.push(Span {
                text: c.into(),
                style: self.style,
            }),
        }
    }

    fn show(&mut self, text: &str) {
        for c in text.chars() {
            match shown_instead(c) {
                Some(text) => text.chars().for_each(|c| self.push(c)),
                None => self.push(c),
            }
        }
    }

    /// Takes a sequence with its bytes.
    fn sequence(&mut self, sequence: Sequence, taken: &str) {
        match sequence {
            Sequence::Control => {
                let mut parser = Parser::<DefaultCharAccumulator>::new();
                taken.bytes().for_each(|byte| parser.advance(self, byte));
            }
            Sequence::Payload => self.push(HIDDEN),
            Sequence::Broken => {
                self.push(HIDDEN);
                self.show(taken.trim_start_matches(ESC));
            }
        }
    }
}

/// Of control sequences only those that set a style are taken over.
impl Perform for Reader {
    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        if action == b'm' && intermediates.is_empty() && !ignore {
            self.style = styled(self.style, params);
        }
    }
}

/// A style after "select graphic rendition" (ECMA-48, 8.3.117, and the colours that xterm added). Blinking and concealing are
/// not taken over: neither helps who reads.
fn styled(mut style: Style, params: &Params) -> Style {
    let mut groups = params.iter();
    while let Some(group) = groups.next() {
        let Some((code, rest)) = group.split_first() else {
            continue;
        };
        style = match code {
            38 | 48 => {
                let colour = if rest.is_empty() {
                    colour(&mut groups.by_ref().filter_map(|group| group.first().copied()))
                } else {
                    colour_of_group(rest)
                };
                match (code, colour) {
                    (_, None) => style,
                    (38, colour) => style.fg_color(colour),
                    (_, colour) => style.bg_color(colour),
                }
            }
            code => simple(style, *code),
        };
    }
    style
}

/// `5;n` or `2;r;g;b`.
fn colour(values: &mut dyn Iterator<Item = u16>) -> Option<Color> {
    let mut byte = || u8::try_from(values.next()?).ok();
    match byte()? {
        5 => Some(Ansi256Color(byte()?).into()),
        2 => Some(RgbColor(byte()?, byte()?, byte()?).into()),
        _ => None,
    }
}

/// The same with colons, where `2` may be followed by a colour space.
fn colour_of_group(rest: &[u16]) -> Option<Color> {
    match rest {
        [2, _, r, g, b, ..] => colour(&mut [2, *r, *g, *b].into_iter()),
        rest => colour(&mut rest.iter().copied()),
    }
}

fn simple(style: Style, code: u16) -> Style {
    let effects = style.get_effects();
    let without = |gone: Effects| style.effects(effects.remove(gone));
    let with = |new: Effects| style.effects(effects.insert(new));
    match code {
        0 => Style::new(),
        1 => with(Effects::BOLD),
        2 => with(Effects::DIMMED),
        3 => with(Effects::ITALIC),
        4 | 21 => with(Effects::UNDERLINE),
        7 => with(Effects::INVERT),
        9 => with(Effects::STRIKETHROUGH),
        22 => without(Effects::BOLD | Effects::DIMMED),
        23 => without(Effects::ITALIC),
        24 => without(Effects::UNDERLINE),
        27 => without(Effects::INVERT),
        29 => without(Effects::STRIKETHROUGH),
        30..=37 => style.fg_color(named(code - 30, false)),
        39 => style.fg_color(None),
        40..=47 => style.bg_color(named(code - 40, false)),
        49 => style.bg_color(None),
        90..=97 => style.fg_color(named(code - 90, true)),
        100..=107 => style.bg_color(named(code - 100, true)),
        _ => style,
    }
}

fn named(number: u16, bright: bool) -> Option<Color> {
    let number = u8::try_from(number).ok()?;
    let colour: AnsiColor = Ansi256Color(number).into_ansi()?;
    Some(colour.bright(bright).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(raw: &str) -> Vec<(String, Style)> {
        let line = Line::read(raw);
        line.spans
            .into_iter()
            .map(|span| (span.text, span.style))
            .collect()
    }

    #[test]
    fn colours_become_styles_and_the_text_is_whole() {
        let red = AnsiColor::Red.on_default();
        assert_eq!(
            spans("\u{1b}[31merror\u{1b}[0m: \u{1b}[1;92mok"),
            [
                ("error".to_owned(), red),
                (": ".to_owned(), Style::new()),
                ("ok".to_owned(), AnsiColor::BrightGreen.on_default().bold()),
            ]
        );
        assert_eq!(
            Line::read("\u{1b}[31merror\u{1b}[0m").coloured(),
            "\u{1b}[31merror\u{1b}[0m"
        );
    }

    #[test]
    fn every_way_to_write_a_colour_is_read() {
        let rgb = Style::new().fg_color(Some(RgbColor(1, 2, 3).into()));
        for raw in ["38;2;1;2;3", "38:2:1:2:3", "38:2::1:2:3"] {
            assert_eq!(
                spans(&format!("\u{1b}[{raw}mx")),
                [("x".to_owned(), rgb)],
                "{raw}"
            );
        }
        let many = Style::new().bg_color(Some(Ansi256Color(208).into()));
        assert_eq!(spans("\u{1b}[48;5;208mx"), [("x".to_owned(), many)]);
        // A colour that is none changes nothing, and what follows it is read.
        for raw in ["38;9;1", "38;5;999", "38;2;1", "38", "58;5;1"] {
            assert_eq!(Line::read(&format!("\u{1b}[{raw}mx")).plain(), "x", "{raw}");
        }
    }

    #[test]
    fn what_would_act_is_taken_out_and_the_words_stay() {
        for (raw, shown) in [
            (
                "\u{1b}]8;;https://evil.example\u{1b}\\click\u{1b}]8;;\u{1b}\\",
                "␛click␛",
            ),
            ("\u{1b}]52;c;cm0gLXJmIC8=\u{7}x", "␛x"),
            ("\u{1b}[2J\u{1b}[1;1Hgone\u{1b}[8D", "gone"),
            ("\u{1b}Pq#0;2;0;0;0\u{1b}\\x", "␛x"),
            ("\u{1b}cx", "x"),
            ("a\rb\u{8}c\u{7}d\te", "a␍b␈c␇d\te"),
            ("\u{9b}31mx\u{85}", "⟨U+009B⟩31mx⟨U+0085⟩"),
            ("user\u{202e}gpj.exe", "user⟨U+202E⟩gpj.exe"),
            ("a\u{2066}b\u{2069}c\u{200b}", "a⟨U+2066⟩b⟨U+2069⟩c⟨U+200B⟩"),
            ("\u{1b}[?25l\u{1b}[>4;2mx\u{1b}[8mhidden", "xhidden"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
            ("\u{fffd}é👩‍🔧 x", "\u{fffd}é👩‍🔧 x"),
            ("\0\u{7f}", "␀␡"),
        ] {
            assert_eq!(plain(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn a_sequence_that_never_ends_hides_nothing() {
        for (raw, shown) in [
            ("before \u{1b}]52;c;after", "before ␛]52;c;after"),
            ("x\u{1b}[31", "x␛[31"),
            ("x\u{1b}", "x␛"),
            ("x\u{1b}Pq\u{1b}[", "x␛␛["),
            ("x\u{1b}_apc goes on", "x␛_apc goes on"),
        ] {
            assert_eq!(plain(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn what_is_no_part_of_a_sequence_is_shown_behind_a_mark() {
        for (raw, shown) in [
            ("x\u{1b}é y", "x␛é y"),
            ("\u{1b}[3é1m y", "␛[3é1m y"),
            ("\u{1b}(é", "␛(é"),
            ("\u{1b}[31\u{18}gone?", "␛[31␘gone?"),
            ("\u{1b}]0;title\u{1a}gone?", "␛]0;title␚gone?"),
            ("\u{1b}_words\u{18}gone?", "␛_words␘gone?"),
            ("\u{1b}[31\u{1b}[0mx", "␛[31x"),
            ("\u{1b}\u{1b}[31mx", "␛x"),
            ("\u{1b}[3\r1mx", "␛[3␍1mx"),
            ("\u{1b}_words\u{9c}x", "␛x"),
        ] {
            assert_eq!(plain(raw), shown, "{raw:?}");
        }
    }

    fn harmless(text: &str) -> bool {
        !text
            .chars()
            .any(|c| c != '\t' && (c.is_control() || reorders_or_hides(c)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_line_acts_whatever_it_holds(raw in r"([\x1b\x9b\x90\x9d]|[\[\]P_^;:?m0-9HJ\\]|\PC|.){0,60}") {
            let line = Line::read(&raw);
            prop_assert!(harmless(&line.plain()), "{:?}", line.plain());
            prop_assert!(line.spans.iter().all(|span| !span.text.is_empty()));
            // On a terminal there is nothing but colours, and the end is as the beginning.
            let again = Line::read(&line.coloured());
            prop_assert_eq!(again.plain(), line.plain());
            let (escapes, colours) = (line.coloured().matches('\u{1b}').count(), line.coloured().matches("\u{1b}[").count());
            prop_assert_eq!(escapes, colours);
        }

        /// Introducers of control strings are left out: their payload is hidden on purpose.
        #[test]
        fn every_character_outside_a_payload_survives(raw in r"([\x1b\x18\x1a\r]|[\[(?;0-9mHJ ]|[äöß漢λж✜😀][äöß漢λж✜😀]?){0,60}") {
            let printable = |text: &str| text.chars().filter(|c| !c.is_ascii() && shown_instead(*c).is_none()).collect::<String>();
            let marks = ['␛', '␘', '␚', '␍'];
            let shown: String = printable(&plain(&raw)).chars().filter(|c| !marks.contains(c)).collect();
            prop_assert_eq!(shown, printable(&raw));
        }

        #[test]
        fn bytes_of_any_kind_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(harmless(&plain(&String::from_utf8_lossy(&bytes))));
        }

        #[test]
        fn ordinary_text_is_shown_as_it_is(text in r"[ -~äöüßéλжあ漢\t]{0,80}") {
            prop_assert_eq!(plain(&text), text);
        }
    }
}
