//! Companions on a topology that answers as it is told.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::*;

/// A device that gives one answer, and what it was asked.
struct Told {
    answer: Result<Bytes, AskError>,
    reachable: Result<(), LogQueryError>,
    asked: Mutex<Vec<(String, Value)>>,
}

impl Topology for Told {}

impl Devices for Told {
    fn reachable(&self, _placed: &Placed) -> Result<(), LogQueryError> {
        self.reachable.clone()
    }

    fn ask(&self, subject: String, request: Bytes, _: Duration) -> BoxFuture<'_, Result<Bytes, AskError>> {
        let request = serde_json::from_slice(&request).unwrap();
        self.asked.lock().unwrap().push((subject, request));
        Box::pin(std::future::ready(self.answer.clone()))
    }

    fn deaf(&self, placed: &Placed) -> LogQueryError {
        LogQueryError::NotListening {
            device: placed.device.clone(),
            heard: None,
        }
    }

    fn silent(&self, placed: &Placed, patience: Duration) -> LogQueryError {
        LogQueryError::TimedOut {
            device: placed.device.clone(),
            patience,
            heard: None,
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }
}

fn told(answer: &Value) -> Told {
    Told {
        answer: Ok(answer.to_string().into()),
        reachable: Ok(()),
        asked: Mutex::default(),
    }
}

fn failing(error: AskError) -> Told {
    Told {
        answer: Err(error),
        ..told(&Value::Null)
    }
}

fn done(source: &str, lines: &[&str]) -> Value {
    json!({"done": {"source": source, "captured_at": "2026-01-01T00:00:00Z", "lines": lines, "truncated": false}})
}

fn of(init: Option<&str>) -> LogsOf {
    LogsOf {
        placed: Placed {
            device: "pi-1".parse().unwrap(),
            deployment: "web".parse().unwrap(),
        },
        init: init.map(str::to_owned),
        previous: init.is_some(),
        timestamps: init.is_some(),
    }
}

fn podman() -> fleet_protocol::Score {
    serde_json::from_value(json!({"podman_v0": {"image": "reg.example/app:1"}})).unwrap()
}

async fn ask(topology: &Told, of: LogsOf, n: usize) -> Result<LogChunk, LogQueryError> {
    last_lines(&podman(), topology, of, n).await
}

/// A kind of score without logs.
struct Mute;

impl<T: Topology> Score<T> for Mute {}

#[tokio::test]
async fn a_score_without_a_companion_says_that_it_exposes_no_logs() {
    let topology = told(&done("web", &["x"]));
    let error = last_lines(&Mute, &topology, of(None), 10).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("this deployment doesn't expose logs"),
        "{error}"
    );
    assert_eq!(error.kind(), "logs-not-exposed");
    assert!(topology.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_device_is_asked_on_its_subject_for_what_was_meant() {
    let topology = told(&done("web.migrate", &["a", "b"]));
    let chunk = ask(&topology, of(Some("migrate")), 50).await.unwrap();
    assert_eq!(chunk.lines, ["a", "b"]);
    let wanted = json!({"lines": 50, "init": "migrate", "previous": true, "timestamps": true});
    let asked = topology.asked.lock().unwrap();
    assert_eq!(*asked, [("device-commands.pi-1.logs.web".to_owned(), wanted)]);
}

#[tokio::test]
async fn a_device_that_is_offline_is_not_asked() {
    let offline = LogQueryError::DeviceOffline {
        device: "pi-1".parse().unwrap(),
        since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
    };
    let topology = Told {
        reachable: Err(offline.clone()),
        ..told(&done("web", &["x"]))
    };
    let error = ask(&topology, of(None), 10).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("offline since 2026-01-01 00:00:00 UTC"),
        "{error}"
    );
    assert_eq!(error, offline);
    assert!(topology.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_way_to_get_no_answer_has_its_word() {
    let refused = json!({"refused": {"kind": "logs-no-previous", "detail": "it ran once"}});
    for (topology, kind) in [
        (failing(AskError::NobodyListens), "device-not-listening"),
        (failing(AskError::TimedOut), "device-timeout"),
        (failing(AskError::Unavailable("away".into())), "nats-unavailable"),
        (told(&refused), "logs-no-previous"),
        (told(&json!({"done": {}})), "answer-malformed"),
        (told(&json!("nonsense")), "answer-malformed"),
        // What another deployment wrote is never shown as this one's.
        (told(&done("api", &["secret"])), "answer-malformed"),
        (told(&done("web.migrate", &["x"])), "answer-malformed"),
    ] {
        assert_eq!(ask(&topology, of(None), 10).await.unwrap_err().kind(), kind);
    }
}

#[test]
fn silence_after_missed_heartbeats_is_told_as_what_it_may_be() {
    let at: chrono::DateTime<chrono::Utc> = "2026-01-01T00:01:00Z".parse().unwrap();
    let silent = |ago: Option<i64>| LogQueryError::TimedOut {
        device: "pi-1".parse().unwrap(),
        patience: Duration::from_secs(5),
        heard: ago.map(|seconds| at - chrono::TimeDelta::seconds(seconds)),
        at,
    };
    for fresh in [None, Some(0), Some(30)] {
        let text = silent(fresh).to_string();
        assert!(text.ends_with("ask for fewer lines"), "{text}");
        assert_eq!(silent(fresh).since(), None);
    }
    let late = silent(Some(31));
    let text = late.to_string();
    assert!(
        text.contains("last heartbeat 31 s ago: it may be offline") && !text.contains("fewer lines"),
        "{text}"
    );
    assert_eq!(late.since(), Some("2026-01-01T00:00:29Z".parse().unwrap()));
}

#[tokio::test]
async fn a_refusal_is_a_known_word_and_a_sentence_whatever_the_device_sends() {
    let refused = |kind: &str| {
        told(&json!({"refused": {
            "kind": kind, "detail": "no ".repeat(100_000), "init": "x".repeat(1_000), "log": ["words".repeat(1_000)],
        }}))
    };
    for kind in [
        "logs-unreadable",
        "logs-of-a-newer-agent-2",
        "request-malformed",
        "command-unknown",
    ] {
        let error = ask(&refused(kind), of(None), 10).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        let LogQueryError::Refused { cause, .. } = error else {
            panic!("{kind} is a refusal");
        };
        assert!(
            cause.detail.len() <= 1_024 && cause.detail.ends_with('…'),
            "{}",
            cause.detail.len()
        );
        assert!(cause.log.is_empty() && cause.init.is_none(), "{cause:?}");
    }
    let long = format!("logs-{}", "x".repeat(100_000));
    for kind in [
        "",
        "logs-",
        "logs-No",
        "logs-a\u{1b}[2J",
        "device-offline",
        "recovering",
        &long,
    ] {
        let error = ask(&refused(kind), of(None), 10).await.unwrap_err();
        assert_eq!(error.kind(), "answer-malformed", "{kind:.40}");
        let text = error.to_string();
        assert!(text.len() < 500 && !text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test]
async fn a_name_that_no_init_container_can_have_is_not_asked_for() {
    let topology = told(&done("web", &["x"]));
    let error = ask(&topology, of(Some("\"> x")), 10).await.unwrap_err();
    assert_eq!(error.kind(), "logs-unknown-init");
    assert!(topology.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_device_that_sends_too_much_is_cut_at_the_beginning() {
    use fleet_protocol::logs::{MAX_BYTES, MAX_LINE};
    let chunk = ask(&told(&done("web", &["a", "b", "c"])), of(None), 2)
        .await
        .unwrap();
    assert_eq!(
        (chunk.lines, chunk.truncated),
        (vec!["b".to_owned(), "c".to_owned()], true)
    );

    let long = "é".repeat(MAX_LINE);
    let chunk = ask(&told(&done("web", &[&long])), of(None), 2).await.unwrap();
    assert!(chunk.lines[0].len() <= MAX_LINE && chunk.lines[0].ends_with('…') && !chunk.truncated);

    let many: Vec<&str> = std::iter::repeat_n(&long[..MAX_LINE], 2 * MAX_BYTES / MAX_LINE).collect();
    let chunk = ask(&told(&done("web", &many)), of(None), 5_000).await.unwrap();
    assert!(chunk.truncated && chunk.lines.iter().map(String::len).sum::<usize>() <= MAX_BYTES);
}
