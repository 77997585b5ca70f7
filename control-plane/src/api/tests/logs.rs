//! Logs: asked of the device, or told at once why not.

use super::*;
use crate::fixture::{heartbeat, state};
use crate::store::AskError;

const LOGS: &str = "/api/v0/deployments/web/devices/pi-1/logs";

/// A device that is online and runs `web`.
async fn online() -> Rig {
    let rig = rig().await;
    rig.store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    rig.store.set(BucketId::Heartbeat, "pi-1", Some(heartbeat()));
    rig.put("/api/v0/deployments/web", &web("lyon")).await;
    let running = state(1, fleet_protocol::Phase::Running, None);
    rig.store.set(BucketId::Reported, "pi-1.web", Some(running));
    let there =
        |fleet: &crate::fleet::Fleet| fleet.pair_counts().running == 1 && fleet.device_counts().online == 1;
    rig.fleet.wait_until(there).await;
    rig
}

fn done(lines: &[&str]) -> Value {
    json!({"done": {"source": "web", "captured_at": "2026-01-01T00:00:00Z", "lines": lines, "truncated": true}})
}

#[tokio::test]
async fn a_log_is_given_as_the_container_wrote_it() {
    let rig = online().await;
    rig.asks.answers(&done(&["\u{1b}[31mred", "<script>"]));
    let (status, answer) = rig.get(&format!("{LOGS}?lines=2&timestamps=true")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let wanted = json!({
        "deployment": "web", "device": "pi-1", "previous": false, "source": "web",
        "captured_at": "2026-01-01T00:00:00Z", "lines": ["\u{1b}[31mred", "<script>"], "truncated": true,
    });
    assert_eq!(answer, wanted);
    let asked = rig.asks.asked.lock().unwrap();
    assert_eq!(
        *asked,
        [(
            "device-commands.pi-1.logs.web".to_owned(),
            json!({"lines": 2, "timestamps": true})
        )]
    );
}

#[tokio::test]
async fn lines_of_an_older_version_are_told_as_such() {
    let rig = online().await;
    let reported = |observed: u64| {
        json!({
            "protocol": 0, "observed_generation": observed, "phase": "Pulling", "since": "2026-01-01T00:00:00Z",
            "running": {"generation": 1, "image": "reg.example/app:1", "unit": "fleet-web.service", "invocation_id": "0".repeat(32), "started_at": "2026-01-01T00:00:00Z"},
        })
    };
    for (observed, query, told) in [(1, "", false), (2, "", true), (2, "?previous=true", false)] {
        let report = reported(observed).to_string().into();
        rig.store.set(BucketId::Reported, "pi-1.web", Some(report));
        rig.fleet
            .wait_until(|fleet| {
                let key = fleet_protocol::bucket::PairKey {
                    device: "pi-1".parse().unwrap(),
                    deployment: "web".parse().unwrap(),
                };
                fleet.pair_view(&key).and_then(|view| view.observed_generation) == Some(observed)
            })
            .await;
        rig.asks.answers(&done(&["old words"]));
        let (status, answer) = rig.get(&format!("{LOGS}{query}")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let note = "generation 2's container was not started yet; these lines are of generation 1";
        assert_eq!(answer["note"] == note, told, "{query}: {answer}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_before_the_device_is_asked() {
    let rig = online().await;
    for (query, words) in [
        ("lines=0", "1 to 5000 lines"),
        ("lines=5001", "1 to 5000 lines"),
        ("lines=many", "lines"),
        ("lines=-1", "lines"),
        ("init=../x", "no name of an init container"),
        ("previous=maybe", "previous"),
    ] {
        let (status, error) = rig.get(&format!("{LOGS}?{query}")).await;
        assert_eq!(
            (status, &error["kind"]),
            (StatusCode::BAD_REQUEST, &json!("bad-request")),
            "{query}"
        );
        assert!(
            error["detail"].as_str().is_some_and(|text| text.contains(words)),
            "{error}"
        );
    }
    assert!(rig.asks.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_offline_device_is_said_with_since_and_is_not_asked() {
    let rig = online().await;
    rig.asks.answers(&done(&["x"]));
    rig.clock.forward(chrono::TimeDelta::minutes(3));
    rig.store.set(BucketId::Heartbeat, "pi-1", None);
    rig.fleet
        .wait_until(|fleet| fleet.device_counts().offline == 1)
        .await;
    let (status, error) = rig.get(LOGS).await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("device-offline"))
    );
    let since: chrono::DateTime<chrono::Utc> =
        serde_json::from_value(error["since"].clone()).expect("a time");
    assert_eq!(since, noon() + chrono::TimeDelta::minutes(3));
    assert!(
        error["detail"]
            .as_str()
            .is_some_and(|text| text.contains("pi-1 is offline since")),
        "{error}"
    );
    assert!(rig.asks.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_way_to_fail_has_its_status_and_word() {
    let rig = online().await;
    for (answer, status, kind) in [
        (Err(AskError::NobodyListens), 503, "device-not-listening"),
        (Err(AskError::TimedOut), 504, "device-timeout"),
        (Err(AskError::Unavailable("x".into())), 503, "nats-unavailable"),
        (
            Ok(r#"{"refused":{"kind":"logs-no-previous","detail":"d"}}"#),
            404,
            "logs-no-previous",
        ),
        (
            Ok(r#"{"refused":{"kind":"logs-unreadable","detail":"d"}}"#),
            502,
            "logs-unreadable",
        ),
        (Ok("nonsense"), 502, "answer-malformed"),
    ] {
        *rig.asks.answer.lock().unwrap() = Some(answer.map(axum::body::Bytes::from));
        let (got, error) = rig.get(LOGS).await;
        assert_eq!((got.as_u16(), &error["kind"]), (status, &json!(kind)), "{error}");
    }
    for path in [
        "/api/v0/deployments/web/devices/pi-9/logs",
        "/api/v0/deployments/none/devices/pi-1/logs",
        "/api/v0/deployments/web/devices/No%20Id/logs",
    ] {
        let (status, error) = rig.get(path).await;
        assert_eq!(
            (status, &error["kind"]),
            (StatusCode::NOT_FOUND, &json!("not-found")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn only_so_many_logs_are_read_at_one_time() {
    let rig = online().await;
    rig.asks.answers(&done(&["x"]));
    let hold = rig.asks.hold.lock().await;
    let mut waiting = Vec::new();
    for _ in 0..32 {
        let router = rig.router.clone();
        let request = Request::get(LOGS).body(Body::empty()).unwrap();
        waiting.push(tokio::spawn(async move {
            router.oneshot(request).await.expect("an answer").status()
        }));
    }
    until("all wait", || rig.asks.asked.lock().unwrap().len() == 32).await;
    let (status, error) = rig.get(LOGS).await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("too-many-log-queries"))
    );
    drop(hold);
    for one in waiting {
        assert_eq!(one.await.expect("no panic"), StatusCode::OK);
    }
    assert_eq!(rig.get(LOGS).await.0, StatusCode::OK, "places come back");
}
