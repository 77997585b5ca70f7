//! `logs`: the lines on the output, and what is to be said about them on the error stream, so that a pipe gets nothing but lines.

use super::args::{LogFormat, LogsArgs};
use super::client::encoded;
use super::error::CtlError;
use super::terminal::safe;
use super::{Context, json};
use crate::api::types::LogAnswer;
use crate::logs::ansi::Line;

pub(super) fn run(args: &LogsArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    let object = format!("logs of {} on {}", args.deployment, args.device);
    let answer: LogAnswer = context.client.get(&object, &address(args))?;
    if args.output == LogFormat::Json {
        return context.terminal.line(&json::pretty(&answer));
    }
    let chunk = &answer.chunk;
    if chunk.lines.is_empty() {
        return context.terminal.note(&empty(args, chunk.truncated));
    }
    if let Some(note) = &answer.note {
        context.terminal.note(&safe(&format!("fleetctl: {note}")))?;
    }
    if chunk.truncated {
        context.terminal.note(&format!(
            "fleetctl: older lines are not shown; these are the last {}",
            chunk.lines.len()
        ))?;
    }
    let coloured = context.terminal.is_coloured();
    let text: String = chunk
        .lines
        .iter()
        .map(|raw| {
            let line = Line::read(raw);
            let text = if coloured { line.coloured() } else { line.plain() };
            text + "\n"
        })
        .collect();
    context.terminal.print(&text)
}

fn address(args: &LogsArgs) -> String {
    let init = args
        .init
        .as_ref()
        .map_or_else(String::new, |init| format!("&init={}", encoded(init)));
    format!(
        "/deployments/{}/devices/{}/logs?lines={}&previous={}&timestamps={}{init}",
        encoded(&args.deployment),
        encoded(&args.device),
        args.lines,
        args.previous,
        args.timestamps
    )
}

/// What is said instead of lines. `lost`: there were some.
fn empty(args: &LogsArgs, lost: bool) -> String {
    let whose = match &args.init {
        Some(init) => format!("init container {init} of {}", args.deployment),
        None => args.deployment.clone(),
    };
    let device = &args.device;
    safe(&match (lost, args.previous) {
        // A journal that lost this run lost every one before it.
        (true, _) => format!(
            "fleetctl: {whose} ran on {device}, and the device's journal no longer has its lines; `fleetctl describe pair {}/{device}` has those that came with a failure",
            args.deployment
        ),
        (false, true) => format!("fleetctl: {whose} wrote nothing to its output in that run on {device}"),
        (false, false) => format!(
            "fleetctl: {whose} has written nothing to its output in this run on {device}; --previous shows the run before"
        ),
    })
}
