//! `describe`: all about one thing, in the order in which a person asks.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use fleet_protocol::Cause;
use serde::Serialize;

use super::args::{AnswerFormat, DescribeArgs, One};
use super::client::encoded;
use super::error::CtlError;
use super::get::{self, generation, labels, state_word};
use super::table::{counts, device_tone, line, link_mark, pair_tone, plain, plural, render};
use super::terminal::{Terminal, safe};
use super::{Context, json};
use crate::fleet::view::{DeploymentView, DeviceState, DeviceView, PairState, PairView, Problem};
use crate::fleet::words;
use crate::logs::ansi::{self, Line};
use crate::web::span;

/// Most pairs whose chain a deployment's description shows: beyond that, they are alike.
const CHAINS: usize = 5;

pub(super) fn run(args: &DescribeArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    let client = &context.client;
    match args.kind {
        One::Device => {
            let path = format!("/devices/{}", encoded(&args.name));
            let view: DeviceView = client.get(&format!("device/{}", args.name), &path)?;
            show(args, &view, device, context)
        }
        One::Deployment => show(args, &get::deployment(client, &args.name)?, deployment, context),
        One::Pair => {
            let (deployment, device) = get::pair_name(&args.name)?;
            show(args, &get::pair(client, deployment, device)?, pair, context)
        }
    }
}

/// For programs the view itself, for people the `words` on it.
fn show<T: Serialize>(
    args: &DescribeArgs,
    view: &T,
    words: fn(&T, DateTime<Utc>, &Terminal) -> String,
    context: &mut Context<'_>,
) -> Result<(), CtlError> {
    match args.output {
        AnswerFormat::Json => context.terminal.line(&json::pretty(view)),
        AnswerFormat::Text => {
            let text = words(view, (context.now)(), context.terminal);
            context.terminal.print(&text)
        }
    }
}

/// A name and a value, the values in one column.
fn fact(text: &mut String, name: &str, value: impl AsRef<str>) {
    let value = safe(value.as_ref());
    if !value.is_empty() {
        let _ = writeln!(text, "{name:<14} {value}");
    }
}

fn for_how_long(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    since.map_or_else(String::new, |since| format!(", for {}", span(now - since)))
}

fn ago(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    at.map_or_else(String::new, |at| format!("{} ago", span(now - at)))
}

fn device(view: &DeviceView, now: DateTime<Utc>, terminal: &Terminal) -> String {
    let summary = &view.summary;
    let mut text = String::new();
    fact(&mut text, "Device", &summary.id);
    let state = terminal.paint(summary.state.as_str(), device_tone(summary.state));
    let detail = if view.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", safe(&view.detail))
    };
    let _ = writeln!(
        text,
        "{:<14} {state}{}{detail}",
        "State",
        for_how_long(summary.since, now)
    );
    fact(&mut text, "Labels", labels(&summary.labels));
    fact(&mut text, "Last heartbeat", ago(summary.last_heartbeat_at, now));
    if let Some(info) = &view.info {
        fact(
            &mut text,
            "System",
            format!("{}, kernel {}, {}", info.os, info.kernel, info.arch),
        );
        fact(&mut text, "Podman", &info.podman_version);
        fact(
            &mut text,
            "Agent",
            format!(
                "{}, started {}",
                info.agent_version,
                ago(Some(info.agent_started_at), now)
            ),
        );
        fact(&mut text, "Boot", &info.boot_id);
        let free = view.heartbeat.as_ref();
        let of = |free: Option<u64>, total: u64| {
            free.map_or_else(
                || format!("{total} MiB"),
                |free| format!("{free} of {total} MiB free"),
            )
        };
        fact(
            &mut text,
            "Memory",
            of(free.map(|beat| beat.memory_available_mib), info.memory_mib),
        );
        fact(
            &mut text,
            "Data disk",
            of(free.map(|beat| beat.data_free_mib), info.data_mib),
        );
    }
    causes(&mut text, &view.health);
    problems(&mut text, &view.problems, now);
    text.push_str("\nContainers:\n");
    if view.deployments.is_empty() {
        text.push_str("  none: no deployment's selector matches this device\n");
    }
    for pair in &view.deployments {
        let _ = writeln!(text, "\n  {}", heading(&pair.deployment, pair, now, terminal));
        chain(&mut text, pair, now, terminal);
    }
    text
}

fn deployment(view: &DeploymentView, now: DateTime<Utc>, terminal: &Terminal) -> String {
    let summary = &view.summary;
    let mut text = String::new();
    fact(&mut text, "Deployment", &summary.name);
    if summary.deleted {
        fact(&mut text, "Deleted", "being removed from its devices");
    }
    fact(&mut text, "Labels", labels(&summary.labels));
    fact(&mut text, "Image", &summary.image);
    fact(
        &mut text,
        "Selector",
        format!(
            "{} ({} now)",
            summary.selector,
            plural(summary.selected, "device")
        ),
    );
    fact(
        &mut text,
        "Generation",
        format!(
            "{}, changed {}",
            summary.generation,
            ago(Some(summary.changed_at), now)
        ),
    );
    let _ = write!(
        text,
        "{:<14} {}",
        "Containers",
        line(terminal, &[counts(&summary.pairs)], &[])
    );
    problems(&mut text, &view.problems, now);
    let unwell: Vec<&PairView> = view
        .devices
        .iter()
        .filter(|pair| !matches!(pair.state, PairState::Running | PairState::Finished))
        .collect();
    if unwell.is_empty() {
        let rest = match (summary.pairs.total, summary.pairs.finished) {
            (0, _) => "On no device.",
            (_, 0) => "Every container runs.",
            _ => "Every container runs or is done.",
        };
        let _ = writeln!(text, "\n{rest}");
        return text;
    }
    text.push_str("\nNot running, the most urgent first:\n");
    for pair in unwell.iter().take(CHAINS) {
        let _ = writeln!(text, "\n  {}", heading(&pair.device, pair, now, terminal));
        chain(&mut text, pair, now, terminal);
    }
    let more = (summary.pairs.total - summary.pairs.well()).saturating_sub(CHAINS as u64);
    if more > 0 {
        let _ = writeln!(text, "\n  and {more} more: fleetctl get pairs {}", summary.name);
    }
    text
}

fn pair(view: &PairView, now: DateTime<Utc>, terminal: &Terminal) -> String {
    let mut text = String::new();
    fact(&mut text, "Deployment", &view.deployment);
    fact(
        &mut text,
        "Device",
        format!("{} ({})", view.device, view.device_state),
    );
    let state = terminal.paint(&safe(&state_word(view)), pair_tone(view.state));
    let step = view
        .init
        .as_ref()
        .map_or_else(String::new, |step| safe(&format!(" · {}", words::init(step))));
    let _ = writeln!(
        text,
        "{:<14} {state}{step}{}",
        "State",
        for_how_long(view.since, now)
    );
    fact(&mut text, "Generation", generation(view));
    fact(
        &mut text,
        "Desired image",
        view.desired_image.as_deref().unwrap_or_default(),
    );
    if let Some(running) = &view.running {
        fact(&mut text, "Running image", &running.image);
        fact(&mut text, "Digest", running.digest.as_deref().unwrap_or_default());
        fact(
            &mut text,
            "Unit",
            format!("{}, started {}", running.unit, ago(Some(running.started_at), now)),
        );
        fact(&mut text, "Invocation", &running.invocation_id);
    }
    if let Some(cutover) = &view.cutover {
        fact(&mut text, "Last change", words::replaced(cutover));
    }
    fact(&mut text, "Init containers", view.init_containers.join(" → "));
    if let Some(crash_loop) = &view.crash_loop {
        let next = crash_loop
            .next_restart_at
            .filter(|_| view.device_state == DeviceState::Online)
            .map_or_else(String::new, |at| format!(", next {}", next(at, now)));
        fact(
            &mut text,
            "Crash loop",
            format!("{}{next}", words::restarts(crash_loop)),
        );
    }
    if view.failed_tries > 0 {
        fact(&mut text, "Tries", format!("{} failed", view.failed_tries));
    }
    if let Some(at) = view
        .next_try_at
        .filter(|_| view.device_state == DeviceState::Online)
    {
        fact(&mut text, "Next try", next(at, now));
    }
    fact(&mut text, "Reported", ago(view.reported_at, now));
    problems(&mut text, &view.problems, now);
    text.push_str("\nWhy:\n");
    chain(&mut text, view, now, terminal);
    if !view.marks.is_empty() {
        text.push_str("\nPhases, by the device's clock:\n");
        let ends = view.marks.iter().skip(1).map(|mark| mark.at).chain([now]);
        let rows: Vec<_> = view
            .marks
            .iter()
            .zip(ends)
            .map(|(mark, end)| {
                vec![
                    plain(mark.phase.as_str()),
                    plain(mark.at.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
                    plain(span(end - mark.at)),
                ]
            })
            .collect();
        for row in render(terminal, &["PHASE", "ENTERED", "FOR"], &rows).lines() {
            let _ = writeln!(text, "  {row}");
        }
    }
    text
}

/// `web   Failed · image-not-found · 4 min`.
fn heading(name: &str, pair: &PairView, now: DateTime<Utc>, terminal: &Terminal) -> String {
    let mut said = vec![terminal.paint(&safe(&state_word(pair)), pair_tone(pair.state))];
    said.extend(pair.init.as_ref().map(|step| safe(&words::init(step))));
    said.extend(pair.cause.as_ref().map(|cause| safe(&cause.kind)));
    said.extend(pair.since.map(|since| span(now - since)));
    format!("{}   {}", safe(name), said.join(" · "))
}

/// desired → gate → phase → cause → unit → log → next, one a line; below a log its last lines.
fn chain(text: &mut String, pair: &PairView, now: DateTime<Utc>, terminal: &Terminal) {
    for link in &pair.chain {
        let (mark, tone) = link_mark(link.state);
        let mark = if link.kind == crate::fleet::view::LinkKind::Next {
            "→"
        } else {
            mark
        };
        let at = link
            .at
            .map_or_else(String::new, |at| format!(" ({})", when(at, now)));
        let _ = writeln!(
            text,
            "    {} {:<8} {}{at}",
            terminal.paint(mark, tone),
            link.kind,
            safe(&ansi::plain(&link.text))
        );
        for raw in &link.lines {
            let line = Line::read(raw);
            let line = if terminal.is_coloured() {
                line.coloured()
            } else {
                line.plain()
            };
            let _ = writeln!(text, "               │ {line}");
        }
    }
}

/// `4 min ago`, or `in 5 s` for the agent's next try.
fn when(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if at > now {
        format!("in {}", span(at - now))
    } else {
        format!("{} ago", span(now - at))
    }
}

/// When something comes next that may be due already.
fn next(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if at > now {
        format!("in {}", span(at - now))
    } else {
        "now".to_owned()
    }
}

fn causes(text: &mut String, causes: &[Cause]) {
    if !causes.is_empty() {
        text.push_str("\nHealth:\n");
    }
    for cause in causes {
        let _ = writeln!(text, "  {}: {}", safe(&cause.kind), safe(&cause.detail));
    }
}

fn problems(text: &mut String, problems: &[Problem], now: DateTime<Utc>) {
    if !problems.is_empty() {
        text.push_str("\nCannot be read:\n");
    }
    for problem in problems {
        let where_ = safe(&format!("{}/{}", problem.bucket, problem.key));
        let _ = writeln!(
            text,
            "  {where_}: {}, for {}\n    {}",
            safe(&problem.kind),
            span(now - problem.since),
            safe(&problem.detail)
        );
    }
}
