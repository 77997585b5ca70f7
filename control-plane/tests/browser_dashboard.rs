//! The dashboard in a real browser: live without a reload, readable without script, on a phone, by keyboard, and within its policy.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[path = "browser/webdriver.rs"]
mod webdriver;

#[path = "../examples/dashboard/fabricated/mod.rs"]
mod fabricated;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fabricated::{Fabricated, State, fixed_now};
use fleet_control_plane::fleet::view::{AttentionKind, PairState};
use fleet_control_plane::web;
use serde_json::json;
use webdriver::{Browser, Look};

const DESKTOP: Look = Look {
    width: 1280,
    dark: false,
    script: true,
};
const PHONE: Look = Look {
    width: 390,
    dark: true,
    script: true,
};
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';

/// A dashboard on a port of its own; dropping it cuts every connection, as a dead network would.
struct Served {
    fleet: Arc<Fabricated>,
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

fn serve_at(fleet: Arc<Fabricated>, address: SocketAddr) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let listener = loop {
        match runtime.block_on(tokio::net::TcpListener::bind(address)) {
            Ok(listener) => break listener,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let address = listener.local_addr().unwrap();
    let app = web::router(fleet.clone(), tokio::sync::watch::channel(false).1).fallback(web::not_found);
    runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
    Served {
        fleet,
        address,
        runtime: Some(runtime),
    }
}

fn serve(state: impl FnOnce(chrono::DateTime<chrono::Utc>) -> State) -> Served {
    serve_at(
        Arc::new(Fabricated::running(state, fixed_now())),
        ([127, 0, 0, 1], 0).into(),
    )
}

impl Served {
    fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

const PAGES: [&str; 12] = [
    "/",
    "/?q=lyon&state=Online",
    "/devices/basement-brest-11",
    "/deployments",
    "/deployments/web",
    "/deployments/web/devices/basement-brest-11",
    "/deployments/web/devices/basement-nice-1",
    "/deployments/orders/devices/basement-lyon-3",
    "/deployments/orders/devices/basement-lyon-6",
    LOGS,
    "/deployments/web/devices/basement-nice-7/logs?q=R&lines=50",
    "/events",
];

const LOGS: &str = "/deployments/web/devices/basement-nice-7/logs";

fn browser(look: Look) -> Browser {
    let browser = Browser::start();
    browser.look(look);
    browser
}

#[test]
fn a_change_shows_without_a_reload_and_nothing_else_moves() {
    let served = serve(fabricated::busy);
    let browser = browser(DESKTOP);
    browser.open(&served.page("/deployments/web"));
    browser.wait("return document.getElementById('link').dataset.state === 'live'");
    // What a person did must outlive the change: an opened part, the focus, the scroll, and the page itself.
    browser.ask("window.mark = 1; document.querySelector('details').open = true; document.querySelector('details summary').focus(); scrollTo(0, 120)");
    let row = "document.getElementById('pair-basement-nice-1')";
    browser.ask(&format!("window.row = {row}"));
    assert_eq!(
        browser.ask(&format!("return {row}.querySelector('progress').value")),
        json!(3)
    );

    served.fleet.change(|state| {
        for pair in state
            .pairs
            .iter_mut()
            .filter(|p| p.deployment == "web" && p.device == "basement-nice-1")
        {
            pair.progress.as_mut().unwrap().layers_done = 6;
        }
    });
    browser.wait(&format!("return {row}.querySelector('progress').value === 6"));

    served.fleet.change(|state| {
        for pair in state
            .pairs
            .iter_mut()
            .filter(|p| p.deployment == "web" && p.device == "basement-nice-1")
        {
            pair.state = PairState::Running;
            pair.progress = None;
        }
    });
    browser.wait(&format!("return {row}.innerText.includes('Running')"));
    let kept = "return [window.mark === 1, document.querySelector('details').open, document.activeElement.nodeName, scrollY, window.row.isConnected]";
    assert_eq!(browser.ask(kept), json!([true, true, "SUMMARY", 120, true]));
    // The new sentence is said aloud once.
    browser.wait("return document.getElementById('spoken').textContent.includes('Running on 2 of 12')");
}

#[test]
fn the_first_screen_grows_and_loses_what_needs_a_person() {
    let served = serve(fabricated::calm);
    let browser = browser(PHONE);
    browser.open(&served.page("/"));
    browser.wait("return document.getElementById('link').dataset.state === 'live'");
    assert!(browser.text().contains("Nothing needs a person."));
    let trouble = fabricated::busy(fixed_now()).attention;
    served.fleet.change(|state| state.attention = trouble);
    browser.wait("return document.body.innerText.includes('7 things need a person')");
    served
        .fleet
        .change(|state| state.attention.retain(|item| item.kind == AttentionKind::Offline));
    browser.wait("return document.body.innerText.includes('1 thing needs a person') && document.querySelectorAll('.alert').length === 1");
}

#[test]
fn a_lost_connection_says_so_and_a_new_one_takes_it_back() {
    let served = serve(fabricated::calm);
    let browser = browser(DESKTOP);
    browser.open(&served.page("/"));
    browser.wait("return document.getElementById('link').dataset.state === 'live'");
    let (fleet, address) = (Arc::clone(&served.fleet), served.address);
    drop(served);
    browser.wait("return !document.getElementById('stale').hidden");
    let text = browser.text();
    assert!(
        text.contains("Connection lost") && text.contains("as of") && text.contains("reconnecting"),
        "{text}"
    );
    // What was known stays readable.
    assert!(text.contains("basement-lyon-3"), "{text}");
    let again = serve_at(fleet, address);
    browser.wait("return document.getElementById('stale').hidden && document.getElementById('link').dataset.state === 'live'");
    again
        .fleet
        .change(|state| state.devices.retain(|device| device.id != "basement-lyon-3"));
    browser.wait("return !document.body.innerText.includes('basement-lyon-3')");
}

#[test]
fn every_page_reads_without_script() {
    let served = serve(fabricated::busy);
    let browser = browser(Look {
        script: false,
        ..DESKTOP
    });
    let said = [
        ("/", "7 things need a person"),
        ("/?q=lyon", "matching devices"),
        ("/devices/basement-brest-11", "clock-unverified"),
        ("/deployments", "registry.example.com/shop/web:1.28"),
        ("/deployments/web", "Running on 1 of 12 devices; 5 need a person."),
        ("/deployments/web/devices/basement-brest-11", "image-not-found"),
        (
            "/deployments/orders/devices/basement-lyon-3",
            "040_seed_rates.sql",
        ),
        (LOGS, "Older lines are not shown."),
        ("/events", "deployment-applied"),
        ("/nope", "There is no page at"),
    ];
    for (path, words) in said {
        browser.open(&served.page(path));
        let text = browser.text();
        assert!(text.contains(words), "{path}: {text}");
        assert!(
            text.contains("not live"),
            "{path} claims to be live without script: {text}"
        );
    }
}

#[test]
fn no_page_scrolls_sideways_on_a_phone() {
    let browser = browser(PHONE);
    for served in [
        serve(fabricated::busy),
        serve(fabricated::recovering),
        serve(fabricated::empty),
        serve(fabricated::hostile),
    ] {
        for path in PAGES.into_iter().chain([
            "/nope",
            "/devices/pi-1",
            "/deployments/web/devices/pi-1",
            "/deployments/web/devices/pi-1/logs",
        ]) {
            browser.open(&served.page(path));
            // The content's width, not the document's: a clipped overflow hides from the latter.
            let wide = "return [...document.querySelectorAll('main *')].filter((e) => !e.closest('pre, .bar, .icon, .aside') && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 120))";
            assert_eq!(browser.ask(wide), json!([]), "{path}");
            assert_eq!(
                browser.ask("return document.documentElement.scrollWidth <= 390"),
                json!(true),
                "{path}"
            );
        }
    }
}

#[test]
fn the_keyboard_reaches_everything_and_shows_where_it_is() {
    let served = serve(fabricated::busy);
    let browser = browser(DESKTOP);
    browser.open(&served.page("/"));
    browser.press(TAB);
    let focus = "return [document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle, document.activeElement.getBoundingClientRect().top >= 0]";
    let skip = browser.ask(focus);
    assert_eq!(skip[0], "Skip to the content", "{skip}");
    // The link comes into view when it has the focus.
    browser.wait("return document.activeElement.getBoundingClientRect().top >= 0");
    browser.press(ENTER);
    browser.wait("return document.activeElement.id === 'main'");
    let reachable = browser
        .ask("return document.querySelectorAll('main a, main input, main select, main button').length")
        .as_u64()
        .unwrap();
    let mut seen = 0;
    for _ in 0..reachable {
        browser.press(TAB);
        let at = browser.ask("const e = document.activeElement; const s = getComputedStyle(e); return [!!e.closest('main'), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2, e.outerHTML.slice(0, 90)]");
        assert_eq!(at[1], true, "no visible focus: {at}");
        seen += u64::from(at[0] == true);
    }
    assert_eq!(seen, reachable);
}

#[test]
fn texts_have_contrast_in_light_and_dark() {
    // WCAG 2.2, 1.4.3: 4.5:1 for text of normal size, computed from what the browser shows.
    let script = r"
        const lum = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const parse = (c) => { const n = c.match(/[\d.]+/g).map(Number); return { rgb: n.slice(0, 3), a: n.length > 3 ? n[3] : 1 }; };
        const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a === 1) return c.rgb; } return [255, 255, 255]; };
        const bad = [];
        for (const e of document.querySelectorAll('body *')) {
          if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.closest('.aside, .skip, option, [hidden]')) continue;
          const a = lum(parse(getComputedStyle(e).color).rgb), b = lum(ground(e));
          const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (ratio < 4.5) bad.push(ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 100));
        }
        return bad;";
    let served = serve(fabricated::recovering);
    let browser = browser(DESKTOP);
    for dark in [false, true] {
        browser.look(Look { dark, ..DESKTOP });
        for path in PAGES {
            browser.open(&served.page(path));
            assert_eq!(browser.ask(script), json!([]), "{path}, dark: {dark}");
        }
    }
}

#[test]
fn no_page_breaks_its_policy_and_nothing_hostile_runs() {
    let browser = browser(DESKTOP);
    for served in [serve(fabricated::busy), serve(fabricated::hostile)] {
        for path in PAGES.into_iter().chain([
            "/devices/pi-1",
            "/deployments/web/devices/pi-1",
            "/deployments/web/devices/pi-1/logs",
        ]) {
            browser.open(&served.page(path));
            browser.wait("return document.getElementById('link').dataset.state === 'live'");
            // A page of a fleet without that device answers 404, or 503 while it is recovering, which the console tells.
            let said = browser
                .console()
                .into_iter()
                .filter(|line| !line.contains("status of 404") && !line.contains("status of 503"));
            assert_eq!(said.collect::<Vec<_>>(), Vec::<String>::new(), "{path}");
            assert_eq!(
                browser.ask("return document.querySelectorAll('main script, main img, main iframe').length"),
                json!(0),
                "{path}"
            );
        }
        // The stream must end before its server does, or the console of the next round tells of it.
        browser.open("about:blank");
    }
    let served = serve(fabricated::calm);
    browser.open(&served.page("/"));
    // The negative control: what the policy forbids is seen here when it is tried.
    browser.ask("const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)");
    assert_eq!(browser.ask("return window.ran === undefined"), json!(true));
    assert!(
        browser
            .console()
            .iter()
            .any(|line| line.contains("Content Security Policy"))
    );
}

#[test]
fn the_filter_works_as_a_plain_form() {
    let served = serve(fabricated::busy);
    let browser = browser(Look {
        script: false,
        ..PHONE
    });
    browser.open(&served.page("/"));
    browser.ask("document.querySelector('input[name=q]').value = 'lyon-1'; document.querySelector('form.filter button').click()");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !browser.text().contains("1 matching device") {
        assert!(Instant::now() < deadline, "{}", browser.text());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(
        browser.ask("return [...document.querySelectorAll('tbody tr')].map((row) => row.id)"),
        json!(["device-basement-lyon-12"])
    );
}

#[test]
fn a_page_that_is_not_known_yet_becomes_the_right_one_by_itself() {
    let browser = browser(DESKTOP);
    let served = serve(fabricated::recovering);
    browser.open(&served.page("/devices/none"));
    browser.wait("return document.getElementById('link').dataset.state === 'live'");
    browser.wait("return document.querySelector('h1').textContent === 'Not known yet'");
    served.fleet.change(|state| state.recovery.converged = true);
    browser.wait("return document.querySelector('h1').textContent === 'No such device'");
}

#[test]
fn a_log_ends_in_view_grows_by_itself_and_waits_while_somebody_selects() {
    let served = serve(fabricated::busy);
    let browser = browser(DESKTOP);
    browser.open(&served.page(LOGS));
    browser.wait("return document.getElementById('link').dataset.state === 'live'");
    // The newest line is in view without a script's help.
    let in_view = "const box = document.querySelector('.log').getBoundingClientRect(); const last = [...document.querySelectorAll('.log .line')].at(-1).getBoundingClientRect(); return last.bottom <= box.bottom + 1 && last.top >= box.top";
    assert_eq!(browser.ask(in_view), json!(true));
    assert_eq!(
        browser.ask(
            "return document.querySelector('.log').scrollHeight > document.querySelector('.log').clientHeight"
        ),
        json!(true)
    );

    let log = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        served.fleet.change(|state| {
            state.logs.insert("web/basement-nice-7".to_owned(), lines);
        });
    };
    log(&["one", "", "  three"]);
    browser.wait("return document.querySelectorAll('.log .line').length === 3");
    // What is copied is what was written: a line each, empty ones and blanks too.
    browser.ask("getSelection().selectAllChildren(document.querySelector('.log pre'))");
    assert_eq!(
        browser.ask("return getSelection().toString().replace(/\\n$/, '')"),
        json!("one\n\n  three")
    );
    log(&["one", "", "  three", "four"]);
    // Longer than two looks at the device: nothing is taken from under a selection.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(11) {
        assert_eq!(
            browser.ask("return document.querySelectorAll('.log .line').length"),
            json!(3)
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    browser.ask("getSelection().removeAllRanges()");
    browser.wait("return document.querySelectorAll('.log .line').length === 4");
}

#[test]
fn a_log_stays_in_place_while_looks_at_the_device_fail() {
    use fleet_control_plane::deploy::companion::logs::LogQueryError;
    let served = serve(fabricated::busy);
    let browser = browser(DESKTOP);
    browser.open(&served.page(LOGS));
    browser.wait("return document.getElementById('link').dataset.state === 'live'");
    browser.ask("window.box = document.querySelector('.log'); box.scrollTop = -100; window.line = document.querySelector('.log .line')");
    let place = browser.ask("return box.scrollTop");
    let kept = "return [window.box.isConnected, window.line.isConnected, box.scrollTop]";
    served
        .fleet
        .change(|state| state.log_error = Some(LogQueryError::Busy));
    browser.wait("return document.querySelector('main .banner') !== null");
    assert!(browser.text().contains("as of"), "{}", browser.text());
    assert_eq!(browser.ask(kept), json!([true, true, place]));
    served.fleet.change(|state| state.log_error = None);
    browser.wait("return document.querySelector('main .banner') === null");
    assert_eq!(browser.ask(kept), json!([true, true, place]));
}

#[test]
fn a_log_is_searched_as_a_plain_form_on_a_phone() {
    let served = serve(fabricated::busy);
    let browser = browser(Look {
        script: false,
        ..PHONE
    });
    browser.open(&served.page(LOGS));
    browser.ask("document.querySelector('input[name=q]').value = 'REFUSED'; document.querySelector('form.filter button').click()");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !browser.text().contains("lines match “REFUSED”") {
        assert!(Instant::now() < deadline, "{}", browser.text());
        std::thread::sleep(Duration::from_millis(50));
    }
    let all = "return [...document.querySelectorAll('.log .line')].every((line) => line.querySelector('mark')?.textContent === 'refused')";
    assert_eq!(browser.ask(all), json!(true));
    assert_eq!(
        browser.ask("return document.querySelectorAll('.log .line').length > 3"),
        json!(true)
    );
}

#[test]
fn a_hostile_log_is_read_and_does_nothing() {
    let served = serve(fabricated::hostile);
    let browser = browser(DESKTOP);
    browser.open(&served.page("/deployments/web/devices/pi-1/logs"));
    browser.wait("return document.getElementById('link').dataset.state === 'live'");
    let text = browser.ask("return document.querySelector('.log').innerText");
    let text = text.as_str().unwrap();
    for shown in [
        "<script>alert(2)</script>",
        "␛click␛",
        "nothing above this line",
        "user⟨U+202E⟩gpj.exe",
        "never ends <script>",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert_eq!(
        browser.ask("return document.querySelectorAll('.log a, .log script, .log img, .log b').length"),
        json!(0)
    );
}
