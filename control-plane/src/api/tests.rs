use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;
use utoipa::OpenApi;

use super::openapi::Document;
use super::{ApiState, ROUTES, router};
use crate::clock::Clock;
use crate::fixture::{deployment, info, noon, spec, until};
use crate::fleet::FleetHandle;
use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::store::BucketId;
use crate::store::memory::MemoryStore;

const IMAGE: &str = "reg.example/app:1";

/// API and operator on a store in memory.
struct Rig {
    store: MemoryStore,
    fleet: FleetHandle,
    router: Router,
    stop: watch::Sender<bool>,
    clock: Clock,
    _operator: Operator,
}

async fn rig() -> Rig {
    let clock = Clock::standing_at(noon());
    let store = MemoryStore::new(clock.clone());
    let fleet = FleetHandle::new(clock.clone());
    let metrics = Arc::new(Metrics::default());
    let writes = Arc::new(store.clone());
    let (stop, stopped) = watch::channel(false);
    let operator = Operator::start(&fleet, store.watch(), writes.clone(), Arc::clone(&metrics));
    let router = router(ApiState::new(fleet.clone(), writes, metrics, stopped));
    fleet
        .wait_until(|fleet| fleet.converged() && fleet.connected())
        .await;
    Rig {
        store,
        fleet,
        router,
        stop,
        clock,
        _operator: operator,
    }
}

impl Rig {
    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router
            .clone()
            .oneshot(request)
            .await
            .expect("the router always answers")
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        parts(self.send(Request::get(path).body(Body::empty()).unwrap()).await).await
    }

    async fn put(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::put(path)
            .header("x-fleet-actor", "ada")
            .body(Body::from(body.to_string()))
            .unwrap();
        parts(self.send(request).await).await
    }

    fn history(&self) -> Vec<Value> {
        self.store
            .history()
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).expect("JSON"))
            .collect()
    }
}

async fn parts(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 16 << 20)
        .await
        .expect("a whole body");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::String(text)),
    )
}

fn web(site: &str) -> Value {
    json!({ "labels": {}, "spec": spec(site, IMAGE) })
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .iter()
                .map(move |method| ((*path).to_owned(), (*method).to_owned()))
        })
        .collect();
    let document = serde_json::to_value(Document::openapi()).expect("JSON");
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["get", "put", "post", "delete", "patch"] {
            if item.get(method).is_some() {
                described.insert((path.clone(), method.to_owned()));
            }
        }
    }
    assert_eq!(routes, described);
}

#[tokio::test]
async fn every_described_route_answers_and_every_method_that_is_not_described_is_refused() {
    let rig = rig().await;
    for (path, methods) in ROUTES {
        let path = path.replace("{id}", "pi-1").replace("{name}", "web");
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let request = Request::builder()
                .method(method)
                .uri(&path)
                .body(Body::empty())
                .unwrap();
            let response = self_answer(&rig, request).await;
            let known = methods.contains(&method.to_lowercase().as_str());
            assert_eq!(
                response.0 != StatusCode::METHOD_NOT_ALLOWED,
                known,
                "{method} {path}"
            );
            assert_ne!(response.1, "path not found", "{method} {path}");
        }
    }
    let (status, error) = rig.get("/api/v0/nowhere").await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::NOT_FOUND, &json!("not-found"))
    );
}

/// Status and title, without waiting for the end of a stream.
async fn self_answer(rig: &Rig, request: Request<Body>) -> (StatusCode, String) {
    let response = rig.send(request).await;
    let status = response.status();
    let problem = response
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "application/problem+json");
    if !problem {
        return (status, String::new());
    }
    let (_, body) = parts(response).await;
    (status, body["title"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn applying_twice_changes_once_and_the_history_names_the_person() {
    let rig = rig().await;
    rig.store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    rig.fleet.wait_until(|fleet| fleet.devices().count() == 1).await;
    let (status, answer) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(
        (status, &answer["outcome"], &answer["devices"]),
        (StatusCode::CREATED, &json!("created"), &json!(1))
    );
    let (status, answer) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(
        (status, &answer["outcome"], &answer["generation"]),
        (StatusCode::OK, &json!("unchanged"), &json!(1))
    );
    let (_, answer) = rig.put("/api/v0/deployments/web", &web("nice")).await;
    assert_eq!(
        (&answer["outcome"], &answer["generation"]),
        (&json!("changed"), &json!(2))
    );
    let mut relabelled = web("nice");
    relabelled["labels"] = json!({ "team": "shop" });
    let (_, answer) = rig.put("/api/v0/deployments/web", &relabelled).await;
    assert_eq!(
        (&answer["outcome"], &answer["generation"]),
        (&json!("changed"), &json!(2))
    );
    let by_ada = rig
        .history()
        .iter()
        .filter(|event| event["actor"] == "ada")
        .count();
    assert_eq!(by_ada, 3);
    let (_, events) = rig.get("/api/v0/events?subject=deployment/web&limit=100").await;
    assert!(
        events["items"].as_array().is_some_and(|items| items.len() >= 3),
        "{events}"
    );
    let (_, view) = rig.get("/api/v0/deployments/web").await;
    assert_eq!(
        (&view["generation"], &view["labels"]["team"]),
        (&json!(2), &json!("shop"))
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let rig = rig().await;
    let before = rig.store.writes();
    let (status, answer) = rig
        .put("/api/v0/deployments/web?dry_run=true", &web("lyon"))
        .await;
    assert_eq!(
        (status, &answer["outcome"], &answer["dry_run"]),
        (StatusCode::OK, &json!("created"), &json!(true))
    );
    assert_eq!((rig.store.writes(), rig.history().len()), (before, 0));
}

#[tokio::test]
async fn another_generation_than_expected_is_refused() {
    let rig = rig().await;
    rig.put("/api/v0/deployments/web", &web("lyon")).await;
    for (tag, status) in [("\"7\"", 412), ("0", 412), ("x", 400), ("\"1\"", 200)] {
        let request = Request::put("/api/v0/deployments/web")
            .header("if-match", tag)
            .body(Body::from(web("nice").to_string()))
            .unwrap();
        let (answered, body) = parts(rig.send(request).await).await;
        assert_eq!(answered.as_u16(), status, "{tag}: {body}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_path() {
    let rig = rig().await;
    let mut bad_port = web("lyon");
    bad_port["spec"]["score"]["podman_v0"]["ports"] = json!([{ "host": 80, "container": 80 }]);
    let mut unknown = web("lyon");
    unknown["spec"]["score"]["podman_v0"]["imgae"] = json!("x");
    let mut label = web("lyon");
    label["labels"] = json!({ "a b": "c" });
    for (body, path) in [
        (&bad_port, "spec.score.podman_v0.ports[0].host"),
        (&unknown, "spec.score.podman_v0"),
        (&label, "labels.a b"),
        (&json!({ "spec": 1 }), "spec"),
    ] {
        let (status, error) = rig.put("/api/v0/deployments/web", body).await;
        assert_eq!(
            (status, &error["kind"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid")),
            "{error}"
        );
        let found = error["problems"][0]["path"].as_str().unwrap_or_default();
        assert!(found.starts_with(path), "{path}: {error}");
        assert!(error["request_id"].is_string());
    }
    let (status, error) = rig.put("/api/v0/deployments/Not-A-Name", &web("lyon")).await;
    assert_eq!(
        (status, &error["problems"][0]["path"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("name"))
    );
    let (status, error) = rig.put("/api/v0/deployments/agent", &web("lyon")).await;
    assert_eq!(
        (status, &error["problems"][0]["path"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("name"))
    );
    let large = json!({ "spec": "x".repeat(super::types::MAX_BODY_BYTES) });
    assert_eq!(
        rig.put("/api/v0/deployments/web", &large).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let (status, _) = rig.get("/api/v0/devices?limit=many").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(rig.store.keys(BucketId::Deployments).len(), 0);
}

#[tokio::test]
async fn a_deployment_made_anew_never_takes_a_generation_that_a_device_has_seen() {
    let rig = rig().await;
    for site in ["lyon", "nice", "lyon"] {
        rig.put("/api/v0/deployments/web", &web(site)).await;
    }
    let request = Request::delete("/api/v0/deployments/web")
        .body(Body::empty())
        .unwrap();
    let (status, answer) = parts(rig.send(request).await).await;
    assert_eq!((status, &answer["outcome"]), (StatusCode::OK, &json!("deleted")));
    assert_eq!(rig.get("/api/v0/deployments/web").await.0, StatusCode::NOT_FOUND);
    let request = Request::delete("/api/v0/deployments/web")
        .body(Body::empty())
        .unwrap();
    assert_eq!(rig.send(request).await.status(), StatusCode::NOT_FOUND);
    let (_, answer) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert!(
        answer["generation"]
            .as_u64()
            .is_some_and(|generation| generation > 3),
        "{answer}"
    );
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_said_so() {
    let rig = rig().await;
    rig.store.refuse_writes(1);
    let (status, error) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("store-unavailable"))
    );
}

#[tokio::test]
async fn while_recovering_it_is_alive_not_ready_and_changes_nothing() {
    let clock = Clock::standing_at(noon());
    let store = MemoryStore::new(clock.clone());
    let fleet = FleetHandle::new(clock.clone());
    let (stop, stopped) = watch::channel(false);
    let state = ApiState::new(
        fleet.clone(),
        Arc::new(store.clone()),
        Arc::new(Metrics::default()),
        stopped,
    );
    let (_sender, never) = tokio::sync::mpsc::channel(1);
    let operator = Operator::start(
        &fleet,
        never,
        Arc::new(store.clone()),
        Arc::new(Metrics::default()),
    );
    let rig = Rig {
        store,
        fleet,
        router: router(state),
        stop,
        clock,
        _operator: operator,
    };
    assert_eq!(rig.get("/healthz").await.0, StatusCode::OK);
    // What was not read yet is not missing.
    for path in ["devices/pi-1", "deployments/web", "deployments/web/devices/pi-1"] {
        let (status, error) = rig.get(&format!("/api/v0/{path}")).await;
        assert_eq!(
            (status, &error["kind"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("recovering")),
            "{path}"
        );
    }
    let (status, error) = rig.get("/readyz").await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("recovering"))
    );
    assert!(
        error["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("not connected to NATS")),
        "{error}"
    );
    let (status, _) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        rig.get("/api/v0/status").await.1["recovery"]["converged"],
        json!(false)
    );
}

#[tokio::test]
async fn a_request_that_another_site_caused_is_refused() {
    let rig = rig().await;
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
        let request = Request::get("/api/v0/status")
            .header(name, value)
            .body(Body::empty())
            .unwrap();
        let (status, error) = parts(rig.send(request).await).await;
        assert_eq!(
            (status, &error["kind"]),
            (StatusCode::FORBIDDEN, &json!("foreign-host")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_metrics_page_counts_devices_pairs_writes_and_requests() {
    let rig = rig().await;
    rig.store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    rig.put("/api/v0/deployments/web", &web("lyon")).await;
    until("it is resolved", || {
        rig.store.value(BucketId::Desired, "pi-1.web").is_some()
    })
    .await;
    rig.fleet
        .wait_until(|fleet| fleet.pair_counts().waiting == 1)
        .await;
    let (_, page) = rig.get("/metrics").await;
    let page = page.as_str().expect("text");
    for line in [
        "fleet_devices{state=\"Offline\"} 1",
        "fleet_pairs{state=\"Waiting\"} 1",
        "fleet_converged 1",
        "fleet_store_writes_total{bucket=\"desired-state\",outcome=\"Done\"} 1",
        "route=\"/api/v0/deployments/{name}\",method=\"PUT\",status=\"201\"",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
}

/// Names of the events in a part of a stream, and the last id.
fn names(text: &str) -> (Vec<String>, Option<String>) {
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .map(str::to_owned)
        .collect();
    let id = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .next_back()
        .map(str::to_owned);
    (names, id)
}

/// Reads a stream until `enough` or its end.
async fn read_until(body: Body, enough: impl Fn(&str) -> bool) -> String {
    let mut stream = body.into_data_stream();
    let mut text = String::new();
    let read = async {
        while !enough(&text) {
            match stream.next().await {
                Some(bytes) => text.push_str(&String::from_utf8_lossy(&bytes.expect("a part"))),
                None => break,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("in time");
    text
}

#[tokio::test]
async fn a_watcher_gets_a_snapshot_then_changes_and_goes_on_where_it_was() {
    let rig = rig().await;
    rig.store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    rig.fleet.wait_until(|fleet| fleet.devices().count() == 1).await;
    let response = rig
        .send(Request::get("/api/v0/watch").body(Body::empty()).unwrap())
        .await;
    let text = read_until(response.into_body(), |text| text.contains("snapshot-end")).await;
    let (events, id) = names(&text);
    assert_eq!(&events[..2], ["snapshot-begin", "device"]);
    let id = id.expect("the end of a snapshot has an id");

    rig.put("/api/v0/deployments/web", &web("lyon")).await;
    let request = Request::get("/api/v0/watch")
        .header("last-event-id", id)
        .body(Body::empty())
        .unwrap();
    let text = read_until(rig.send(request).await.into_body(), |text| {
        text.contains("event: pair")
    })
    .await;
    let (events, _) = names(&text);
    assert!(!events.contains(&"snapshot-begin".to_owned()), "{events:?}");
    assert!(events.contains(&"deployment".to_owned()), "{events:?}");

    let request = Request::get("/api/v0/watch")
        .header("last-event-id", "00000000-1")
        .body(Body::empty())
        .unwrap();
    let text = read_until(rig.send(request).await.into_body(), |text| {
        text.contains("snapshot-end")
    })
    .await;
    assert!(
        text.contains("snapshot-begin"),
        "an id of another process begins anew"
    );
}

#[tokio::test]
async fn a_narrow_watch_tells_only_of_what_it_asked_for() {
    let rig = rig().await;
    for id in ["pi-1", "pi-2"] {
        rig.store.set(BucketId::Info, id, Some(info("lyon")));
    }
    rig.put("/api/v0/deployments/web", &web("lyon")).await;
    rig.fleet.wait_until(|fleet| fleet.pair_counts().total == 2).await;
    let request = Request::get("/api/v0/watch?device=pi-2")
        .body(Body::empty())
        .unwrap();
    let text = read_until(rig.send(request).await.into_body(), |text| {
        text.contains("snapshot-end")
    })
    .await;
    assert_eq!(
        names(&text).0,
        ["snapshot-begin", "device", "pair", "snapshot-end"]
    );
    assert!(!text.contains("pi-1"));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_takes_nothing_is_let_go_with_the_reason() {
    let rig = rig().await;
    let response = rig
        .send(Request::get("/api/v0/watch").body(Body::empty()).unwrap())
        .await;
    for number in 0..600 {
        rig.store
            .set(BucketId::Info, &format!("pi-{number}"), Some(info("lyon")));
    }
    rig.fleet.wait_until(|fleet| fleet.devices().count() == 600).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let text = read_until(response.into_body(), |_| false).await;
    let (events, _) = names(&text);
    assert_eq!(events.last().map(String::as_str), Some("bye"));
    assert!(
        text.contains("too-slow") && events.len() < 300,
        "{} events",
        events.len()
    );
}

#[tokio::test]
async fn streams_end_with_a_farewell_when_the_operator_ends() {
    let rig = rig().await;
    let response = rig
        .send(Request::get("/api/v0/watch").body(Body::empty()).unwrap())
        .await;
    rig.stop.send(true).expect("the watcher listens");
    let text = read_until(response.into_body(), |_| false).await;
    assert!(text.contains("shutting-down"), "{text}");
}

#[tokio::test]
async fn a_deployment_of_a_newer_control_plane_is_not_written_over() {
    let rig = rig().await;
    rig.store.set(
        BucketId::Deployments,
        "web",
        Some(br#"{"protocol":9}"#.as_slice().into()),
    );
    rig.fleet
        .wait_until(|fleet| fleet.deployments().count() == 1)
        .await;
    let (status, error) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::CONFLICT, &json!("value-of-newer-version"))
    );
    let fresh = deployment("web", 1, spec("lyon", IMAGE));
    rig.store.set(BucketId::Deployments, "web", Some(fresh));
    until("it can be read again", || {
        rig.fleet
            .deployment("web")
            .is_some_and(|view| view.spec.is_some())
    })
    .await;
}

/// A store whose next write waits until it is let go.
struct Slow {
    store: MemoryStore,
    begun: tokio::sync::Notify,
    go: tokio::sync::Notify,
}

impl crate::store::Writes for Slow {
    fn put<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
        value: bytes::Bytes,
    ) -> futures_util::future::BoxFuture<'a, Result<u64, crate::store::WriteError>> {
        Box::pin(async move {
            if bucket == BucketId::Deployments {
                self.begun.notify_one();
                self.go.notified().await;
            }
            self.store.put(bucket, key, expected, value).await
        })
    }

    fn delete<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
    ) -> futures_util::future::BoxFuture<'a, Result<u64, crate::store::WriteError>> {
        self.store.delete(bucket, key, expected)
    }

    fn append<'a>(
        &'a self,
        subject: &'a str,
        value: bytes::Bytes,
    ) -> futures_util::future::BoxFuture<'a, Result<u64, crate::store::WriteError>> {
        self.store.append(subject, value)
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_neither_the_change_nor_its_line_in_the_history_with_it() {
    let rig = rig().await;
    let slow = Arc::new(Slow {
        store: rig.store.clone(),
        begun: tokio::sync::Notify::new(),
        go: tokio::sync::Notify::new(),
    });
    let (_stop, stopped) = watch::channel(false);
    let state = ApiState::new(
        rig.fleet.clone(),
        slow.clone(),
        Arc::new(Metrics::default()),
        stopped,
    );
    let request = Request::put("/api/v0/deployments/web")
        .header("x-fleet-actor", "ada")
        .body(Body::from(web("lyon").to_string()))
        .unwrap();
    let answer = tokio::spawn(router(state).oneshot(request));
    slow.begun.notified().await;
    answer.abort();
    assert!(answer.await.is_err(), "the client is gone before its answer");
    slow.go.notify_one();
    until("the history tells of it", || {
        rig.history()
            .iter()
            .any(|event| event["actor"] == "ada" && event["kind"] == "deployment-created")
    })
    .await;
    assert_eq!(rig.get("/api/v0/deployments/web").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_page_that_is_followed_ends_with_the_operator() {
    let rig = rig().await;
    let response = rig
        .send(Request::get("/live?page=/").body(Body::empty()).unwrap())
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut stream = response.into_body().into_data_stream();
    stream.next().await.expect("a greeting").expect("readable");
    rig.stop.send(true).expect("the stream listens");
    let rest = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while stream.next().await.is_some() {}
    });
    rest.await.expect("the stream ends");
}

#[tokio::test]
async fn only_so_many_pages_are_followed_at_one_time() {
    let rig = rig().await;
    let follow = || Request::get("/live?page=/").body(Body::empty()).unwrap();
    let mut open = Vec::new();
    for _ in 0..256 {
        let response = rig.send(follow()).await;
        assert_eq!(response.status(), StatusCode::OK);
        open.push(response);
    }
    assert_eq!(rig.send(follow()).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    open.pop();
    assert_eq!(rig.send(follow()).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_as_ever_moves_the_time_that_a_followed_page_shows() {
    let rig = rig().await;
    rig.store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    rig.store
        .set(BucketId::Heartbeat, "pi-1", Some(crate::fixture::heartbeat()));
    until("the device is there", || {
        rig.fleet
            .device("pi-1")
            .is_some_and(|device| device.summary.last_heartbeat_at.is_some())
    })
    .await;
    let request = Request::get("/live?page=/devices/pi-1")
        .body(Body::empty())
        .unwrap();
    let mut stream = rig.send(request).await.into_body().into_data_stream();
    let mut next = async || {
        let event = tokio::time::timeout(std::time::Duration::from_secs(60), stream.next()).await;
        String::from_utf8(
            event
                .expect("in time")
                .expect("one more")
                .expect("readable")
                .to_vec(),
        )
        .expect("text")
    };
    assert!(next().await.contains("event: hello"));
    assert!(next().await.contains("event: page"));
    assert!(next().await.contains("event: tick"), "nothing new is no page");
    let version = rig.fleet.version();
    rig.clock.forward(chrono::TimeDelta::seconds(15));
    rig.store
        .set(BucketId::Heartbeat, "pi-1", Some(crate::fixture::heartbeat()));
    let later = noon() + chrono::TimeDelta::seconds(15);
    until("the heartbeat was read", || {
        rig.fleet
            .device("pi-1")
            .is_some_and(|device| device.summary.last_heartbeat_at == Some(later))
    })
    .await;
    assert_eq!(rig.fleet.version(), version, "a heartbeat as ever is no change");
    assert!(next().await.contains("event: page"));
}
