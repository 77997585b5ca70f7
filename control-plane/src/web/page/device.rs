//! One device: what it is, how it is, what runs there.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::{DeviceInfo, Heartbeat};
use maud::{Markup, html};

use super::frame::{Body, Section};
use super::parts::{
    causes, crumbs, device_state, encoded, fact, has_words, image, labels, logs_link, pair_line, path,
    problems, prose, size,
};
use super::time;
use crate::fleet::view::{DeviceView, PairView};

/// One device.
pub(in crate::web) fn device(view: &DeviceView, now: DateTime<Utc>) -> Body {
    let summary = &view.summary;
    let main = html! {
        (crumbs(&[("Fleet", "/".to_owned())]))
        h1 { (summary.id) }
        p.status {
            (device_state(summary.state))
            @if let Some(since) = summary.since { span.sep { " · " } span.quiet { (time::age(since, now)) } }
            @if !view.detail.is_empty() { span.sep { " · " } (prose(&view.detail)) }
        }
        (problems(&view.problems, now))
        (causes("Health", &view.health))
        section aria-labelledby="containers" {
            h2 #containers { "Containers" }
            @if view.deployments.is_empty() {
                p.empty { "Nothing is deployed here. A deployment whose selector matches this device's labels puts it here: " code { "fleetctl apply -f web.yaml" } }
            } @else { (pairs(&view.deployments, now)) }
        }
        section aria-labelledby="facts" {
            h2 #facts { "Device" }
            (facts(view, now))
        }
        p { a href={ "/events?subject=" (encoded(&format!("device/{}", summary.id))) } { "History of this device" } }
        p.quiet { "On the device, without network: " code { "fleet-agent status" } }
    };
    let spoken = format!("{} is {}", summary.id, summary.state);
    Body::new(Section::Fleet, summary.id.clone(), spoken, main)
}

fn pairs(pairs: &[PairView], now: DateTime<Utc>) -> Markup {
    html! {
        table.cards {
            caption.aside { "Containers on this device" }
            thead { tr { th scope="col" { "Deployment" } th scope="col" { "State" } th scope="col" { "Image" } th.num scope="col" { "Generation" } } }
            tbody { @for pair in pairs {
                tr id={ "pair-" (pair.deployment) } {
                    th scope="row" { a href=(path(&["deployments", &pair.deployment, "devices", &pair.device])) { (pair.deployment) } }
                    td data-label="State" { (pair_line(pair, now)) @if pair.cause.as_ref().is_some_and(has_words) { " " (logs_link(pair)) } }
                    td.image data-label="Image" { (pair_image(pair)) }
                    td.num data-label="Generation" { (generation(pair)) }
                }
            } }
        }
    }
}

fn pair_image(pair: &PairView) -> Markup {
    let running = pair.running.as_ref().map(|running| running.image.as_str());
    image(pair.desired_image.as_deref().or(running).unwrap_or_default())
}

/// `3`, or `2 → 3` while the device has not taken up what is desired.
pub(super) fn generation(pair: &PairView) -> Markup {
    let runs = pair
        .running
        .as_ref()
        .map(|running| running.generation)
        .or(pair.observed_generation);
    html! { @match (runs, pair.desired_generation) {
        (Some(runs), Some(desired)) if runs == desired => (desired),
        (Some(runs), Some(desired)) => { (runs) " → " (desired) },
        (None, Some(desired)) => { "→ " (desired) },
        (Some(runs), None) => { (runs) " → removed" },
        (None, None) => "–",
    } }
}

fn facts(view: &DeviceView, now: DateTime<Utc>) -> Markup {
    let info = view.info.as_ref();
    let beat = view.heartbeat.as_ref();
    let text = |get: fn(&DeviceInfo) -> &str| info.map(get).filter(|t| !t.is_empty()).map(|t| html! { (t) });
    html! {
        dl.facts {
            (fact("Labels", Some(labels(&view.summary.labels))))
            (fact("Last heartbeat", view.summary.last_heartbeat_at.map(|at| time::ago(at, now))))
            (fact("Up for", beat.map(|beat| html! { (time::span(uptime(beat))) })))
            (fact("Memory", memory(info, beat)))
            (fact("Data disk", data(info, beat)))
            (fact("System", text(|info| &info.os)))
            (fact("Kernel", text(|info| &info.kernel)))
            (fact("Architecture", text(|info| &info.arch)))
            (fact("Podman", text(|info| &info.podman_version)))
            (fact("Agent", text(|info| &info.agent_version)))
            (fact("Agent started", info.map(|info| time::ago(info.agent_started_at, now))))
            (fact("Host name", text(|info| &info.hostname)))
            (fact("Boot", info.map(|info| html! { code { (info.boot_id) } })))
        }
    }
}

fn uptime(beat: &Heartbeat) -> TimeDelta {
    TimeDelta::try_seconds(i64::try_from(beat.uptime_seconds).unwrap_or(i64::MAX)).unwrap_or(TimeDelta::MAX)
}

fn memory(info: Option<&DeviceInfo>, beat: Option<&Heartbeat>) -> Option<Markup> {
    share(
        beat.map(|beat| beat.memory_available_mib),
        info.map(|info| info.memory_mib),
        "available",
    )
}

fn data(info: Option<&DeviceInfo>, beat: Option<&Heartbeat>) -> Option<Markup> {
    share(
        beat.map(|beat| beat.data_free_mib),
        info.map(|info| info.data_mib),
        "free",
    )
}

fn share(free_mib: Option<u64>, total_mib: Option<u64>, word: &str) -> Option<Markup> {
    let mib = |n: u64| size(n.saturating_mul(1 << 20));
    match (free_mib, total_mib) {
        (Some(free), Some(total)) => Some(html! {
            span.num { (mib(free)) " " (word) " of " (mib(total)) }
            " " meter min="0" max=(total) value=(total.saturating_sub(free)) high=(total / 10 * 9) aria-label="used" {}
        }),
        (Some(free), None) => Some(html! { (mib(free)) " " (word) }),
        (None, Some(total)) => Some(html! { (mib(total)) }),
        (None, None) => None,
    }
}
