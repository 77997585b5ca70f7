//! One deployment on one device: the page that answers "why is it stuck?".

use chrono::{DateTime, Utc};
use fleet_protocol::Phase;
use maud::{Markup, html};

use super::device::generation;
use super::frame::{Body, Section};
use super::icon::{Icon, Tone, icon, of_link, of_pair};
use super::lines::log_box;
use super::parts::{
    badge, crumbs, encoded, fact, image, logs_address, logs_link, older, pair_state, path, problems, prose,
    pull_progress,
};
use super::time;
use crate::fleet::view::{DeviceState, Link, LinkKind, PairState, PairView};
use crate::fleet::words;
use crate::logs::ansi::Line;

/// One deployment on one device.
pub(in crate::web) fn pair(view: &PairView, now: DateTime<Utc>) -> Body {
    let title = format!("{} on {}", view.deployment, view.device);
    let main = html! {
        (crumbs(&[("Deployments", "/deployments".to_owned()), (&view.deployment, path(&["deployments", &view.deployment]))]))
        h1 { (view.deployment) span.quiet { " on " } a href=(path(&["devices", &view.device])) { (view.device) } }
        p.status {
            (pair_state(view))
            @if let Some(step) = &view.init { span.sep { " · " } span { (words::init(step)) } }
            @if let Some(crash_loop) = &view.crash_loop { span.sep { " · " } span { (words::restarts(crash_loop)) }
                @if let Some(at) = crash_loop.next_restart_at.filter(|_| view.device_state == DeviceState::Online) { span.quiet { ", next " (time::until(at, now)) } } }
            @if let Some(generation) = older(view) { span.sep { " · " } span { "generation " (generation) " goes on running" } }
            @if let Some(since) = view.since { span.sep { " · " } span.quiet { (time::age(since, now)) } }
            @if view.failed_tries > 0 { span.sep { " · " } span.quiet { "tried " (view.failed_tries) (if view.failed_tries == 1 { " time" } else { " times" }) } }
            @if let Some(at) = view.next_try_at.filter(|_| view.device_state == DeviceState::Online) { span.sep { " · " } span.quiet { "next try " (time::until(at, now)) } }
        }
        p { a.button href=(logs_address(&view.deployment, &view.device, view.cause.as_ref().and_then(|cause| cause.init.as_deref()))) { "View logs" } }
        @if view.device_state != DeviceState::Online {
            div.banner.warn role="status" {
                (icon(Icon::Offline))
                p { strong { "The device is " (view.device_state.as_str().to_lowercase()) } " · all of this is what it said last"
                    @if let Some(at) = view.reported_at { ", " (time::ago(at, now)) } "." }
            }
        }
        @if let Some(progress) = &view.progress { section.panel aria-label="Pull" { h2 { "Pulling" } p { (pull_progress(progress)) } } }
        (problems(&view.problems, now))
        section aria-labelledby="chain" {
            h2 #chain { (if settled(view) { "How it got here" } else { "Why it is here" }) }
            ol.chain { @for link in &view.chain { (chain_link(view, link, now)) } }
        }
        @if !view.marks.is_empty() { (marks(view, now)) }
        (running(view, now))
        p { a href={ "/events?subject=" (encoded(&format!("device/{}/deployment/{}", view.device, view.deployment))) } { "History of this deployment on this device" } }
    };
    let spoken = match &view.cause {
        Some(cause) => format!("{title}: {}, {}", view.state, cause.kind),
        None => format!("{title}: {}", view.state),
    };
    Body::new(Section::Deployments, title, spoken, main)
}

fn settled(view: &PairView) -> bool {
    matches!(view.state, PairState::Running | PairState::Finished)
}

fn word(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Desired => "Desired",
        LinkKind::Gate => "Gate",
        LinkKind::Phase => "Phase",
        LinkKind::Cause => "Cause",
        LinkKind::Unit => "Unit",
        LinkKind::Log => "Log",
        LinkKind::Next => "Next",
    }
}

fn chain_link(view: &PairView, link: &Link, now: DateTime<Utc>) -> Markup {
    let (which, tone) = of_link(link.state);
    let which = if link.kind == LinkKind::Next {
        Icon::Chevron
    } else {
        which
    };
    html! {
        li class=(tone.class()) {
            (icon(which))
            div {
                h3 { (word(link.kind)) @if link.kind != LinkKind::Next { span.aside { " (" (link.state) ")" } }
                    @if let Some(at) = link.at { span.quiet { " · " (link_time(at, now)) } } }
                p { (prose(&link.text)) @if link.kind == LinkKind::Log { span.sep { " · " } (logs_link(view)) } }
                @if !link.lines.is_empty() { (last_words(link)) }
            }
        }
    }
}

/// What the container wrote last.
fn last_words(link: &Link) -> Markup {
    let lines: Vec<Line> = link.lines.iter().map(|line| Line::read(line)).collect();
    log_box("Last lines of the log", lines.iter(), None)
}

/// What comes next may have a time to come: that of the agent's next try.
fn link_time(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    if at > now {
        time::until(at, now)
    } else {
        time::ago(at, now)
    }
}

/// Each phase of this generation with its time, and how long it took.
fn marks(view: &PairView, now: DateTime<Utc>) -> Markup {
    let ends = view.marks.iter().skip(1).map(|mark| Some(mark.at)).chain([None]);
    html! {
        section aria-labelledby="phases" {
            h2 #phases { "Phases" @if let Some(generation) = view.observed_generation { span.quiet { " of generation " (generation) } } }
            table.phases {
                caption.aside { "Phases, oldest first" }
                thead { tr { th scope="col" { "Phase" } th scope="col" { "Entered" } th.num scope="col" { "Took" } } }
                tbody { @for (mark, end) in view.marks.iter().zip(ends) {
                    tr {
                        th scope="row" { (phase(&mark.phase, end.is_none())) }
                        td { (time::clock(mark.at)) }
                        td.num { @match end {
                            Some(end) => (time::took(end - mark.at)),
                            None if settled(view) => span.quiet { "since " (time::age(mark.at, now)) },
                            None => span.quiet { "so far " (time::age(mark.at, now)) },
                        } }
                    }
                } }
            }
            p.quiet { "By the device's clock." }
        }
    }
}

/// A phase that is over is quiet.
fn phase(phase: &Phase, last: bool) -> Markup {
    let known = phase
        .as_str()
        .parse::<PairState>()
        .ok()
        .filter(|_| !matches!(phase, Phase::Unknown(_)));
    match known.map(of_pair) {
        Some((which, tone)) => badge(which, if last { tone } else { Tone::Idle }, phase.as_str()),
        None => badge(Icon::Question, Tone::Warn, phase.as_str()),
    }
}

fn running(view: &PairView, now: DateTime<Utc>) -> Markup {
    html! {
        section aria-labelledby="runs" {
            h2 #runs { "What runs" }
            dl.facts {
                (fact("Generation", Some(generation(view))))
                (fact("Desired image", view.desired_image.as_deref().map(image)))
                @match &view.running {
                    None => { (fact("Running", Some(html! { span.quiet { "nothing" } }))) }
                    Some(running) => {
                        (fact("Running image", Some(image(&running.image))))
                        (fact("Digest", running.digest.as_ref().map(|digest| html! { code { (digest) } })))
                        (fact("Started", Some(time::ago(running.started_at, now))))
                        (fact("Unit", Some(html! { code { (running.unit) } })))
                        (fact("Invocation", Some(html! { code { (running.invocation_id) } })))
                    }
                }
                (fact("Last change", view.cutover.as_ref().map(|cutover| html! { (words::replaced(cutover)) })))
                (fact("Init containers", (!view.init_containers.is_empty()).then(|| html! { (view.init_containers.join(" → ")) })))
                (fact("Reported", view.reported_at.map(|at| time::ago(at, now))))
            }
        }
    }
}
