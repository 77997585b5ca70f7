//! `logs`: the lines on the output, and what is to be said about them on the error stream, so that a pipe gets nothing but lines.

use super::Context;
use super::args::{LogFormat, LogsArgs};
use super::client::encoded;
use super::error::CtlError;
use super::terminal::safe;
use crate::api::types::LogAnswer;
use crate::logs::ansi::{Line, shown_instead};

pub(super) fn run(args: &LogsArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    let object = format!("logs of {} on {}", args.deployment, args.device);
    let answer: LogAnswer = context.client.get(&object, &address(args))?;
    if args.output == LogFormat::Json {
        return context.terminal.print(&json(&answer));
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

/// JSON in which nothing acts on a terminal: what would is within strings only, and is escaped there.
fn json(answer: &LogAnswer) -> String {
    let text = serde_json::to_string_pretty(answer).expect("answers have string keys only");
    let mut safe = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c == '\n' || shown_instead(c).is_none() {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe.push('\n');
    safe
}
