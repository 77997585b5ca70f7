//! The dashboard through its router, without a browser: pages as people read them without JavaScript.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[path = "../examples/dashboard/fabricated/mod.rs"]
mod fabricated;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use fabricated::{Fabricated, HOSTILE, State, fixed_now};
use fleet_control_plane::fleet::view::PairState;
use fleet_control_plane::web;
use futures_util::StreamExt;
use tower::ServiceExt;

fn app_of(fleet: Arc<Fabricated>) -> Router {
    web::router(fleet, tokio::sync::watch::channel(false).1).fallback(web::not_found)
}

fn app(state: State) -> Router {
    app_of(Arc::new(Fabricated::still(state)))
}

async fn get(app: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 16 << 20)
        .await
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The page's content, a tag on each line, so that a change is one line of a snapshot.
async fn content(app: &Router, path: &str) -> String {
    let page = text(get(app, path).await).await;
    let start = page.find("<main").unwrap();
    let end = page.find("</main>").unwrap();
    page[start..end].replace("><", ">\n<")
}

const PAGES: [&str; 7] = [
    "/",
    "/?state=Online&phase=Failed&q=basement",
    "/devices/basement-brest-11",
    "/deployments",
    "/deployments/web",
    "/deployments/web/devices/basement-brest-11",
    "/events",
];

#[tokio::test]
async fn the_first_screen_of_a_calm_fleet() {
    insta::assert_snapshot!(content(&app(fabricated::calm(fixed_now())), "/").await);
}

#[tokio::test]
async fn the_first_screen_of_an_empty_fleet_teaches_the_next_command() {
    let page = content(&app(fabricated::empty(fixed_now())), "/").await;
    assert!(page.contains("fleetctl apply -f web.yaml"));
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn the_first_screen_of_a_busy_fleet_begins_with_what_needs_a_person() {
    let page = content(&app(fabricated::busy(fixed_now())), "/").await;
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    assert!(at("5 things need a person") < at("Containers "));
    assert!(at("Containers ") < at("id=\"devices-title\""));
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn the_page_of_a_device() {
    insta::assert_snapshot!(content(&app(fabricated::busy(fixed_now())), "/devices/basement-brest-11").await);
}

#[tokio::test]
async fn the_page_of_a_deployment() {
    insta::assert_snapshot!(content(&app(fabricated::busy(fixed_now())), "/deployments/web").await);
}

#[tokio::test]
async fn the_page_of_a_failed_pair_answers_why() {
    let path = "/deployments/web/devices/basement-brest-11";
    insta::assert_snapshot!(content(&app(fabricated::busy(fixed_now())), path).await);
}

#[tokio::test]
async fn the_page_of_a_pulling_pair_shows_layers_and_bytes() {
    let page = content(
        &app(fabricated::busy(fixed_now())),
        "/deployments/web/devices/basement-nice-1",
    )
    .await;
    assert!(page.contains("<progress value=\"3\" max=\"7\""), "{page}");
    assert!(page.contains("3 of 7 layers · 46.0 MiB"), "{page}");
}

#[tokio::test]
async fn the_history() {
    insta::assert_snapshot!(content(&app(fabricated::busy(fixed_now())), "/events").await);
}

#[tokio::test]
async fn what_is_not_there_says_so_and_leads_on() {
    let app = app(fabricated::calm(fixed_now()));
    for path in [
        "/nope",
        "/devices/none",
        "/deployments/none",
        "/deployments/web/devices/none",
        "/devices/a%2Fb",
    ] {
        let response = get(&app, path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let page = text(response).await;
        assert!(
            page.contains("<h1>") && page.matches("<a href=\"/").count() > 3,
            "{path}: {page}"
        );
    }
}

#[tokio::test]
async fn a_selector_that_cannot_be_read_is_explained() {
    let response = get(&app(fabricated::calm(fixed_now())), "/?l=a%20b").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(text(response).await.contains("a label has no space"));
}

#[tokio::test]
async fn every_page_says_that_the_operator_is_recovering() {
    let app = app(fabricated::recovering(fixed_now()));
    for path in PAGES {
        let page = text(get(&app, path).await).await;
        assert!(
            page.contains("Recovering") && page.contains("2 of 5 buckets read"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn nothing_is_called_missing_while_the_operator_is_recovering() {
    let fleet = Arc::new(Fabricated::still(fabricated::recovering(fixed_now())));
    let app = app_of(Arc::clone(&fleet));
    for path in [
        "/devices/none",
        "/deployments/none",
        "/deployments/web/devices/none",
    ] {
        let response = get(&app, path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(response.headers()[header::RETRY_AFTER], "5", "{path}");
        let page = text(response).await;
        assert!(
            page.contains("Not known yet") && page.contains("still reading") && !page.contains("No such"),
            "{path}: {page}"
        );
        assert!(
            page.contains("data-live=") && page.contains("http-equiv=\"refresh\""),
            "{path} becomes the right page by itself, with a script or without"
        );
    }
    // What is known is shown, and what is missing is said as soon as that is known.
    assert_eq!(
        get(&app, "/devices/basement-brest-11").await.status(),
        StatusCode::OK
    );
    fleet.change(|state| state.recovery.converged = true);
    assert_eq!(get(&app, "/devices/none").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_fleet_that_is_not_known_yet_is_neither_empty_nor_well() {
    let mut state = fabricated::empty(fixed_now());
    state.recovery = fabricated::recovering(fixed_now()).recovery;
    let page = content(&app(state), "/").await;
    assert!(
        page.contains("The fleet is not known yet")
            && !page.contains("No device yet")
            && !page.contains("First steps"),
        "{page}"
    );
    let mut state = fabricated::calm(fixed_now());
    state.recovery = fabricated::recovering(fixed_now()).recovery;
    let page = content(&app(state), "/").await;
    assert!(!page.contains("Nothing needs a person"), "{page}");
}

#[tokio::test]
async fn no_text_from_a_device_or_a_person_becomes_markup() {
    let app = app(fabricated::hostile(fixed_now()));
    let pages = [
        "/",
        "/devices/pi-1",
        "/deployments",
        "/deployments/web",
        "/deployments/web/devices/pi-1",
        "/events",
    ];
    for path in pages {
        let page = text(get(&app, path).await).await;
        assert!(
            page.contains("&lt;script&gt;alert(1)"),
            "{path} shows nothing hostile: the test tests nothing"
        );
        // The page's own script tag has a `src` and no text.
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        assert!(!page.contains("<img") && !page.contains(HOSTILE), "{path}");
    }
    let query = "/?q=%22%3E%3Cscript%3E&l=%22%3E%3Cscript%3E&state=%3Cscript%3E&after=%22%3Cscript%3E";
    let events = "/events?subject=%22%3E%3Cscript%3E";
    let nowhere = "/%3Cscript%3E%22";
    for path in [query, events, nowhere] {
        assert_eq!(
            text(get(&app, path).await).await.matches("<script").count(),
            1,
            "{path}"
        );
    }
}

#[tokio::test]
async fn nothing_is_inline_and_the_policy_forbids_it() {
    let app = app(fabricated::busy(fixed_now()));
    for path in PAGES.into_iter().chain(["/nope"]) {
        let response = get(&app, path).await;
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let page = text(response).await;
        for inline in [" style=", "<style", " onclick=", " onload=", "javascript:"] {
            assert!(!page.contains(inline), "{path} holds {inline}");
        }
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_the_name_of_their_content() {
    let app = app(fabricated::calm(fixed_now()));
    let page = text(get(&app, "/").await).await;
    for path in web::asset_paths() {
        assert!(page.contains(path), "{path} is not used");
        let response = get(&app, path).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(
            response.headers()[header::CACHE_CONTROL]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
    }
    assert_eq!(
        get(&app, "/assets/style-0000000000000000.css").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn ten_thousand_devices_come_a_page_at_a_time() {
    let app = app(fabricated::large(fixed_now()));
    let page = text(get(&app, "/").await).await;
    assert!(page.contains("100 of 10,000 devices shown"));
    assert!(page.contains("href=\"/?after=site-00099#devices\""));
    assert!(page.len() < 200_000, "{} bytes", page.len());
    let second = text(get(&app, "/?after=site-00099").await).await;
    assert!(second.contains("site-00100") && second.contains("First page"));
}

#[tokio::test]
async fn forms_keep_what_was_asked() {
    let page = text(
        get(
            &app(fabricated::busy(fixed_now())),
            "/?q=lyon&state=online&phase=Failed",
        )
        .await,
    )
    .await;
    assert!(page.contains("name=\"q\" value=\"lyon\""));
    assert!(page.contains("<option value=\"Online\" selected>"));
    assert!(page.contains("<option value=\"Failed\" selected>"));
}

/// Reads events until one of this name comes.
async fn next_event(
    stream: &mut (impl StreamExt<Item = Result<axum::body::Bytes, axum::Error>> + Unpin),
    name: &str,
) -> String {
    let wanted = format!("event: {name}\n");
    let mut seen = String::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !(seen.contains(&wanted) && seen.ends_with("\n\n")) {
        let chunk = tokio::time::timeout_at(deadline, stream.next())
            .await
            .expect("no event in time");
        seen.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    seen
}

#[tokio::test]
async fn a_change_is_sent_to_who_looks_and_silence_to_who_does_not() {
    let fleet = Arc::new(Fabricated::still(fabricated::calm(fixed_now())));
    let app = app_of(Arc::clone(&fleet));
    let response = get(&app, "/live?page=/deployments/web/devices/basement-lyon-3").await;
    let mut stream = response.into_body().into_data_stream();
    next_event(&mut stream, "hello").await;
    let first = next_event(&mut stream, "page").await;
    assert!(first.contains("web on basement-lyon-3: Running"), "{first}");

    // Another device's change is not this page's.
    fleet.change(|state| state.pairs.retain(|pair| pair.device != "basement-nice-1"));
    assert!(
        tokio::time::timeout(Duration::from_millis(900), stream.next())
            .await
            .is_err()
    );

    fleet.change(|state| {
        for pair in state
            .pairs
            .iter_mut()
            .filter(|p| p.device == "basement-lyon-3" && p.deployment == "web")
        {
            pair.state = PairState::Failed;
        }
    });
    let second = next_event(&mut stream, "page").await;
    assert!(second.contains("web on basement-lyon-3: Failed"), "{second}");
}

#[tokio::test]
async fn live_refuses_what_is_no_page() {
    let app = app(fabricated::calm(fixed_now()));
    for path in [
        "/live?page=/api/v0/devices",
        "/live?page=nonsense%20x",
        "/live?page=//evil.example/",
    ] {
        assert_eq!(get(&app, path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(get(&app, "/live").await.status(), StatusCode::BAD_REQUEST);
}
