//! Pages for what is not there.

use axum::http::StatusCode;
use maud::{Markup, html};

use super::frame::{Body, Section};

fn body(section: Section, status: StatusCode, title: &str, main: &Markup) -> Body {
    let main = html! { h1 { (title) } (main) };
    Body::new(section, title, title, main).with_status(status)
}

/// An address that is no page.
pub(in crate::web) fn no_page(path: &str) -> Body {
    let main = html! {
        p { "There is no page at " code { (path) } "." }
        p { a href="/" { "To the fleet" } }
    };
    body(Section::Elsewhere, StatusCode::NOT_FOUND, "No such page", &main)
}

/// A device that the fleet does not have.
pub(in crate::web) fn no_device(id: &str) -> Body {
    let main = html! {
        p { "The fleet has no device " code { (id) } ". A new one shows up here by itself once its agent has reached the control plane; a wrong or missing " code { "fleet.toml" } " is explained on the device's console and on its boot partition." }
        p { a href="/" { "All devices" } }
    };
    body(Section::Fleet, StatusCode::NOT_FOUND, "No such device", &main)
}

/// A deployment that the fleet does not have.
pub(in crate::web) fn no_deployment(name: &str) -> Body {
    let main = html! {
        p { "The fleet has no deployment " code { (name) } ". If it was deleted, its end is in the "
            a href={ "/events?subject=deployment%2F" (super::parts::encoded(name)) } { "history" } "." }
        p { a href="/deployments" { "All deployments" } }
    };
    body(
        Section::Deployments,
        StatusCode::NOT_FOUND,
        "No such deployment",
        &main,
    )
}

/// What a page is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) enum Thing {
    Device(String),
    Deployment(String),
    Pair { deployment: String, device: String },
}

/// What may be there, but was not read yet: nobody is told that it is missing before that is known.
pub(in crate::web) fn not_known_yet(thing: &Thing) -> Body {
    let (section, what) = match thing {
        Thing::Device(id) => (Section::Fleet, html! { "the device " code { (id) } }),
        Thing::Deployment(name) => (Section::Deployments, html! { "the deployment " code { (name) } }),
        Thing::Pair { deployment, device } => (
            Section::Deployments,
            html! { code { (deployment) } " on the device " code { (device) } },
        ),
    };
    let main = html! {
        p { "The operator is still reading the store and has not come upon " (what) " so far. That does not mean that it is gone." }
        p { "This page shows it by itself as soon as it is known, or says that there is none. Devices run on meanwhile." }
        p { a href="/" { "To the fleet" } }
    };
    body(section, StatusCode::SERVICE_UNAVAILABLE, "Not known yet", &main)
}

/// A deployment that is not on the device.
pub(in crate::web) fn no_pair(deployment: &str, device: &str) -> Body {
    let main = html! {
        p { code { (deployment) } " is not on " code { (device) } ": its selector does not match the device, and nothing of it is left there." }
        p { a href=(super::parts::path(&["deployments", deployment])) { "The deployment" } " · " a href=(super::parts::path(&["devices", device])) { "The device" } }
    };
    body(
        Section::Deployments,
        StatusCode::NOT_FOUND,
        "Not on this device",
        &main,
    )
}

/// A deployment on a device that was not asked for its logs yet: it came up a moment ago.
pub(in crate::web) fn not_asked_yet(deployment: &str, device: &str) -> Body {
    let main = html! {
        p { code { (device) } " is being asked for the logs of " code { (deployment) } "; this page fills by itself." }
        p { a href=(super::logs::place(deployment, device)) { "Load again" } }
    };
    body(Section::Deployments, StatusCode::OK, "Logs", &main)
}

/// A filter that does not parse.
pub(in crate::web) fn bad_query(why: &str) -> Body {
    let main = html! {
        p { (super::parts::prose(why)) }
        p { "Labels are written like " code { "site=lyon,rack=3" } "." }
        p { a href="/" { "All devices" } }
    };
    body(
        Section::Fleet,
        StatusCode::BAD_REQUEST,
        "This filter cannot be read",
        &main,
    )
}

/// An answer that cannot be had now.
pub(in crate::web) fn unavailable(why: &str) -> Body {
    let main = html! {
        p { (super::parts::prose(why)) }
        p { "The rest of the dashboard works. Try again in a moment." }
    };
    body(
        Section::Elsewhere,
        StatusCode::SERVICE_UNAVAILABLE,
        "Not available at this moment",
        &main,
    )
}
