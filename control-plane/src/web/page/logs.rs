//! What a deployment's container wrote on a device.

use chrono::{DateTime, Utc};
use fleet_protocol::DeploymentName;
use fleet_protocol::logs::{DEFAULT_LINES, LogChunk, MAX_LINES};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Body, Section};
use super::icon::{Icon, icon};
use super::lines::log_box;
use super::parts::{crumbs, encoded, number, pair_line, path, plural, prose};
use super::time;
use crate::deploy::companion::Placed;
use crate::deploy::companion::logs::{LogQueryError, LogsOf};
use crate::fleet::view::PairView;
use crate::fleet::words;
use crate::logs::ansi::{self, Line};
use crate::logs::search::Search;
use crate::web::route::Gathered;

/// The choices of the form.
const CHOICES: [u32; 4] = [50, DEFAULT_LINES, 1_000, MAX_LINES];

/// What the form asks, as it stands in the address. What cannot be is as if it were not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::web) struct LogsFilter {
    lines: String,
    init: String,
    previous: String,
    timestamps: String,
    q: String,
}

impl LogsFilter {
    pub(in crate::web) fn lines(&self) -> u32 {
        self.lines
            .parse()
            .map_or(DEFAULT_LINES, |lines: u32| lines.clamp(1, MAX_LINES))
    }

    fn init(&self) -> Option<&str> {
        Some(self.init.trim()).filter(|init| !init.is_empty())
    }

    /// The same where it is a name: only that goes into a command.
    fn init_name(&self) -> Option<DeploymentName> {
        self.init()?.parse().ok()
    }

    /// The same as a person may read it, whatever stood in the address.
    fn init_shown(&self) -> String {
        self.init().map(ansi::plain).unwrap_or_default()
    }

    /// What is looked for, in the words in which a line is shown.
    fn sought(&self) -> String {
        ansi::plain(self.q.trim())
    }

    fn previous(&self) -> bool {
        is_set(&self.previous)
    }

    /// Whose logs they are; `None` when a name is none.
    pub(in crate::web) fn of(&self, deployment: &str, device: &str) -> Option<LogsOf> {
        Some(LogsOf {
            placed: Placed {
                device: device.parse().ok()?,
                deployment: deployment.parse().ok()?,
            },
            init: self.init().map(str::to_owned),
            previous: self.previous(),
            timestamps: is_set(&self.timestamps),
        })
    }

    /// The address of the same with another number of lines, of the run before, or of all lines.
    fn address(&self, view: &PairView, change: impl FnOnce(&mut Self)) -> String {
        let mut other = self.clone();
        change(&mut other);
        let given = [
            ("lines", &other.lines),
            ("init", &other.init),
            ("previous", &other.previous),
            ("timestamps", &other.timestamps),
            ("q", &other.q),
        ];
        let mut address = place(&view.deployment, &view.device);
        for (index, (name, value)) in given.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
            address.push(if index == 0 { '?' } else { '&' });
            address.push_str(&format!("{name}={}", encoded(value)));
        }
        address
    }

    /// The same in a terminal.
    fn command(&self, view: &PairView) -> String {
        let mut command = format!("fleetctl logs {} --device {}", view.deployment, view.device);
        if let Some(init) = self.init_name() {
            command.push_str(&format!(" --init {init}"));
        }
        if self.previous() {
            command.push_str(" --previous");
        }
        if is_set(&self.timestamps) {
            command.push_str(" --timestamps");
        }
        command.push_str(&format!(" --lines {}", self.lines()));
        command
    }
}

fn is_set(value: &str) -> bool {
    !matches!(value, "" | "0" | "false" | "no" | "off")
}

/// The address of the logs of a deployment on a device.
pub(super) fn place(deployment: &str, device: &str) -> String {
    path(&["deployments", deployment, "devices", device, "logs"])
}

/// The logs, or why there are none.
pub(in crate::web) fn logs(
    view: &PairView,
    filter: &LogsFilter,
    gathered: &Gathered,
    now: DateTime<Utc>,
) -> Body {
    let title = format!("Logs of {} on {}", view.deployment, view.device);
    let pair = path(&["deployments", &view.deployment, "devices", &view.device]);
    let main = html! {
        (crumbs(&[("Deployments", "/deployments".to_owned()), (&view.deployment, path(&["deployments", &view.deployment])), (&view.device, pair.clone())]))
        h1 { "Logs" span.quiet { " of " } a href=(pair) { (view.deployment) span.quiet { " on " } (view.device) } }
        p.status { (pair_line(view, now)) }
        (form(view, filter))
        @match gathered {
            Gathered::Lines(chunk) => (lines(view, filter, chunk, "read ", now)),
            Gathered::Old(chunk, error) => { (none(view, filter, error, now)) (lines(view, filter, chunk, "as of ", now)) }
            Gathered::Nothing(error) => { (none(view, filter, error, now)) (last_words(view, now)) }
        }
        p.quiet { "The same in the terminal: " code { (filter.command(view)) } }
    };
    let spoken = format!("{title}: {}", view.state);
    Body::new(Section::Deployments, title, spoken, main)
}

fn form(view: &PairView, filter: &LogsFilter) -> Markup {
    let lines = filter.lines();
    let mut choices = CHOICES.to_vec();
    choices.push(lines);
    choices.sort_unstable();
    choices.dedup();
    let chosen = filter.init_shown();
    let unknown = !chosen.is_empty() && !view.init_containers.contains(&chosen);
    html! {
        form.filter method="get" action=(place(&view.deployment, &view.device)) role="search" aria-label="Logs" {
            label { span { "Search" } input type="search" name="q" value=(filter.sought()) placeholder="error" maxlength=(Search::MAX) autocomplete="off" autocapitalize="none" spellcheck="false"; }
            @if !view.init_containers.is_empty() || unknown {
                label { span { "Container" } select name="init" {
                    option value="" selected[chosen.is_empty()] { "main" }
                    @for init in &view.init_containers { option value=(init) selected[*init == chosen] { "init: " (init) } }
                    @if unknown { option value=(&chosen) selected { "init: " (&chosen) } }
                } }
            }
            label { span { "Run" } select name="previous" {
                option value="" selected[!filter.previous()] { "newest" }
                option value="1" selected[filter.previous()] { "the one before" }
            } }
            label { span { "Lines" } select name="lines" {
                @for choice in choices { option value=(choice) selected[choice == lines] { "last " (number(choice.into())) } }
            } }
            label { span { "Times" } select name="timestamps" {
                option value="" selected[!is_set(&filter.timestamps)] { "hidden" }
                option value="1" selected[is_set(&filter.timestamps)] { "shown, UTC" }
            } }
            button type="submit" { "Show" }
            @if !filter.sought().is_empty() { a.clear href=(filter.address(view, |filter| filter.q.clear())) { "Show all lines" } }
        }
    }
}

/// `read`: what stands before the time at which they were read.
fn lines(view: &PairView, filter: &LogsFilter, chunk: &LogChunk, read: &str, now: DateTime<Utc>) -> Markup {
    let all: Vec<Line> = chunk.lines.iter().map(|line| Line::read(line)).collect();
    let search = Search::new(&filter.sought());
    let found: Vec<&Line> = match &search {
        Some(search) => all.iter().filter(|line| search.finds(line)).collect(),
        None => all.iter().collect(),
    };
    html! {
        section aria-labelledby="lines" {
            div.heading {
                h2 #lines { (heading(filter, all.len(), found.len())) }
                p.quiet { (read) (time::ago(chunk.captured_at, now)) }
            }
            @if !all.is_empty() && filter.init().is_none() && !filter.previous() && let Some(note) = words::lines_of_older(view) { p.cut { "Of an older version: " (note) "." } }
            @if chunk.truncated && !all.is_empty() { p.cut { "Older lines are not shown." (more(view, filter, all.len())) } }
            @if all.is_empty() { (empty(view, filter, chunk.truncated)) }
            @else if found.is_empty() { p.empty { "No line holds " code { (filter.sought()) } "." @if chunk.truncated { " It may stand further back." } } }
            @else { (log_box("Log", found.into_iter(), search.as_ref())) }
        }
        @if all.is_empty() { (last_words(view, now)) }
    }
}

fn heading(filter: &LogsFilter, all: usize, found: usize) -> String {
    let all = plural(all as u64, "line");
    let init = filter.init().map(ansi::plain);
    let which = match (init, filter.previous()) {
        (Some(init), true) => format!(" of init container {init}, the run before"),
        (Some(init), false) => format!(" of init container {init}"),
        (None, true) => " of the run before".to_owned(),
        (None, false) => String::new(),
    };
    let sought = filter.sought();
    if sought.is_empty() {
        format!("{all}{which}")
    } else {
        let verb = if found == 1 { "matches" } else { "match" };
        format!("{} of {all}{which} {verb} “{sought}”", number(found as u64))
    }
}

/// The way to more lines. Where fewer came than were asked for there are no more: the journal lost them, or they did not fit an answer.
fn more(view: &PairView, filter: &LogsFilter, came: usize) -> Markup {
    let full = came >= filter.lines() as usize;
    let next = CHOICES
        .into_iter()
        .find(|choice| full && *choice > filter.lines());
    html! {
        @if let Some(next) = next {
            " " a href=(filter.address(view, |filter| filter.lines = next.to_string())) { "Show the last " (number(next.into())) }
        }
    }
}

/// What is said instead of lines. `lost`: there were some.
fn empty(view: &PairView, filter: &LogsFilter, lost: bool) -> Markup {
    html! {
        // A journal that lost this run lost every one before it: there is nothing to look at.
        @if lost { p.empty {
            "It ran; the device's journal no longer has its lines. A journal is in the device's memory and short: newer lines of all containers push older ones out, and a power cut takes all."
        } }
        @else { p.empty {
            @if filter.previous() { "It wrote nothing in that run." } @else { "It has written nothing in this run." }
            " What a container writes to its standard output and standard error is shown here; what it writes to a file is not."
            @if !filter.previous() { " " a href=(filter.address(view, |filter| filter.previous = "1".to_owned())) { "Look at the run before" } }
        } }
    }
}

/// Why there are no lines, or none that are newer.
fn none(view: &PairView, filter: &LogsFilter, error: &LogQueryError, now: DateTime<Utc>) -> Markup {
    let (which, title) = match error {
        LogQueryError::DeviceOffline { .. } => (Icon::Offline, "The device is offline"),
        LogQueryError::NotListening { .. } => (Icon::Offline, "The device takes no commands"),
        LogQueryError::TimedOut { .. } => (Icon::Clock, "No answer in time"),
        LogQueryError::NotExposed { .. } => (Icon::Minus, "No logs here"),
        LogQueryError::Refused { cause, .. } if cause.kind == "logs-no-previous" => {
            (Icon::Minus, "There is no earlier run")
        }
        LogQueryError::Refused { .. } => (Icon::Warning, "The device says no"),
        _ => (Icon::Warning, "The log cannot be read"),
    };
    html! {
        div.banner.warn role="status" {
            (icon(which))
            p {
                strong { (title) }
                @if let Some(since) = error.since() { " · " (time::ago(since, now)) }
                " · " (prose(&error.to_string()))
                @if filter.previous() { " " a href=(filter.address(view, |filter| filter.previous.clear())) { "Look at the newest run" } }
            }
        }
    }
}

/// The lines that came with a failure: they are there whatever became of the device and its journal.
fn last_words(view: &PairView, now: DateTime<Utc>) -> Markup {
    html! {
        @if let Some(cause) = view.cause.as_ref().filter(|cause| !cause.log.is_empty()) {
            @let last: Vec<Line> = cause.log.iter().map(|line| Line::read(line)).collect();
            section aria-labelledby="last-words" {
                h2 #last-words { "What it reported with its failure" @if let Some(since) = view.since { span.quiet { " · " (time::ago(since, now)) } } }
                (log_box("Last lines before the failure", last.iter(), None))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_shows_the_usual() {
        for (lines, count) in [
            ("", 200),
            ("x", 200),
            ("-1", 200),
            ("0", 1),
            ("99999", 5_000),
            ("7", 7),
        ] {
            let filter = LogsFilter {
                lines: lines.to_owned(),
                ..LogsFilter::default()
            };
            assert_eq!(filter.lines(), count, "{lines}");
        }
        assert_eq!(LogsFilter::default().of("No Name", "pi-1"), None);
    }
}
