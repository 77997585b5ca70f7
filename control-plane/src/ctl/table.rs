//! Columns, and the words that fill them.

use chrono::{DateTime, Utc};

pub(super) use super::terminal::Tone;
use super::terminal::{Terminal, safe};
use crate::fleet::view::{DeviceState, LinkState, PairCounts, PairState};
use crate::web::span;

/// A cell: its text, and the tone of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

pub(super) fn plain(text: impl AsRef<str>) -> Cell {
    toned(text, Tone::Plain)
}

pub(super) fn toned(text: impl AsRef<str>, tone: Tone) -> Cell {
    let text = safe(text.as_ref());
    let text = if text.is_empty() { "-".to_owned() } else { text };
    Cell { text, tone }
}

/// How long ago: `4 min`.
pub(super) fn age(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Cell {
    plain(at.map_or_else(String::new, |at| span(now - at)))
}

/// Rows below a head, in columns as wide as their widest cell. Nothing ends in blanks.
pub(super) fn render(terminal: &Terminal, head: &[&str], rows: &[Vec<Cell>]) -> String {
    let widths = widths(head, rows);
    let mut text = line(terminal, &head.iter().map(plain).collect::<Vec<_>>(), &widths);
    for row in rows {
        text.push_str(&line(terminal, row, &widths));
    }
    text
}

pub(super) fn widths(head: &[&str], rows: &[Vec<Cell>]) -> Vec<usize> {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.text.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    (0..head.len()).map(width).collect()
}

pub(super) fn line(terminal: &Terminal, row: &[Cell], widths: &[usize]) -> String {
    let mut text = String::new();
    for (index, cell) in row.iter().enumerate() {
        text.push_str(&terminal.paint(&cell.text, cell.tone));
        if index + 1 < row.len() {
            let width = widths.get(index).copied().unwrap_or(0);
            text.push_str(&" ".repeat(width.saturating_sub(cell.text.chars().count()) + 3));
        }
    }
    text.push('\n');
    text
}

pub(super) fn pair_tone(state: PairState) -> Tone {
    match state {
        PairState::Failed | PairState::Stuck | PairState::Unreadable => Tone::Bad,
        PairState::Unknown => Tone::Warn,
        PairState::Waiting => Tone::Plain,
        PairState::Pending
        | PairState::Pulling
        | PairState::Upgrading
        | PairState::Starting
        | PairState::Removing => Tone::Busy,
        PairState::Running | PairState::Finished => Tone::Good,
    }
}

pub(super) fn device_tone(state: DeviceState) -> Tone {
    match state {
        DeviceState::Offline | DeviceState::Unknown => Tone::Warn,
        DeviceState::Online => Tone::Good,
    }
}

pub(super) fn link_mark(state: LinkState) -> (&'static str, Tone) {
    match state {
        LinkState::Done => ("✓", Tone::Good),
        LinkState::Waiting => ("…", Tone::Busy),
        LinkState::Blocked => ("✗", Tone::Bad),
        LinkState::Later => ("·", Tone::Plain),
    }
}

/// `3 Failed, 1 Pulling, 8 Running`; `none` when there are none.
pub(super) fn counts(counts: &PairCounts) -> Cell {
    let present = PairState::ALL
        .iter()
        .copied()
        .filter(|state| counts.of(*state) > 0);
    let words: Vec<String> = present
        .clone()
        .map(|state| format!("{} {state}", counts.of(state)))
        .collect();
    match present.clone().next() {
        Some(worst) => toned(words.join(", "), pair_tone(worst)),
        None => plain("none"),
    }
}

/// `1 device`, `12 devices`.
pub(super) fn plural(n: u64, word: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {word}{s}")
}
