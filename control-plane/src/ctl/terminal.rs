//! Where output goes: to people on a terminal with colour and progress, to pipes without.

use std::io::Write;

use super::error::CtlError;
use crate::logs::ansi::shown_instead;

/// The two streams, and what they can show.
pub struct Terminal {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    colour: bool,
    progress: bool,
    shown: usize,
}

/// What a text says of a state, for its colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Bad,
    Warn,
    Busy,
    Good,
}

impl Terminal {
    /// `colour` for the output, `progress` for lines on the error stream that overwrite themselves.
    #[must_use]
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>, colour: bool, progress: bool) -> Self {
        Self {
            out,
            err,
            colour,
            progress,
            shown: 0,
        }
    }

    /// Writes text as it is.
    pub(super) fn print(&mut self, text: &str) -> Result<(), CtlError> {
        self.clear()?;
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CtlError> {
        self.print(&format!("{text}\n"))
    }

    /// Writes a line to the error stream.
    pub(super) fn note(&mut self, text: &str) -> Result<(), CtlError> {
        self.clear()?;
        writeln!(self.err, "{text}")?;
        Ok(())
    }

    /// Whether progress overwrites itself; else it should be a plain line now and then.
    pub(super) fn overwrites(&self) -> bool {
        self.progress
    }

    /// Shows how far something is: in place on a terminal, as a line elsewhere.
    pub(super) fn progress(&mut self, text: &str) -> Result<(), CtlError> {
        if !self.progress {
            return self.note(text);
        }
        self.clear()?;
        write!(self.err, "{text}")?;
        self.shown = text.chars().count();
        Ok(self.err.flush()?)
    }

    fn clear(&mut self) -> Result<(), CtlError> {
        if self.shown > 0 {
            self.shown = 0;
            write!(self.err, "\r\x1b[2K")?;
        }
        Ok(())
    }

    /// Whether the output shows colours.
    pub(super) fn is_coloured(&self) -> bool {
        self.colour
    }

    /// A text in the colour of a tone, where there is colour.
    pub(super) fn paint(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Busy => "34",
            Tone::Good => "32",
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// What came from a device or a person, without what would move the cursor, colour the terminal or reorder the text.
pub(super) fn safe(text: &str) -> String {
    let instead = |c: char| shown_instead(c).is_some() || c == '\t';
    text.chars()
        .map(|c| if instead(c) { '\u{fffd}' } else { c })
        .collect()
}
