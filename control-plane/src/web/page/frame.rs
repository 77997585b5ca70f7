//! What is around every page: head, navigation, and the banners that say when the page is not the whole truth.

use axum::http::{StatusCode, Uri};
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

use super::super::assets;
use super::icon::{Icon, icon};
use super::time;
use crate::api::RETRY_AFTER;
use crate::fleet::view::RecoveryView;

/// Where a page belongs in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum Section {
    Fleet,
    Deployments,
    Events,
    Elsewhere,
}

/// A page's content, without what is around it.
#[derive(Debug, Clone)]
pub(in crate::web) struct Body {
    pub(in crate::web) status: StatusCode,
    pub(in crate::web) title: String,
    pub(in crate::web) section: Section,
    /// Said aloud by a screen reader when it changes.
    pub(in crate::web) spoken: String,
    pub(in crate::web) main: Markup,
    banner: Markup,
    note: Option<String>,
}

impl Body {
    pub(super) fn new(
        section: Section,
        title: impl Into<String>,
        spoken: impl Into<String>,
        main: Markup,
    ) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.into(),
            section,
            spoken: spoken.into(),
            main,
            banner: html! {},
            note: None,
        }
    }

    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Adds the banner while the operator does not know everything.
    pub(in crate::web) fn with_recovery(self, recovery: &RecoveryView, now: DateTime<Utc>) -> Self {
        let banner = recovery_banner(recovery, now);
        Self { banner, ..self }
    }

    /// Adds why this page alone may not be whole.
    pub(in crate::web) fn with_note(self, note: Option<&str>) -> Self {
        let note = note.map(str::to_owned);
        Self { note, ..self }
    }

    /// What `/live` sends: the element with the id `live`.
    pub(in crate::web) fn content(&self) -> String {
        self.live().into_string()
    }

    fn live(&self) -> Markup {
        html! {
            div #live data-title=(full_title(&self.title)) data-spoken=(self.spoken) {
                (self.banner)
                @if let Some(note) = &self.note {
                    div.banner.warn role="status" { (icon(Icon::Warning)) p { strong { "Incomplete" } " · " (note) } }
                }
                (self.main)
            }
        }
    }
}

fn full_title(title: &str) -> String {
    if title == "Fleet" {
        title.to_owned()
    } else {
        format!("{title} · Fleet")
    }
}

/// Whether what the views lack is not there.
pub(in crate::web) fn is_whole(recovery: &RecoveryView) -> bool {
    recovery.converged && recovery.connected
}

fn recovery_banner(recovery: &RecoveryView, now: DateTime<Utc>) -> Markup {
    if is_whole(recovery) {
        return html! {};
    }
    let word = if recovery.connected {
        "Recovering"
    } else {
        "Disconnected"
    };
    let detail = recovery.detail.as_deref().unwrap_or(if recovery.connected {
        "The operator is still reading the store: what is missing here may yet come."
    } else {
        "The operator has no connection to NATS: this page shows what it knew last."
    });
    let caught_up = recovery.buckets.iter().filter(|bucket| bucket.caught_up).count();
    html! {
        div.banner.warn role="status" {
            (icon(Icon::Warning))
            p {
                strong { (word) } " · " (detail)
                @if !recovery.converged && !recovery.buckets.is_empty() {
                    " " span.quiet { (caught_up) " of " (recovery.buckets.len()) " buckets read." }
                }
                @if let Some(at) = recovery.last_event_at {
                    " " span.quiet { "Last word from the store " (time::ago(at, now)) "." }
                }
            }
        }
    }
}

/// A whole document.
pub(in crate::web) fn whole(body: &Body, uri: &Uri) -> Markup {
    let address = uri.path_and_query().map_or("/", |path| path.as_str());
    let waits = body.status == StatusCode::SERVICE_UNAVAILABLE;
    let lively = body.status == StatusCode::OK
        || (waits || body.status == StatusCode::NOT_FOUND) && body.section != Section::Elsewhere;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (full_title(&body.title)) }
                link rel="icon" type="image/svg+xml" href=(assets::icon());
                link rel="stylesheet" href=(assets::style());
                script src=(assets::script()) defer {}
                @if waits { noscript { meta http-equiv="refresh" content=(RETRY_AFTER); } }
            }
            body data-build=(assets::build()) data-live=[lively.then(|| live_address(address))] {
                a.skip href="#main" { "Skip to the content" }
                (header(body.section))
                div #stale.banner.bad role="status" hidden {
                    (icon(Icon::Offline))
                    p { strong { "Connection lost" } " · this page shows the fleet as of " time #stale-since {} ". Trying again by itself." }
                }
                main #main tabindex="-1" { (body.live()) }
                p #spoken.aside role="status" aria-live="polite" {}
                footer { p { "Times are in your zone with JavaScript, else in UTC. The same words in the terminal: " code { "fleetctl get devices" } } }
            }
        }
    }
}

fn live_address(page: &str) -> String {
    let mut address = String::from("/live?page=");
    for byte in page.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
    address
}

fn header(section: Section) -> Markup {
    let entries = [
        (Section::Fleet, "/", "Fleet"),
        (Section::Deployments, "/deployments", "Deployments"),
        (Section::Events, "/events", "Events"),
    ];
    html! {
        header.top {
            nav aria-label="Main" {
                ul {
                    @for (entry, href, word) in entries {
                        li { a href=(href) aria-current=[(entry == section).then_some("page")] { (word) } }
                    }
                }
            }
            p #link.link data-state="off" { span.dot {} span #link-word { "not live" } }
        }
    }
}
