//! Pieces that several pages share.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_protocol::Cause;
use fleet_protocol::state::PullProgress;
use maud::{Markup, html};

use super::icon::{Icon, Tone, icon, of_device, of_pair};
use super::time;
use crate::fleet::view::{DeviceState, Link, LinkState, PairCounts, PairState, PairView, Problem};
use crate::fleet::words;
use crate::logs::ansi;

/// An icon and a word in the tone of a state.
pub(super) fn badge(which: Icon, tone: Tone, word: &str) -> Markup {
    html! { span class={ "state " (tone.class()) } { (icon(which)) span { (word) } } }
}

/// The state of a pair: its word, and the agent's own word where this build does not know it.
pub(super) fn pair_state(view: &PairView) -> Markup {
    let (which, tone) = of_pair(view.state);
    match (&view.phase, view.state) {
        (Some(phase), PairState::Unknown) => badge(which, tone, &format!("Unknown: {phase}")),
        _ => badge(which, tone, view.state.as_str()),
    }
}

pub(super) fn device_state(state: DeviceState) -> Markup {
    let (which, tone) = of_device(state);
    badge(which, tone, state.as_str())
}

/// A sentence with `what is typed` between backticks set as such. Unpaired backticks stay as they are. It may hold words of a
/// container, so what would act in it is shown instead.
pub(super) fn prose(text: &str) -> Markup {
    let text = ansi::plain(text);
    let parts: Vec<&str> = text.split('`').collect();
    let whole = parts.len() % 2 == 1;
    html! {
        @if whole {
            @for (index, part) in parts.iter().enumerate() { @if index % 2 == 1 { code { (part) } } @else { (part) } }
        } @else { (text) }
    }
}

/// State, cause and age on one line: `Failed · image-not-found · 4 min`.
pub(super) fn pair_line(view: &PairView, now: DateTime<Utc>) -> Markup {
    html! {
        (pair_state(view))
        @if let Some(step) = &view.init { span.sep { " · " } span { (words::init(step)) } }
        @if let Some(cause) = &view.cause { span.sep { " · " } span.kind { (cause.kind) } }
        @if let Some(crash_loop) = &view.crash_loop { span.sep { " · " } span { (words::restarts(crash_loop)) }
            @if let Some(at) = crash_loop.next_restart_at.filter(|_| view.device_state == DeviceState::Online) { span.quiet { ", next " (time::until(at, now)) } } }
        @if let Some(generation) = older(view) { span.sep { " · " } span { "generation " (generation) " goes on running" } }
        @if let Some(since) = view.since { span.sep { " · " } span.quiet { (time::age(since, now)) } }
        @if view.device_state != DeviceState::Online {
            span.sep { " · " } span.quiet { "device " (view.device_state.as_str().to_lowercase()) ": as it said last" }
        }
        @if let Some(progress) = &view.progress { (pull_progress(progress)) }
    }
}

/// The generation that runs although another one was taken up, and is not being stopped.
pub(super) fn older(view: &PairView) -> Option<u64> {
    let generation = view.running.as_ref()?.generation;
    let stopping = matches!(view.state, PairState::Upgrading | PairState::Removing);
    (Some(generation) != view.observed_generation && !stopping).then_some(generation)
}

/// Why it is as it is, in a cell of a table, and the way to its logs where that is no good news.
pub(super) fn why(view: &PairView) -> Markup {
    html! {
        @match &view.cause {
            Some(cause) => span.clip { (prose(&cause.detail)) },
            None => @match holds(view) { Some(link) => span.clip { (prose(&link.text)) }, None => span.quiet { "–" } },
        }
        @if view.crash_loop.is_some() || view.cause.as_ref().is_some_and(has_words) { " " (logs_link(view)) }
    }
}

/// What holds a pair up that has no cause of its own: it is stuck, waits for its device, or cannot be read.
fn holds(view: &PairView) -> Option<&Link> {
    let of = |state: LinkState| view.chain.iter().find(|link| link.state == state);
    match view.state {
        PairState::Stuck | PairState::Unreadable | PairState::Unknown => of(LinkState::Blocked),
        PairState::Waiting | PairState::Removing => of(LinkState::Waiting),
        _ => None,
    }
}

/// A container ran and ended, so that its log says more; a pull that failed is no such cause.
pub(super) fn has_words(cause: &Cause) -> bool {
    cause.exit.is_some() || words::failed_init(cause).is_some() || !cause.log.is_empty()
}

/// The way to a deployment's logs on a device: those of the init container that failed, where one did.
pub(super) fn logs_link(view: &PairView) -> Markup {
    let init = view.cause.as_ref().and_then(words::failed_init);
    html! { a.logs href=(logs_address(&view.deployment, &view.device, init)) { "View logs" span.aside { " of " (view.deployment) " on " (view.device) } } }
}

pub(super) fn logs_address(deployment: &str, device: &str, init: Option<&str>) -> String {
    let place = super::logs::place(deployment, device);
    init.map_or_else(|| place.clone(), |init| format!("{place}?init={}", encoded(init)))
}

/// How far a pull is, in layers and bytes.
pub(super) fn pull_progress(progress: &PullProgress) -> Markup {
    let layers = format!("{} of {} layers", progress.layers_done, progress.layers_total);
    html! {
        span.pull {
            @if progress.layers_total > 0 {
                progress value=(progress.layers_done) max=(progress.layers_total) aria-label=(layers) {}
            }
            span.quiet.num {
                @if progress.layers_total > 0 { (layers) } @else { "layers not known yet" }
                @if let Some(bytes) = progress.bytes { " · " (size(bytes)) }
            }
        }
    }
}

/// Bytes in the unit that a person would say: `12.4 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// Digits in groups of three: `10,000`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 device`, `3 devices`.
pub(super) fn plural(n: u64, word: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {word}{s}", number(n))
}

/// A bar of counts, each part as wide as its share. Each part is also a word elsewhere, so it is hidden from readers.
pub(super) fn bar(parts: &[(u64, Tone)]) -> Markup {
    let total: u64 = parts.iter().map(|(n, _)| n).sum();
    let mut at = 0;
    let widths = parts.iter().filter(|(n, _)| *n > 0).map(|(n, tone)| {
        // At least 8 of 1000, so that one failure among 10,000 is seen.
        let width = (n * 1000 / total.max(1)).max(8);
        let start = at;
        at += width;
        (start, width, *tone)
    });
    let widths: Vec<_> = widths.collect();
    html! {
        svg.bar viewBox={ "0 0 " (at.max(1)) " 8" } preserveAspectRatio="none" aria-hidden="true" {
            @for (start, width, tone) in widths {
                rect class=(tone.class()) x=(start) y="0" width=(width) height="8" {}
            }
        }
    }
}

pub(super) fn pair_bar(counts: &PairCounts) -> Markup {
    let mut parts: Vec<(u64, Tone)> = Vec::new();
    for (n, tone) in PairState::ALL
        .iter()
        .map(|state| (counts.of(*state), of_pair(*state).1))
    {
        match parts.last_mut() {
            Some((sum, last)) if *last == tone => *sum += n,
            _ => parts.push((n, tone)),
        }
    }
    bar(&parts)
}

/// Every state that occurs, with its count, in the order of urgency.
pub(super) fn pair_counts(counts: &PairCounts) -> Markup {
    html! {
        span.counts {
            @for state in PairState::ALL.iter().copied().filter(|state| counts.of(*state) > 0) {
                @let (which, tone) = of_pair(state);
                span class={ "count " (tone.class()) } { (icon(which)) span.num { (number(counts.of(state))) } " " span { (state.as_str()) } }
            }
            @if counts.total == 0 { span.quiet { "none" } }
        }
    }
}

pub(super) fn labels(labels: &BTreeMap<String, String>) -> Markup {
    html! {
        @if labels.is_empty() { span.quiet { "–" } } @else {
            span.labels { @for (key, value) in labels { code.label { (key) "=" (value) } " " } }
        }
    }
}

/// An image reference that breaks where a person would break it.
pub(super) fn image(image: &str) -> Markup {
    html! {
        @if image.is_empty() { span.quiet { "–" } } @else {
            code { @for part in image.split_inclusive(['/', '@']) { (part) wbr; } }
        }
    }
}

/// Causes that are not about a pair: health of a device.
pub(super) fn causes(title: &str, causes: &[Cause]) -> Markup {
    html! {
        @if !causes.is_empty() {
            section.panel.warn aria-label=(title) {
                h2 { (title) }
                ul.plain { @for cause in causes { li { (badge(Icon::Warning, Tone::Warn, &cause.kind)) p { (prose(&cause.detail)) } } } }
            }
        }
    }
}

/// What cannot be read.
pub(super) fn problems(problems: &[Problem], now: DateTime<Utc>) -> Markup {
    html! {
        @if !problems.is_empty() {
            section.panel.bad aria-label="Cannot be read" {
                h2 { "Cannot be read" }
                ul.plain {
                    @for problem in problems {
                        li {
                            (badge(Icon::Unreadable, Tone::Bad, &problem.kind))
                            span.sep { " · " } code { (problem.bucket) "/" (problem.key) } span.sep { " · " }
                            span.quiet { (time::age(problem.since, now)) }
                            p { (prose(&problem.detail)) }
                        }
                    }
                }
            }
        }
    }
}

/// A name and a value in a list of facts; nothing when there is no value.
pub(super) fn fact(name: &str, value: Option<Markup>) -> Markup {
    html! { @if let Some(value) = value { div { dt { (name) } dd { (value) } } } }
}

/// A path below the dashboard. Names come from KV keys that were checked, and are encoded all the same.
pub(super) fn path(parts: &[&str]) -> String {
    let mut path = String::new();
    for part in parts {
        path.push('/');
        path.push_str(&encoded(part));
    }
    path
}

/// Percent-encoded for a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The way back up, for pages below another.
pub(super) fn crumbs(parts: &[(&str, String)]) -> Markup {
    html! {
        nav.crumbs aria-label="Where this is" {
            @for (word, href) in parts { a href=(href) { (word) } (icon(Icon::Chevron)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_as_a_person_writes_them() {
        assert_eq!(
            [0, 999, 1000, 10_000, 1_234_567].map(number),
            ["0", "999", "1,000", "10,000", "1,234,567"]
        );
        assert_eq!(
            [0, 1023, 1024, 13_002_342].map(size),
            ["0 B", "1023 B", "1.0 KiB", "12.3 MiB"]
        );
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
    }

    #[test]
    fn a_path_cannot_leave_its_place() {
        assert_eq!(path(&["devices", "../x?y#z"]), "/devices/..%2Fx%3Fy%23z");
    }
}
