//! Lines of a log as markup: text that is escaped, with classes for its style, since the policy allows no style of its own.

use anstyle::{Ansi256Color, AnsiColor, Color, Effects, RgbColor, Style};
use maud::{Markup, html};

use super::parts::number;
use crate::logs::ansi::Line;
use crate::logs::search::{MAX_MARKS, Marks, Piece, Search, pieces};

/// Lines in a box that keeps its end in view and can be reached by the keyboard. The newest matches are marked first.
pub(super) fn log_box<'a>(
    label: &str,
    lines: impl DoubleEndedIterator<Item = &'a Line>,
    search: Option<&Search>,
) -> Markup {
    let mut marks = Marks::new();
    let mut lines: Vec<Vec<Piece<'a>>> = lines.rev().map(|line| pieces(line, search, &mut marks)).collect();
    lines.reverse();
    html! {
        @if marks.are_cut() { p.cut { "There are more matches than can be marked: only the newest " (number(MAX_MARKS as u64)) " are." } }
        div.log tabindex="0" role="region" aria-label=(label) {
            // One child: its box is laid out from the end, so the newest line is in view without script.
            pre { code { @for line in &lines { (log_line(line)) } } }
        }
    }
}

fn log_line(pieces: &[Piece<'_>]) -> Markup {
    html! {
        span.line {
            @if pieces.is_empty() { br; }
            @for piece in pieces {
                @let classes = classes(piece.span.style);
                @match (classes.is_empty(), piece.found) {
                    (true, false) => (piece.text),
                    (true, true) => mark { (piece.text) },
                    (false, false) => span class=(classes) { (piece.text) },
                    (false, true) => mark class=(classes) { (piece.text) },
                }
            }
        }
    }
}

/// The classes of a style. Colours are hues of the page's own palette, so that each has contrast in light and dark; what has a
/// ground of its own gets the page's, and the page's text colour on it.
fn classes(style: Style) -> String {
    let effects = style.get_effects();
    let grounded = style.get_bg_color().is_some() || effects.contains(Effects::INVERT);
    let mut classes = Vec::new();
    if grounded {
        classes.push("on");
    } else {
        classes.extend(style.get_fg_color().and_then(hue));
    }
    let words = [
        (Effects::BOLD, "bold"),
        (Effects::DIMMED, "dim"),
        (Effects::ITALIC, "italic"),
        (Effects::UNDERLINE, "under"),
        (Effects::STRIKETHROUGH, "struck"),
    ];
    classes.extend(
        words
            .iter()
            .filter(|(effect, _)| effects.contains(*effect))
            .map(|(_, word)| *word),
    );
    classes.join(" ")
}

/// The hue nearest to a colour; black, white and grey are the text's own, or quiet.
fn hue(colour: Color) -> Option<&'static str> {
    match colour {
        Color::Ansi(colour) => named(colour),
        Color::Ansi256(colour) => match colour.into_ansi() {
            Some(colour) => named(colour),
            None => nearest(of_cube(colour)),
        },
        Color::Rgb(colour) => nearest(colour),
    }
}

fn named(colour: AnsiColor) -> Option<&'static str> {
    match colour {
        AnsiColor::Red | AnsiColor::BrightRed => Some("red"),
        AnsiColor::Green | AnsiColor::BrightGreen => Some("green"),
        AnsiColor::Yellow | AnsiColor::BrightYellow => Some("yellow"),
        AnsiColor::Blue | AnsiColor::BrightBlue => Some("blue"),
        AnsiColor::Magenta | AnsiColor::BrightMagenta => Some("magenta"),
        AnsiColor::Cyan | AnsiColor::BrightCyan => Some("cyan"),
        AnsiColor::BrightBlack => Some("dim"),
        AnsiColor::Black | AnsiColor::White | AnsiColor::BrightWhite => None,
    }
}

/// xterm's 256 colours above the first 16: a cube of six levels each, then 24 greys.
fn of_cube(Ansi256Color(index): Ansi256Color) -> RgbColor {
    let Some(index) = index.checked_sub(16) else {
        return RgbColor(0, 0, 0);
    };
    if index >= 216 {
        let grey = 8 + 10 * (index - 216);
        return RgbColor(grey, grey, grey);
    }
    let level = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
    RgbColor(level(index / 36), level(index / 6 % 6), level(index % 6))
}

fn nearest(RgbColor(r, g, b): RgbColor) -> Option<&'static str> {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    // Too little colour to have a hue.
    if most - least < 48 {
        return (most > 64 && most < 176).then_some("dim");
    }
    // A channel counts when it is nearer to the strongest one than to the weakest one.
    let strong = |channel: u8| u16::from(channel) * 2 > u16::from(most) + u16::from(least);
    Some(match (strong(r), strong(g), strong(b)) {
        (true, true, _) => "yellow",
        (true, false, true) => "magenta",
        (true, false, false) => "red",
        (false, true, true) => "cyan",
        (false, true, false) => "green",
        (false, false, _) => "blue",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(raw: &str, what: &str) -> String {
        let search = Search::new(what);
        let line = Line::read(raw);
        log_line(&pieces(&line, search.as_ref(), &mut Marks::new())).into_string()
    }

    #[test]
    fn colours_are_classes_and_words_are_escaped() {
        assert_eq!(
            shown("\u{1b}[1;31mbad\u{1b}[0m <b>&", ""),
            "<span class=\"line\"><span class=\"red bold\">bad</span> &lt;b&gt;&amp;</span>"
        );
        assert_eq!(
            shown("\u{1b}[41;97mx\u{1b}[0m", ""),
            "<span class=\"line\"><span class=\"on\">x</span></span>"
        );
        assert_eq!(shown("", ""), "<span class=\"line\"><br></span>");
    }

    #[test]
    fn what_was_searched_for_is_marked_within_its_colours() {
        assert_eq!(
            shown("a \u{1b}[32mgreen\u{1b}[0m day", "EEN D"),
            "<span class=\"line\">a <span class=\"green\">gr</span><mark class=\"green\">een</mark><mark> d</mark>ay</span>"
        );
    }

    #[test]
    fn more_matches_than_can_be_marked_are_told_and_the_newest_are_marked() {
        let lines: Vec<Line> = (0..=MAX_MARKS).map(|n| Line::read(&format!("x{n}"))).collect();
        let search = Search::new("x");
        let html = log_box("Log", lines.iter(), search.as_ref()).into_string();
        assert_eq!(html.matches("<mark>").count(), MAX_MARKS);
        assert!(html.contains("only the newest 10,000 are"), "{}", &html[..200]);
        assert!(
            html.contains("<span class=\"line\">x0</span>"),
            "the oldest is not marked"
        );
        let html = log_box("Log", lines[1..].iter(), search.as_ref()).into_string();
        assert!(!html.contains("only the newest"));
    }

    #[test]
    fn every_colour_is_one_of_the_pages_hues() {
        for (raw, hue) in [
            ("38;5;208", "yellow"),
            ("38;5;196", "red"),
            ("38;5;21", "blue"),
            ("38;5;244", "dim"),
            ("38;2;0;200;40", "green"),
            ("38;2;200;0;190", "magenta"),
            ("38;2;0;180;180", "cyan"),
            ("90", "dim"),
        ] {
            let html = shown(&format!("\u{1b}[{raw}mx"), "");
            assert!(html.contains(&format!("class=\"{hue}\"")), "{raw}: {html}");
        }
        for plain in ["37", "38;5;16", "38;5;255", "38;2;250;250;250"] {
            let html = shown(&format!("\u{1b}[{plain}mx"), "");
            assert!(html.ends_with("line\">x</span>"), "{plain}: {html}");
        }
    }
}
