//! The first screen: what needs a person, then counts by state, then the devices.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Body, Section, is_whole};
use super::icon::{Icon, Tone, icon, of_attention, of_device, of_pair};
use super::parts::{
    bar, device_state, encoded, has_words, labels, logs_address, number, pair_bar, pair_counts, path, plural,
    prose,
};
use super::time;
use crate::api::types::{DeviceList, ListQuery};
use crate::fleet::view::{
    Attention, AttentionKind, DeviceCounts, DeviceState, DeviceSummary, FleetView, PairState,
};

/// Devices on one page of the list.
const PER_PAGE: usize = 100;

/// What the form above the list asks, as it stands in the address. Words that mean nothing filter nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::web) struct DeviceFilter {
    q: String,
    l: String,
    state: String,
    phase: String,
    after: String,
}

impl DeviceFilter {
    pub(in crate::web) fn query(&self) -> ListQuery {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        ListQuery {
            l: given(&self.l),
            q: given(&self.q),
            phase: self.phase.parse().ok(),
            state: self.state.parse().ok(),
            limit: Some(PER_PAGE),
            after: given(&self.after),
        }
    }

    fn is_empty(&self) -> bool {
        let query = self.query();
        query.l.is_none() && query.q.is_none() && query.phase.is_none() && query.state.is_none()
    }

    /// The address of this list after a name; `None` is its beginning.
    fn address(&self, after: Option<&str>) -> String {
        let parts = [
            ("q", self.q.as_str()),
            ("l", &self.l),
            ("state", &self.state),
            ("phase", &self.phase),
        ];
        let given = parts.into_iter().chain(after.map(|after| ("after", after)));
        let pairs: Vec<_> = given
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        format!("/?{}#devices", pairs.join("&"))
    }
}

/// The first screen.
pub(in crate::web) fn fleet(
    view: &FleetView,
    list: &DeviceList,
    filter: &DeviceFilter,
    now: DateTime<Utc>,
) -> Body {
    let sentence = summary(view);
    let main = html! {
        h1.aside { "Fleet" }
        (attention(view, &sentence, now))
        @if is_empty(view) && !is_whole(&view.recovery) { (being_read()) } @else if is_empty(view) { (first_steps()) } @else {
            (counts(view))
            (devices(list, filter, now))
        }
    };
    Body::new(Section::Fleet, "Fleet", sentence, main)
}

fn is_empty(view: &FleetView) -> bool {
    view.devices.total == 0 && view.deployments == 0
}

fn summary(view: &FleetView) -> String {
    match view.attention.len() {
        // Nothing is called well, or missing, before it is known.
        0 if !is_whole(&view.recovery) && is_empty(view) => "The fleet is not known yet.".to_owned(),
        0 if !is_whole(&view.recovery) => "Nothing of what is known so far needs a person.".to_owned(),
        0 if view.devices.total == 0 => "No device yet.".to_owned(),
        0 => format!(
            "Nothing needs a person. {} of {} online, {} of {} running{}.",
            number(view.devices.online),
            plural(view.devices.total, "device"),
            number(view.pairs.running),
            plural(view.pairs.total, "container"),
            finished(view.pairs.finished)
        ),
        1 => "1 thing needs a person.".to_owned(),
        n => format!("{n} things need a person."),
    }
}

fn finished(count: u64) -> String {
    match count {
        0 => String::new(),
        count => format!(", {} finished", number(count)),
    }
}

fn attention(view: &FleetView, sentence: &str, now: DateTime<Utc>) -> Markup {
    html! {
        section.attention aria-labelledby="attention" {
            @if view.attention.is_empty() {
                p #attention.calm { @if view.devices.total > 0 && is_whole(&view.recovery) { (icon(Icon::Check)) } (sentence) }
            } @else {
                h2 #attention.lead { (sentence) }
                ol.plain { @for item in &view.attention { li { (attention_item(item, now)) } } }
            }
        }
    }
}

fn attention_item(item: &Attention, now: DateTime<Utc>) -> Markup {
    let (which, tone) = of_attention(item.kind);
    html! {
        article class={ "alert " (tone.class()) } {
            (icon(which))
            div {
                h3 {
                    @match &item.deployment {
                        Some(name) => a href=(path(&["deployments", name])) { (item.title) },
                        None => (item.title),
                    }
                    @if let Some(since) = item.since { span.quiet { " · " (time::age(since, now)) } }
                }
                @if let Some(cause) = &item.cause { p { span.kind { (cause.kind) } " · " (prose(&cause.detail)) } }
                p.next { strong { "Next: " } (prose(&item.next)) }
                @if !item.devices.is_empty() { p.sample { (sample(item)) (logs_of(item)) } }
            }
        }
    }
}

/// The logs of the first device of a failure: alike failures say alike things.
fn logs_of(item: &Attention) -> Markup {
    let failed = item.kind == AttentionKind::Failed && item.cause.as_ref().is_some_and(has_words);
    let init = item.cause.as_ref().and_then(|cause| cause.init.as_deref());
    html! {
        @if let (true, Some(name), Some(device)) = (failed, &item.deployment, item.devices.first()) {
            " " a.logs href=(logs_address(name, device, init)) { "View logs" @if item.count > 1 { " of the first" } }
        }
    }
}

fn sample(item: &Attention) -> Markup {
    let more = item.count.saturating_sub(item.devices.len() as u64);
    html! {
        @for device in &item.devices {
            @let href = match &item.deployment {
                Some(name) => path(&["deployments", name, "devices", device]),
                None => path(&["devices", device]),
            };
            a.chip href=(href) { (device) } " "
        }
        @if more > 0 { span.quiet { "and " (number(more)) " more" } }
    }
}

fn counts(view: &FleetView) -> Markup {
    html! {
        div.tiles {
            section.panel aria-labelledby="device-counts" {
                h2 #device-counts { "Devices " span.num.total { (number(view.devices.total)) } }
                (device_bar(&view.devices))
                ul.tally {
                    @for (state, n) in device_states(&view.devices) {
                        @let (which, tone) = of_device(state);
                        (tally(&format!("/?state={state}#devices"), which, tone, n, state.as_str()))
                    }
                }
            }
            section.panel aria-labelledby="pair-counts" {
                h2 #pair-counts { "Containers " span.num.total { (number(view.pairs.total)) }
                    span.quiet { " of " a href="/deployments" { (plural(view.deployments, "deployment")) } } }
                @if view.pairs.total == 0 { p.quiet { "Nothing is deployed: " code { "fleetctl apply -f web.yaml" } } } @else {
                    (pair_bar(&view.pairs))
                    ul.tally {
                        @for state in PairState::ALL.iter().copied().filter(|state| view.pairs.of(*state) > 0) {
                            @let (which, tone) = of_pair(state);
                            (tally(&format!("/?phase={state}#devices"), which, tone, view.pairs.of(state), state.as_str()))
                        }
                    }
                }
            }
        }
    }
}

fn tally(href: &str, which: Icon, tone: Tone, n: u64, word: &str) -> Markup {
    html! { li { a href=(href) { span class={ "state " (tone.class()) } { (icon(which)) span.num { (number(n)) } " " span { (word) } } } } }
}

fn device_states(counts: &DeviceCounts) -> Vec<(DeviceState, u64)> {
    let all = [
        (DeviceState::Offline, counts.offline),
        (DeviceState::Unknown, counts.unknown),
        (DeviceState::Online, counts.online),
    ];
    all.into_iter().filter(|(_, n)| *n > 0).collect()
}

fn device_bar(counts: &DeviceCounts) -> Markup {
    let parts: Vec<_> = device_states(counts)
        .into_iter()
        .map(|(state, n)| (n, of_device(state).1))
        .collect();
    bar(&parts)
}

fn devices(list: &DeviceList, filter: &DeviceFilter, now: DateTime<Utc>) -> Markup {
    html! {
        section #devices aria-labelledby="devices-title" {
            div.heading {
                h2 #devices-title { "Devices" }
                p.quiet.num { (shown(list, filter)) }
            }
            (form(filter))
            @if list.items.is_empty() {
                p.empty { "No device matches. " a href="/#devices" { "Show all" } }
            } @else {
                table.cards {
                    caption.aside { "Devices" }
                    thead { tr { th scope="col" { "Device" } th scope="col" { "State" } th scope="col" { "Containers" }
                        th scope="col" { "Labels" } th.wide scope="col" { "Arch" } th.wide scope="col" { "Agent" } } }
                    tbody { @for device in &list.items { (device_row(device, now)) } }
                }
                (pages(list, filter))
            }
        }
    }
}

fn shown(list: &DeviceList, filter: &DeviceFilter) -> String {
    let shown = list.items.len() as u64;
    let what = if filter.is_empty() { "" } else { "matching " };
    if shown == list.total {
        plural(list.total, &format!("{what}device"))
    } else {
        format!(
            "{} of {} shown",
            number(shown),
            plural(list.total, &format!("{what}device"))
        )
    }
}

fn form(filter: &DeviceFilter) -> Markup {
    let chosen = |value: &str, word: &str| value.eq_ignore_ascii_case(word);
    html! {
        form.filter method="get" action="/#devices" role="search" aria-label="Devices" {
            label { span { "Name" } input type="search" name="q" value=(filter.q) placeholder="basement" autocomplete="off"; }
            label { span { "Labels" } input type="text" name="l" value=(filter.l) placeholder="site=lyon" autocomplete="off" autocapitalize="none" spellcheck="false"; }
            label { span { "State" } select name="state" {
                option value="" { "any" }
                @for state in DeviceState::ALL { option value=(state) selected[chosen(&filter.state, state.as_str())] { (state) } }
            } }
            label { span { "Container" } select name="phase" {
                option value="" { "any" }
                @for state in PairState::ALL { option value=(state) selected[chosen(&filter.phase, state.as_str())] { (state) } }
            } }
            button type="submit" { "Filter" }
            @if !filter.is_empty() { a.clear href="/#devices" { "Show all" } }
        }
    }
}

fn device_row(device: &DeviceSummary, now: DateTime<Utc>) -> Markup {
    html! {
        tr id={ "device-" (device.id) } {
            th scope="row" { a href=(path(&["devices", &device.id])) { (device.id) } }
            td data-label="State" {
                (device_state(device.state))
                @if let (DeviceState::Offline | DeviceState::Unknown, Some(since)) = (device.state, device.since) {
                    span.sep { " · " } span.quiet { (time::age(since, now)) }
                }
                @if device.problem_count > 0 {
                    span.sep { " · " } span.state.warn { (icon(Icon::Warning)) span { (plural(device.problem_count, "problem")) } }
                }
            }
            td data-label="Containers" { (pair_counts(&device.pairs)) }
            td data-label="Labels" { (labels(&device.labels)) }
            td.wide data-label="Arch" { (known(&device.arch)) }
            td.wide data-label="Agent" { (known(&device.agent_version)) }
        }
    }
}

fn known(text: &str) -> Markup {
    html! { @if text.is_empty() { span.quiet { "–" } } @else { (text) } }
}

fn pages(list: &DeviceList, filter: &DeviceFilter) -> Markup {
    html! {
        @if list.next.is_some() || !filter.after.is_empty() {
            nav.pages aria-label="Pages" {
                @if !filter.after.is_empty() { a.button href=(filter.address(None)) { "First page" } }
                @if let Some(next) = &list.next { a.button href=(filter.address(Some(next))) rel="next" { "Next page" } }
            }
        }
    }
}

/// The place of the lists while there is nothing to show in them.
fn being_read() -> Markup {
    html! {
        section.panel {
            h2 { "Being read" }
            p { "The operator has not read the store yet; devices and deployments appear here as they become known. Devices run on meanwhile." }
            p.quiet { "In the terminal: " code { "curl http://127.0.0.1:8480/readyz" } " answers “ready” when all is known." }
        }
    }
}

/// What to do when there is nothing: the empty state teaches the next command.
fn first_steps() -> Markup {
    html! {
        section.panel.steps {
            h2 { "First steps" }
            ol {
                li { p { strong { "Make a device. " } "Write an image to a card or disk, put " code { "fleet.toml" } " on its boot partition, and switch it on: it shows up here by itself within a minute." }
                    p.quiet { "To look around without hardware: " code { "fleet-sim run --devices 3" } } }
                li { p { strong { "Say what runs there. " } "Save this as " code { "web.yaml" } ":" }
                    (sample_manifest())
                    pre.command tabindex="0" { code { "fleetctl apply -f web.yaml" } } }
                li { p { strong { "Watch it arrive" } ", here or in the terminal:" } pre.command tabindex="0" { code { "fleetctl get devices --watch" } } }
            }
        }
    }
}

/// A manifest that is accepted as it stands.
pub(super) fn sample_manifest() -> Markup {
    html! { pre tabindex="0" { code { (SAMPLE) } } }
}

pub(crate) const SAMPLE: &str = "apiVersion: fleet/v0
kind: Deployment
metadata:
  name: web
spec:
  selector:
    all: true
  score:
    podman_v0:
      image: docker.io/library/nginx:1.27
      ports:
        - { host: 8080, container: 80 }
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_sample_that_the_page_teaches_is_accepted() {
        crate::manifest::read("web.yaml", super::SAMPLE.as_bytes()).unwrap();
    }
}
