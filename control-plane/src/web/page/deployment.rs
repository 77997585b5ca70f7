//! Deployments: all of them, and one.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::device::generation;
use super::fleet::sample_manifest;
use super::frame::{Body, Section};
use super::icon::{Icon, Tone, icon, of_pair};
use super::parts::{
    badge, crumbs, encoded, fact, image, labels, number, pair_bar, pair_counts, pair_line, path, plural,
    problems, why,
};
use super::time;
use crate::api::types::DeploymentList;
use crate::fleet::view::{DeploymentSummary, DeploymentView, PairCounts, PairState, PairView};
use crate::manifest;

/// All deployments.
pub(in crate::web) fn deployments(list: &DeploymentList, now: DateTime<Utc>) -> Body {
    let main = html! {
        div.heading { h1 { "Deployments" } @if list.total > 0 { p.quiet.num { (plural(list.total, "deployment")) } } }
        @if list.items.is_empty() { (none()) } @else {
            table.cards {
                caption.aside { "Deployments" }
                thead { tr { th scope="col" { "Deployment" } th scope="col" { "Containers" } th scope="col" { "Image" }
                    th scope="col" { "Devices" } th.num scope="col" { "Generation" } th scope="col" { "Changed" } } }
                tbody { @for item in &list.items { (row(item, now)) } }
            }
        }
    };
    let spoken = plural(list.total, "deployment");
    Body::new(Section::Deployments, "Deployments", spoken, main)
}

fn none() -> Markup {
    html! {
        section.panel.steps {
            h2 { "Nothing is deployed" }
            p { "Save this as " code { "web.yaml" } ", then apply it:" }
            (sample_manifest())
            pre.command tabindex="0" { code { "fleetctl apply -f web.yaml" } }
        }
    }
}

fn row(item: &DeploymentSummary, now: DateTime<Utc>) -> Markup {
    html! {
        tr id={ "deployment-" (item.name) } {
            th scope="row" { a href=(path(&["deployments", &item.name])) { (item.name) } (flags(item)) }
            td data-label="Containers" { @if item.pairs.total > 0 { (pair_bar(&item.pairs)) } (pair_counts(&item.pairs)) }
            td.image data-label="Image" { (image(&item.image)) }
            td data-label="Devices" { (item.selector) }
            td.num data-label="Generation" { (item.generation) }
            td data-label="Changed" { (time::ago(item.changed_at, now)) }
        }
    }
}

fn flags(item: &DeploymentSummary) -> Markup {
    html! {
        @if item.deleted { " " (badge(Icon::Minus, Tone::Busy, "being removed")) }
        @if item.problem_count > 0 { " " (badge(Icon::Unreadable, Tone::Bad, &plural(item.problem_count, "problem"))) }
    }
}

/// One deployment.
pub(in crate::web) fn deployment(view: &DeploymentView, now: DateTime<Utc>) -> Body {
    let summary = &view.summary;
    let sentence = sentence(&summary.pairs);
    let main = html! {
        (crumbs(&[("Deployments", "/deployments".to_owned())]))
        h1 { (summary.name) (flags(summary)) }
        p.status { (sentence) }
        (problems(&view.problems, now))
        @if summary.pairs.total > 0 {
            section.panel aria-label="Containers by state" {
                (pair_bar(&summary.pairs))
                ul.tally {
                    @for state in PairState::ALL.iter().copied().filter(|state| summary.pairs.of(*state) > 0) {
                        @let (which, tone) = of_pair(state);
                        li { span class={ "state " (tone.class()) } { (icon(which)) span.num { (number(summary.pairs.of(state))) } " " span { (state) } } }
                    }
                }
            }
        }
        dl.facts {
            (fact("Image", Some(image(&summary.image))))
            (fact("Devices", Some(html! { (summary.selector) span.quiet { " · selects " (number(summary.selected)) " now" } })))
            (fact("Generation", Some(html! { (summary.generation) })))
            (fact("Changed", Some(time::ago(summary.changed_at, now))))
            @if !summary.labels.is_empty() { (fact("Labels", Some(labels(&summary.labels)))) }
        }
        section aria-labelledby="on-devices" {
            div.heading {
                h2 #on-devices { "On devices" }
                @if (view.devices.len() as u64) < summary.pairs.total {
                    p.quiet.num { "the " (number(view.devices.len() as u64)) " most urgent of " (number(summary.pairs.total)) }
                }
            }
            @if view.devices.is_empty() {
                p.empty { "It selects no device now. See what labels devices carry: " code { "fleetctl get devices -o wide" } }
            } @else { (pairs(&view.devices, now)) }
        }
        (spec(view))
        p { a href={ "/events?subject=" (encoded(&format!("deployment/{}", summary.name))) } { "History of this deployment" } }
    };
    Body::new(
        Section::Deployments,
        summary.name.clone(),
        format!("{}: {sentence}", summary.name),
        main,
    )
}

fn sentence(counts: &PairCounts) -> String {
    let bad = counts.failed + counts.stuck + counts.unreadable;
    match (counts.total, bad) {
        (0, _) => "On no device.".to_owned(),
        (total, 0) if total == counts.running => format!("Running on {}.", plural(total, "device")),
        (total, 0) if total == counts.finished => format!("Finished on {}.", plural(total, "device")),
        (total, 0) if total == counts.well() => format!(
            "Running on {}, finished on {}.",
            plural(counts.running, "device"),
            number(counts.finished)
        ),
        (total, 0) => format!(
            "Running on {} of {}; the others are on their way.",
            number(counts.running),
            plural(total, "device")
        ),
        (total, bad) => {
            let verb = if bad == 1 { "needs" } else { "need" };
            format!(
                "Running on {} of {}; {} {verb} a person.",
                number(counts.running),
                plural(total, "device"),
                number(bad)
            )
        }
    }
}

fn pairs(pairs: &[PairView], now: DateTime<Utc>) -> Markup {
    html! {
        table.cards {
            caption.aside { "Devices of this deployment" }
            thead { tr { th scope="col" { "Device" } th scope="col" { "State" } th scope="col" { "Why" } th.num scope="col" { "Generation" } } }
            tbody { @for pair in pairs {
                tr id={ "pair-" (pair.device) } {
                    th scope="row" { a href=(path(&["deployments", &pair.deployment, "devices", &pair.device])) { (pair.device) } }
                    td data-label="State" { (pair_line(pair, now)) }
                    td.none[pair.cause.is_none()] data-label="Why" { (why(pair)) }
                    td.num data-label="Generation" { (generation(pair)) }
                }
            } }
        }
    }
}

fn spec(view: &DeploymentView) -> Markup {
    let Some(spec) = &view.spec else { return html! {} };
    html! {
        details {
            summary { "What was asked" }
            pre tabindex="0" { code { (manifest::render(spec)) } }
        }
    }
}
