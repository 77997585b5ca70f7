//! `lint`: manifests are checked where they are written; no server is asked.

use serde::Serialize;

use super::apply::read_all;
use super::args::{LintArgs, LintFormat};
use super::error::{CtlError, Exit};
use super::table::plural;
use super::terminal::{Terminal, Tone};
use super::{Context, json};
use crate::manifest::{Manifest, ManifestWarning};

/// One warning as JSON: a stable form for programs.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    path: &'a str,
    rule: &'a str,
    found: &'a str,
    why: &'a str,
    fix: &'a str,
}

impl<'a> Line<'a> {
    fn of(told: &'a ManifestWarning) -> Self {
        Self {
            file: &told.file,
            line: told.line,
            column: told.column,
            path: &told.warning.path,
            rule: &told.warning.rule,
            found: &told.warning.found,
            why: &told.warning.why,
            fix: &told.warning.fix,
        }
    }
}

pub(super) fn run(args: &LintArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    let manifests = read_all(&args.files)?;
    let count = warnings(&manifests).count() as u64;
    match args.output {
        LintFormat::Json => {
            let all: Vec<_> = warnings(&manifests).map(Line::of).collect();
            context.terminal.line(&json::pretty(&all))?;
        }
        LintFormat::Text => {
            tell(&manifests, context.terminal)?;
            let objects = plural(manifests.len() as u64, "object");
            context.terminal.line(&match count {
                0 => format!("{objects}, no warnings"),
                _ => format!("{objects}, {}", plural(count, "warning")),
            })?;
        }
    }
    refuse(args.strict, count)
}

/// Writes each warning once, as a compiler would.
pub(super) fn tell(manifests: &[Manifest], terminal: &mut Terminal) -> Result<(), CtlError> {
    for warning in warnings(manifests) {
        // The text is the customer's own file: control characters of it are made visible.
        let text: Vec<_> = warning.to_string().lines().map(super::terminal::safe).collect();
        let text = text.join("\n");
        let kind = format!("warning[{}]", warning.warning.rule);
        let painted = terminal.paint(&kind, Tone::Warn);
        terminal.note(&format!("{}\n", text.replacen(&kind, &painted, 1)))?;
    }
    Ok(())
}

/// With `--strict`, a warning ends it before anything is sent.
pub(super) fn refuse(strict: bool, warnings: u64) -> Result<(), CtlError> {
    if !strict || warnings == 0 {
        return Ok(());
    }
    Err(CtlError::new(
        Exit::Warned,
        format!(
            "{} in manifests, and --strict: nothing was sent",
            plural(warnings, "warning")
        ),
        "what init containers do has to bear being done again: they run before each start",
    )
    .next("write what `fix` says, or allow it on purpose with a comment: # fleet-lint: allow RULE"))
}

pub(super) fn warnings(manifests: &[Manifest]) -> impl Iterator<Item = &ManifestWarning> {
    manifests.iter().flat_map(|manifest| &manifest.warnings)
}
