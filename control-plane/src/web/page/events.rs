//! The history: who did what, when, to what.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Body, Section};
use super::parts::{number, path};
use super::time;
use crate::api::types::{EventItem, EventList, EventQuery};

/// Events on the page.
const SHOWN: usize = 200;

/// What the form asks, as it stands in the address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::web) struct EventFilter {
    subject: String,
}

impl EventFilter {
    pub(in crate::web) fn query(&self) -> EventQuery {
        EventQuery {
            limit: Some(SHOWN),
            subject: Some(self.subject.trim().to_owned()).filter(|subject| !subject.is_empty()),
            after: None,
        }
    }
}

/// The history, newest first.
pub(in crate::web) fn events(list: &EventList, filter: &EventFilter, now: DateTime<Utc>) -> Body {
    let main = html! {
        div.heading { h1 { "Events" } p.quiet.num { (looked_at(list)) } }
        form.filter method="get" action="/events" role="search" aria-label="Events" {
            label { span { "About" } input type="search" name="subject" value=(filter.subject) placeholder="deployment/web" autocomplete="off" autocapitalize="none" spellcheck="false"; }
            button type="submit" { "Filter" }
            @if !filter.subject.trim().is_empty() { a.clear href="/events" { "Show all" } }
        }
        @if list.items.is_empty() {
            p.empty {
                @if filter.subject.trim().is_empty() { "Nothing has happened yet. The first thing could be: " code { "fleetctl apply -f web.yaml" } }
                @else { "Nothing is known about " code { (filter.subject) } ". A subject is written like " code { "deployment/web" } " or " code { "device/pi-1" } "." }
            }
        } @else {
            table.cards.events {
                caption.aside { "Events, newest first" }
                thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "To what" } th scope="col" { "Detail" } th scope="col" { "Who" } } }
                tbody { @for item in &list.items { (row(item, now)) } }
            }
        }
    };
    Body::new(Section::Events, "Events", "", main)
}

fn looked_at(list: &EventList) -> String {
    let unreadable = if list.unreadable == 0 {
        String::new()
    } else {
        format!(", {} of a newer version", number(list.unreadable))
    };
    format!(
        "{} of the newest {}{unreadable}",
        number(list.items.len() as u64),
        number(list.searched)
    )
}

fn row(item: &EventItem, now: DateTime<Utc>) -> Markup {
    let event = &item.event;
    html! {
        tr id={ "event-" (item.sequence) } {
            th scope="row" { (time::ago(item.stored_at, now)) }
            td data-label="What" { span.kind { (event.kind) } }
            td data-label="To what" { (subject(&event.subject)) }
            td data-label="Detail" { (event.detail) }
            td data-label="Who" { (event.actor) }
        }
    }
}

/// A subject as a link to its page, where it has one.
fn subject(subject: &str) -> Markup {
    let parts: Vec<&str> = subject.split('/').collect();
    let href = match parts.as_slice() {
        ["deployment", name] => Some(path(&["deployments", name])),
        ["device", id] => Some(path(&["devices", id])),
        ["device", id, "deployment", name] => Some(path(&["deployments", name, "devices", id])),
        _ => None,
    };
    // A long subject breaks at its slashes and not inside a name.
    let text = html! { @for (index, part) in parts.iter().enumerate() { @if index > 0 { "/" wbr; } (part) } };
    html! { @match href { Some(href) => a href=(href) { (text) }, None => (text) } }
}
