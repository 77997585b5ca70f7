//! Saying that a long step is still at work: a line that moves on a terminal, a plain line every few seconds in a pipe.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const EVERY: Duration = Duration::from_secs(5);
const LONGEST_DETAIL: usize = 90;

/// Progress of one step; call [`Progress::tick`] often.
pub struct Progress {
    title: String,
    start: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins to show `title`.
    pub fn start(title: &str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg:.dim}");
            let bar = ProgressBar::new_spinner().with_style(style.expect("the template is right"));
            bar.with_prefix(title.to_owned())
        });
        if bar.is_none() {
            eprintln!("{title} …");
        }
        Self {
            title: title.to_owned(),
            start: Instant::now(),
            last_line: Instant::now(),
            bar,
        }
    }

    /// Shows that the step goes on; `detail` is asked only when something is going to be shown.
    pub fn tick(&mut self, detail: impl FnOnce() -> String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(shorten(&detail()));
                bar.tick();
            }
            None if self.last_line.elapsed() >= EVERY => {
                self.last_line = Instant::now();
                eprintln!(
                    "{} … {} s  {}",
                    self.title,
                    self.start.elapsed().as_secs(),
                    shorten(&detail())
                );
            }
            None => {}
        }
    }

    /// Ends it with one line that stays.
    pub fn finish(self, outcome: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!(
            "{}: {outcome} ({:.1} s)",
            self.title,
            self.start.elapsed().as_secs_f64()
        );
    }
}

/// One line of plain text: a console's colours and cursor movements would move ours.
fn shorten(text: &str) -> String {
    let plain = without_escapes(text);
    let text = plain.trim();
    if text.chars().count() <= LONGEST_DETAIL {
        return text.to_owned();
    }
    let head: String = text.chars().take(LONGEST_DETAIL - 1).collect();
    format!("{head}…")
}

/// `text` without ANSI escape sequences and other control characters.
fn without_escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            if characters.next_if_eq(&'[').is_some() {
                // A control sequence ends with a character from @ to ~.
                let _ = characters.find(|c| ('@'..='~').contains(c));
            }
        } else if !character.is_control() {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consoles_colours_do_not_reach_ours() {
        assert_eq!(
            shorten("[\u{1b}[0;32m  OK  \u{1b}[0m] Mounted\r"),
            "[  OK  ] Mounted"
        );
        assert_eq!(shorten("\u{1b}[K"), "");
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        assert_eq!(shorten(" short \n"), "short");
        let long = shorten(&"ü".repeat(200));
        assert_eq!(long.chars().count(), LONGEST_DETAIL);
        assert!(long.ends_with('…'));
    }
}
