//! What the server did of what was asked: a line each for people, one list for programs.

use super::args::AnswerFormat;
use super::error::CtlError;
use super::table::plural;
use super::{Terminal, json};
use crate::api::types::{ChangeAnswer, Outcome};

/// The answers to one command.
pub(super) struct Answers {
    /// What is told at the end, where it is not told at once.
    list: Option<Vec<ChangeAnswer>>,
}

impl Answers {
    pub(super) fn new(format: AnswerFormat) -> Self {
        let list = (format == AnswerFormat::Json).then(Vec::new);
        Self { list }
    }

    /// One more: people read it at once.
    pub(super) fn take(&mut self, answer: ChangeAnswer, terminal: &mut Terminal) -> Result<(), CtlError> {
        match &mut self.list {
            Some(list) => list.push(answer),
            None => told(&answer, terminal)?,
        }
        Ok(())
    }

    /// Something that is no answer of the server, for people; programs find it missing in the list.
    pub(super) fn say(&self, text: &str, terminal: &mut Terminal) -> Result<(), CtlError> {
        match &self.list {
            Some(_) => terminal.note(text),
            None => terminal.line(text),
        }
    }

    /// There are no more, also when it ended early: what was done is told in any case.
    pub(super) fn end(self, terminal: &mut Terminal) -> Result<(), CtlError> {
        self.list
            .map_or(Ok(()), |list| terminal.line(&json::pretty(&list)))
    }
}

/// `deployment/web created: generation 1 on 12 devices`, in kubectl's words.
fn told(answer: &ChangeAnswer, terminal: &mut Terminal) -> Result<(), CtlError> {
    let word = match answer.outcome {
        Outcome::Created => "created",
        Outcome::Changed => "configured",
        Outcome::Unchanged => "unchanged",
        Outcome::Deleted => "deleted",
    };
    let on = match answer.outcome {
        Outcome::Deleted => format!("from {}", plural(answer.devices, "device")),
        _ => format!(
            "generation {} on {}",
            answer.generation,
            plural(answer.devices, "device")
        ),
    };
    let dry = if answer.dry_run { " (dry run)" } else { "" };
    terminal.line(&format!("deployment/{} {word}{dry}: {on}", answer.name))?;
    if answer.devices == 0 && answer.outcome != Outcome::Deleted {
        terminal.note("  no device matches its selector now: see `fleetctl get devices -o wide`")?;
    }
    Ok(())
}
