//! `fleetctl` against a server that serves a fabricated fleet: what a person reads, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[path = "../examples/dashboard/fabricated.rs"]
mod fabricated;

use std::io::Write;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use fabricated::{Fabricated, State, fixed_now};
use fleet_control_plane::api::types::{
    ChangeAnswer, ChangeQuery, EventQuery, ListQuery, Outcome, PairList, PairQuery, ProblemDetails,
    PutDeployment,
};
use fleet_control_plane::ctl::{self, Cli, Client, Context, Exit, Terminal};
use fleet_control_plane::fleet::view::PairView;
use fleet_control_plane::web::Source;
use futures_util::{StreamExt, stream};

/// What was asked of the server to change.
#[derive(Clone)]
struct Server {
    fleet: Arc<Fabricated>,
    changes: Arc<Mutex<Vec<String>>>,
    address: String,
}

type Fleet = Shared<Server>;

fn missing(what: &str) -> Response {
    let problem = ProblemDetails {
        kind: "not-found".to_owned(),
        title: "not found".to_owned(),
        status: 404,
        detail: format!("there is no {what}"),
        problems: Vec::new(),
        request_id: None,
    };
    (StatusCode::NOT_FOUND, Json(problem)).into_response()
}

fn found<T: serde::Serialize>(view: Option<T>, what: &str) -> Response {
    view.map_or_else(|| missing(what), |view| Json(view).into_response())
}

async fn put(
    Shared(server): Fleet,
    Path(name): Path<String>,
    Query(query): Query<ChangeQuery>,
    Json(_): Json<PutDeployment>,
) -> Response {
    server
        .changes
        .lock()
        .unwrap()
        .push(format!("put {name} dry_run={}", query.dry_run));
    let (outcome, generation) = match name.as_str() {
        "meter" => (Outcome::Unchanged, 2),
        "web" => (Outcome::Changed, 7),
        "refused" => {
            let problem = ProblemDetails {
                kind: "invalid".to_owned(),
                title: "the specification is refused".to_owned(),
                status: 422,
                detail: "it asks for what no device can do".to_owned(),
                problems: Vec::new(),
                request_id: None,
            };
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response();
        }
        _ => (Outcome::Created, 1),
    };
    Json(ChangeAnswer {
        outcome,
        dry_run: query.dry_run,
        name,
        generation,
        devices: 12,
    })
    .into_response()
}

async fn delete(Shared(server): Fleet, Path(name): Path<String>) -> Response {
    if server.fleet.deployment(&name).is_none() {
        return missing(&format!("deployment {name:?}"));
    }
    server.changes.lock().unwrap().push(format!("delete {name}"));
    Json(ChangeAnswer {
        outcome: Outcome::Deleted,
        dry_run: false,
        name,
        generation: 6,
        devices: 12,
    })
    .into_response()
}

async fn pairs(Shared(server): Fleet, Query(query): Query<PairQuery>) -> Response {
    let fleet = &server.fleet;
    let all = ListQuery {
        limit: Some(usize::MAX),
        ..ListQuery::default()
    };
    let devices = fleet.devices(&all).unwrap().items;
    let mut items: Vec<_> = devices
        .iter()
        .filter_map(|device| fleet.device(&device.id))
        .flat_map(|device| device.deployments)
        .filter(|pair| {
            query
                .deployment
                .as_ref()
                .is_none_or(|name| pair.deployment == *name)
        })
        .filter(|pair| query.phase.is_none_or(|state| pair.state == state))
        .filter(|pair| query.state.is_none_or(|state| pair.device_state == state))
        .collect();
    let total = items.len() as u64;
    let name = |pair: &PairView| format!("{}.{}", pair.device, pair.deployment);
    items.sort_by_key(name);
    items.retain(|pair| query.after.as_ref().is_none_or(|after| name(pair) > *after));
    // Small pages, so that a client that does not go on is found out.
    let more = items.len() > 5;
    items.truncate(5);
    let next = items.last().filter(|_| more).map(name);
    Json(PairList {
        recovery: fleet.recovery(),
        total,
        items,
        next,
    })
    .into_response()
}

async fn watch(Shared(server): Fleet) -> Response {
    let first = stream::iter([Ok::<_, std::convert::Infallible>(
        Event::default().event("snapshot-end").data("{}"),
    )]);
    let later = stream::unfold(server.fleet.changes(), |mut changes| async move {
        changes.changed().await.ok()?;
        Some((Ok(Event::default().event("pair").data("{}")), changes))
    });
    Sse::new(first.chain(later)).into_response()
}

fn routes(server: Server) -> Router {
    let api =
        Router::new()
            .route(
                "/devices",
                get(|Shared(s): Fleet, Query(q): Query<ListQuery>| async move {
                    Json(s.fleet.devices(&q).unwrap())
                }),
            )
            .route(
                "/devices/{id}",
                get(|Shared(s): Fleet, Path(id): Path<String>| async move {
                    found(s.fleet.device(&id), &format!("device {id:?}"))
                }),
            )
            .route(
                "/deployments",
                get(|Shared(s): Fleet, Query(q): Query<ListQuery>| async move {
                    Json(s.fleet.deployments(&q).unwrap())
                }),
            )
            .route(
                "/deployments/{name}",
                get(|Shared(s): Fleet, Path(name): Path<String>| async move {
                    found(s.fleet.deployment(&name), &format!("deployment {name:?}"))
                })
                .put(put)
                .delete(delete),
            )
            .route(
                "/deployments/{name}/devices/{id}",
                get(
                    |Shared(s): Fleet, Path((name, id)): Path<(String, String)>| async move {
                        found(s.fleet.pair(&name, &id), "pair")
                    },
                ),
            )
            .route("/pairs", get(pairs))
            .route(
                "/events",
                get(|Shared(s): Fleet, Query(q): Query<EventQuery>| async move {
                    Json(s.fleet.events(q).await.unwrap())
                }),
            )
            .route("/watch", get(watch));
    Router::new().nest("/api/v0", api).with_state(server)
}

/// Starts a server on a free port; it ends with the process of the test.
fn serve(state: State) -> Server {
    serve_after(Duration::ZERO, state)
}

/// Holds the port at once and answers later.
fn serve_after(delay: Duration, state: State) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // A port that nobody holds refuses, as that of an operator that starts anew.
    let place = listener.local_addr().unwrap();
    let mut listener = Some(listener).filter(|_| delay.is_zero());
    let server = Server {
        fleet: Arc::new(Fabricated::still(state)),
        changes: Arc::default(),
        address,
    };
    let app = routes(server.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::sleep(delay).await;
            let listener = listener.take().unwrap_or_else(|| {
                let listener = std::net::TcpListener::bind(place).unwrap();
                listener.set_nonblocking(true).unwrap();
                listener
            });
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    server
}

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shown {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// One command line: what it printed, what it said besides, and how it ended (`None` is well).
struct Ended {
    out: String,
    err: String,
    exit: Option<Exit>,
}

fn fleetctl_into(out: Shown, address: &str, line: &[&str]) -> Ended {
    let cli = Cli::try_parse_from(["fleetctl", "--server", address].iter().chain(line)).unwrap();
    let err = Shown::default();
    let mut terminal = Terminal::new(Box::new(out.clone()), Box::new(err.clone()), false, false);
    let done = Client::new(&cli.server, Some("anna".to_owned())).and_then(|client| {
        ctl::run(
            &cli.command,
            &mut Context {
                client,
                terminal: &mut terminal,
                now: &fixed_now,
            },
        )
    });
    let mut err = err.text();
    if let Err(error) = &done {
        err.push_str(&error.to_string());
    }
    Ended {
        out: out.text(),
        err,
        exit: done.err().map(|error| error.exit()),
    }
}

fn fleetctl(server: &Server, line: &[&str]) -> Ended {
    fleetctl_into(Shown::default(), &server.address, line)
}

fn shown(server: &Server, line: &[&str]) -> String {
    let ended = fleetctl(server, line);
    assert_eq!(ended.exit, None, "{}", ended.err);
    ended.out
}

fn file(dir: &FilePath, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    path.display().to_string()
}

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: fleet/v0\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec:\n  selector: {{ all: true }}\n  score:\n    podman_v0:\n      image: docker.io/library/nginx:1.27\n"
    )
}

#[test]
fn lists_are_columns_that_line_up() {
    let server = serve(fabricated::busy(fixed_now()));
    insta::assert_snapshot!("get_devices", shown(&server, &["get", "devices"]));
    insta::assert_snapshot!(
        "get_devices_wide",
        shown(&server, &["get", "devices", "--state", "offline", "-o", "wide"])
    );
    insta::assert_snapshot!("get_deployments", shown(&server, &["get", "deployments"]));
    insta::assert_snapshot!("get_pairs", shown(&server, &["get", "pairs", "web"]));
    insta::assert_snapshot!("get_names", shown(&server, &["get", "deployments", "-o", "name"]));
}

#[test]
fn one_thing_is_described_with_its_chain() {
    let server = serve(fabricated::busy(fixed_now()));
    insta::assert_snapshot!(
        "describe_pair",
        shown(&server, &["describe", "pair", "web/basement-brest-11"])
    );
    insta::assert_snapshot!(
        "describe_device",
        shown(&server, &["describe", "device", "basement-brest-11"])
    );
    insta::assert_snapshot!(
        "describe_deployment",
        shown(&server, &["describe", "deployment", "web"])
    );
}

#[test]
fn the_history_ends_with_the_newest() {
    let server = serve(fabricated::busy(fixed_now()));
    insta::assert_snapshot!(shown(&server, &["events"]));
}

#[test]
fn json_is_what_the_api_gives() {
    let server = serve(fabricated::calm(fixed_now()));
    let list: serde_json::Value =
        serde_json::from_str(&shown(&server, &["get", "devices", "-o", "json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 12);
    let one: serde_json::Value = serde_json::from_str(&shown(
        &server,
        &["get", "device", "basement-lyon-3", "-o", "json"],
    ))
    .unwrap();
    assert_eq!(one["id"], "basement-lyon-3");
}

#[test]
fn a_deployment_as_yaml_can_be_applied_again() {
    let server = serve(fabricated::calm(fixed_now()));
    let yaml = shown(&server, &["get", "deployments", "-o", "yaml"]);
    assert_eq!(yaml.matches("kind: Deployment").count(), 2, "{yaml}");
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "all.yaml", &yaml);
    assert_eq!(shown(&server, &["apply", "-f", &path]).lines().count(), 2);
}

#[test]
fn apply_says_what_became_of_each_object() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    for name in ["meter", "new", "web"] {
        file(dir.path(), &format!("{name}.yaml"), &manifest(name));
    }
    file(dir.path(), "notes.txt", "not a manifest");
    let path = dir.path().display().to_string();
    insta::assert_snapshot!(shown(&server, &["apply", "-f", &path]), @r"
    deployment/meter unchanged: generation 2 on 12 devices
    deployment/new created: generation 1 on 12 devices
    deployment/web configured: generation 7 on 12 devices
    ");
    assert_eq!(server.changes.lock().unwrap().len(), 3);
}

#[test]
fn a_dry_run_is_asked_of_the_server_and_said() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "web.yaml", &manifest("web"));
    let out = shown(&server, &["apply", "--dry-run", "-f", &path]);
    assert!(out.contains("configured (dry run)"), "{out}");
    assert_eq!(*server.changes.lock().unwrap(), ["put web dry_run=true"]);
}

#[test]
fn one_wrong_manifest_sends_none() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "a.yaml", &manifest("a"));
    let bad = file(dir.path(), "b.yaml", &manifest("b").replace("image:", "imagee:"));
    let ended = fleetctl(&server, &["apply", "-f", &good, "-f", &bad]);
    assert_eq!(ended.exit, Some(Exit::InvalidManifest));
    assert!(
        ended
            .err
            .contains("b.yaml:8:7: spec.score.podman_v0.imagee is not a field here"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.ends_with("1 error in manifests: nothing was sent"),
        "{}",
        ended.err
    );
    assert!(server.changes.lock().unwrap().is_empty());
}

#[test]
fn what_the_server_refuses_is_told_and_the_others_are_done() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "two.yaml",
        &format!("{}---\n{}", manifest("refused"), manifest("web")),
    );
    let ended = fleetctl(&server, &["apply", "-f", &path]);
    assert_eq!(ended.exit, Some(Exit::InvalidManifest));
    assert!(ended.out.contains("deployment/web configured"), "{}", ended.out);
    insta::assert_snapshot!(ended.err.replace(&path, "two.yaml"));
}

#[test]
fn deletion_names_what_it_hits_and_what_is_not_there() {
    let server = serve(fabricated::calm(fixed_now()));
    assert_eq!(
        shown(&server, &["delete", "deployment", "web"]),
        "deployment/web deleted: from 12 devices\n"
    );
    let ended = fleetctl(&server, &["delete", "deployment", "nope"]);
    assert_eq!(ended.exit, Some(Exit::NotFound));
    insta::assert_snapshot!(ended.err);
    assert_eq!(
        fleetctl(&server, &["delete", "deployment", "nope", "--ignore-not-found"]).exit,
        None
    );
}

#[test]
fn a_server_that_is_away_is_said_with_what_to_check() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ended = fleetctl_into(Shown::default(), &address, &["get", "devices"]);
    assert_eq!(ended.exit, Some(Exit::Unreachable));
    assert!(
        ended.err.contains("was not reached") && ended.err.contains("FLEET_SERVER"),
        "{}",
        ended.err
    );
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    for address in ["nonsense", "https://fleet.example", "ftp://x", "http://x/path"] {
        let ended = fleetctl_into(Shown::default(), address, &["get", "devices"]);
        assert_eq!(ended.exit, Some(Exit::Usage), "{address}: {}", ended.err);
    }
}

#[test]
fn a_rollout_that_runs_everywhere_ends_well() {
    let server = serve(fabricated::calm(fixed_now()));
    let out = shown(&server, &["rollout", "status", "deployment", "web"]);
    assert_eq!(out, "deployment/web: generation 6 runs on 12 of 12 devices\n");
}

#[test]
fn a_rollout_that_is_over_time_says_why() {
    let server = serve(fabricated::busy(fixed_now()));
    let ended = fleetctl(
        &server,
        &["rollout", "status", "deployment", "web", "--timeout", "1s"],
    );
    assert_eq!(ended.exit, Some(Exit::Rollout));
    assert!(
        ended.err.contains("image-not-found") && ended.err.contains("fleetctl describe deployment web"),
        "{}",
        ended.err
    );
}

#[test]
fn watching_prints_each_change_once() {
    let server = serve(fabricated::calm(fixed_now()));
    let out = Shown::default();
    let (watcher, address) = (out.clone(), server.address.clone());
    // It ends with the test: a watch has no end of its own.
    std::thread::spawn(move || fleetctl_into(watcher, &address, &["get", "pairs", "meter", "--watch"]));
    let wait = |what: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !what(&out.text()) {
            assert!(Instant::now() < deadline, "in time only: {}", out.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(&|text| text.lines().count() == 13);
    // The stream may not yet be open: change again until it is seen.
    wait(&|text| {
        server.fleet.change(|state| {
            let pair = state.pairs.iter_mut().find(|p| p.deployment == "meter").unwrap();
            pair.state = fleet_control_plane::fleet::view::PairState::Upgrading;
        });
        text.contains("Upgrading")
    });
    assert_eq!(out.text().matches("Upgrading").count(), 1, "{}", out.text());
    assert_eq!(out.text().lines().count(), 14, "{}", out.text());
}

#[test]
fn what_devices_say_cannot_move_the_cursor() {
    let mut state = fabricated::busy(fixed_now());
    for pair in &mut state.pairs {
        pair.phase = Some("\u{1b}[2J".to_owned());
        pair.cause = Some(fleet_protocol::Cause::new("\u{1b}]0;x\u{7}", "\u{1b}[31m\r\n"));
        pair.chain
            .iter_mut()
            .for_each(|link| link.text = "\u{1b}[2J".to_owned());
    }
    let server = serve(state);
    for line in [
        &["get", "pairs", "web"][..],
        &["describe", "deployment", "web"],
        &["describe", "pair", "web/basement-brest-11"],
    ] {
        let out = shown(&server, line);
        assert!(
            !out.contains('\u{1b}') && !out.contains('\r'),
            "{line:?}: {out:?}"
        );
    }
}

#[test]
fn help_opens_with_examples_that_parse() {
    use clap::CommandFactory;
    let help = Cli::command().render_long_help().to_string();
    assert!(help.starts_with("Examples:\n"), "{help}");
    let examples: Vec<&str> = help.lines().skip(1).take(3).collect();
    for example in examples {
        for command in example.split('|') {
            let words: Vec<&str> = command
                .split("  ")
                .find(|part| !part.is_empty())
                .unwrap()
                .split_whitespace()
                .collect();
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }
    insta::assert_snapshot!(help);
}

#[test]
fn the_command_line_is_sound_and_documents_itself() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    let server = serve(fabricated::empty(fixed_now()));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            shown(&server, &["completion", shell]).contains("rollout"),
            "{shell}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("man").display().to_string();
    shown(&server, &["man", &path]);
    assert!(dir.path().join("man/fleetctl-apply.1").is_file());
    assert!(
        fleetctl(&server, &["get", "devices"]).err.contains("fleet-sim"),
        "an empty list teaches the next command"
    );
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the exit codes are those of the real process"
)]
fn the_process_ends_with_the_documented_codes() {
    let server = serve(fabricated::calm(fixed_now()));
    let run = |line: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fleetctl"));
        command
            .env("FLEET_SERVER", &server.address)
            .args(line)
            .output()
            .unwrap()
    };
    assert_eq!(run(&["version"]).status.code(), Some(0));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(run(&["get", "device", "nope"]).status.code(), Some(3));
    assert_eq!(
        run(&["--server", "http://127.0.0.1:1", "get", "devices"])
            .status
            .code(),
        Some(5)
    );
    let listed = run(&["get", "devices"]);
    assert!(!listed.stdout.contains(&0x1b), "no colour into a pipe");
}

#[test]
fn a_rollout_waits_for_an_operator_that_is_away() {
    let server = serve_after(Duration::from_secs(3), fabricated::calm(fixed_now()));
    let ended = fleetctl(
        &server,
        &["rollout", "status", "deployment", "web", "--timeout", "30s"],
    );
    assert_eq!(ended.exit, None, "{}", ended.err);
    assert_eq!(ended.err.matches("trying again").count(), 1, "{}", ended.err);
    assert!(ended.out.contains("runs on 12 of 12"), "{}", ended.out);
}

#[test]
fn a_rollout_is_judged_by_all_pairs_and_not_by_those_of_one_page() {
    let mut state = fabricated::calm(fixed_now());
    let web = state
        .pairs
        .iter()
        .find(|pair| pair.deployment == "web")
        .unwrap()
        .clone();
    for number in 0..600 {
        let mut pair = web.clone();
        pair.device = format!("site-{number:05}");
        // Running, and sorted behind those that a page shows.
        pair.desired_generation = Some(if number == 599 { 5 } else { 6 });
        state.pairs.push(pair);
    }
    let server = serve(state);
    let line = ["rollout", "status", "deployment", "web", "--timeout", "1s"];
    assert_eq!(fleetctl(&server, &line).exit, Some(Exit::Rollout));
    server.fleet.change(|state| {
        for pair in state.pairs.iter_mut().filter(|pair| pair.deployment == "web") {
            pair.desired_generation = Some(6);
        }
    });
    assert_eq!(fleetctl(&server, &line).exit, None);
}

/// Watches in a thread that ends with the test: a watch has no end of its own.
fn watching(server: &Server, line: &'static [&'static str]) -> Shown {
    let out = Shown::default();
    let (watcher, address) = (out.clone(), server.address.clone());
    std::thread::spawn(move || fleetctl_into(watcher, &address, line));
    out
}

fn wait(out: &Shown, what: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !what(&out.text()) {
        assert!(Instant::now() < deadline, "in time only: {}", out.text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_partial_view_lacks_is_not_gone() {
    let server = serve(fabricated::calm(fixed_now()));
    let out = watching(&server, &["get", "devices", "--watch", "-o", "name"]);
    wait(&out, |text| text.lines().count() >= 12);
    let all = out.text().lines().count();
    server.fleet.change(|state| {
        state.recovery.converged = false;
        state.devices.truncate(3);
        state.devices[0].arch = "riscv64".to_owned();
    });
    // The changed device is printed, so this look was made, and the others were not said to be gone.
    wait(&out, |text| text.lines().count() > all);
    assert!(!out.text().contains("gone"), "{}", out.text());
    server.fleet.change(|state| state.recovery.converged = true);
    wait(&out, |text| text.contains("gone"));
}

#[test]
fn following_the_history_misses_none_and_survives_another_store() {
    let server = serve(fabricated::calm(fixed_now()));
    let event = |server: &Server, numbers: std::ops::RangeInclusive<u64>, word: &str| {
        server.fleet.change(|state| {
            let model = state.events[0].clone();
            for sequence in numbers {
                let mut item = model.clone();
                item.sequence = sequence;
                item.event.subject = format!("device/{word}-{sequence}");
                state.events.insert(0, item);
            }
        });
    };
    let out = watching(&server, &["events", "--watch", "-o", "name"]);
    wait(&out, |text| !text.is_empty());
    event(&server, 10_001..=11_500, "burst");
    wait(&out, |text| text.contains("burst-11500"));
    assert_eq!(out.text().matches("burst-").count(), 1_500);
    server.fleet.change(|state| state.events.truncate(1));
    event(&server, 1..=2, "anew");
    server.fleet.change(|state| state.events.truncate(2));
    wait(&out, |text| text.contains("anew-2"));
}
