//! Log lines: one each on standard error, with the priority in front as sd-daemon(3) wants it when journald
//! reads them. Small on purpose: the usual subscriber with filters costs more memory than the rest of
//! the agent's logic.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes the agent's own lines from `level` on, and other crates' warnings and errors.
#[derive(Debug)]
pub struct JournalLines {
    level: Level,
    for_journald: bool,
}

impl JournalLines {
    /// Lines from this level on. `for_journald` puts the priority in front.
    #[must_use]
    pub fn new(level: Level, for_journald: bool) -> Self {
        Self { level, for_journald }
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl Subscriber for JournalLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = if metadata.target().starts_with("fleet") {
            self.level
        } else {
            Level::WARN.min(self.level)
        };
        metadata.is_event() && *metadata.level() <= most
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = line.text();
        let mut to = std::io::stderr().lock();
        // Nobody is left to tell when standard error is closed.
        let _ = match self.for_journald {
            true => writeln!(to, "<{}>{text}", priority(*event.metadata().level())),
            false => writeln!(to, "{text}"),
        };
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A line being gathered: the message first, then the fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    /// Without line breaks: a message from outside must not pass for two.
    fn text(self) -> String {
        let mut text = self.message;
        text.push_str(&self.fields);
        text.replace(|c: char| c.is_control(), " ")
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.fields, " {}={value}", field.name());
    }
}
