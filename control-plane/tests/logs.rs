//! Logs over a real nats-server with its rights: what a device answers, and how it is told when none does.

mod support;

use std::time::{Duration, Instant};

use fleet_protocol::bucket;
use fleet_testbed::nats::{NatsUser, UserKey};
use futures_util::StreamExt;
use serde_json::{Value, json};
use support::{Bed, TestOperator, info, kv, web};

const LOGS: &str = "/api/v0/deployments/web/devices/pi-1/logs";

/// An operator that knows `web` on `pi-1`, which is online.
async fn known(bed: &Bed) -> TestOperator {
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    let infos = kv(&looker, bucket::DEVICE_INFO).await;
    infos.put("pi-1", info("lyon").into()).await.expect("stored");
    let beats = kv(&looker, bucket::DEVICE_HEARTBEAT).await;
    beats.put("pi-1", "{}".into()).await.expect("stored");
    operator.apply("web", &web("lyon", "reg.example/app:1")).await;
    let there = |fleet: &fleet_control_plane::fleet::Fleet| {
        fleet.device_counts().online == 1 && fleet.pair_counts().total == 1
    };
    let seen = operator.fleet.wait_until(there);
    tokio::time::timeout(support::SOON, seen)
        .await
        .expect("the device is known");
    operator
}

/// The device, with a device's rights: gives each answer in turn, `None` is silence, and tells what it was asked.
async fn device(bed: &mut Bed, answers: Vec<Option<Value>>) -> tokio::task::JoinHandle<Vec<(String, Value)>> {
    let id = "pi-1".parse().expect("an id");
    let key = UserKey::generate().expect("a key");
    bed.server
        .add_user(NatsUser::device(&key, &id))
        .expect("admitted");
    let client = bed.server.connect(Some(&key)).await.expect("connected");
    let mut asked = client
        .subscribe(fleet_protocol::command::all_of(&id))
        .await
        .expect("its own commands");
    client.flush().await.expect("subscribed");
    tokio::spawn(async move {
        let mut seen = Vec::new();
        for answer in answers {
            let Some(message) = asked.next().await else { break };
            let request = serde_json::from_slice(&message.payload).expect("JSON");
            seen.push((message.subject.to_string(), request));
            if let (Some(answer), Some(reply)) = (answer, message.reply) {
                client
                    .publish(reply, answer.to_string().into())
                    .await
                    .expect("answered");
                client.flush().await.expect("sent");
            }
        }
        seen
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_comes_from_the_device_and_is_shown_on_the_page_and_by_the_api() {
    let mut bed = Bed::start();
    let operator = known(&bed).await;
    let log = json!({"done": {
        "source": "web", "captured_at": "2026-01-01T00:00:00Z", "truncated": true,
        "lines": ["\u{1b}[32mok\u{1b}[0m 1", "<script>alert(1)</script>"],
    }});
    let refused = json!({"refused": {"kind": "logs-unknown-init", "detail": "web has no init container x"}});
    let asked = device(&mut bed, vec![Some(log.clone()), Some(log), Some(refused)]).await;

    let (status, text) = operator.get(&format!("{LOGS}?lines=2&previous=true")).await;
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        answer["lines"],
        json!(["\u{1b}[32mok\u{1b}[0m 1", "<script>alert(1)</script>"])
    );
    assert_eq!(
        (&answer["truncated"], &answer["source"]),
        (&json!(true), &json!("web"))
    );

    let (status, page) = operator.get("/deployments/web/devices/pi-1/logs?lines=2").await;
    assert_eq!(status, 200);
    assert!(page.contains("<span class=\"green\">ok</span> 1"), "{page}");
    assert!(
        page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"),
        "{page}"
    );

    let (status, text) = operator.get(&format!("{LOGS}?init=x")).await;
    assert!(
        status == 404 && text.contains("logs-unknown-init") && text.contains("web has no init container x"),
        "{text}"
    );
    let asked = asked.await.expect("the device answered all");
    let subject = "device-commands.pi-1.logs.web".to_owned();
    assert_eq!(
        asked,
        [
            (subject.clone(), json!({"lines": 2, "previous": true})),
            (subject.clone(), json!({"lines": 2})),
            (subject, json!({"lines": 200, "init": "x"})),
        ]
    );
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_at_once_silence_after_seconds_and_offline_without_asking() {
    let mut bed = Bed::start();
    let operator = known(&bed).await;
    let begun = Instant::now();
    let (status, text) = operator.get(LOGS).await;
    assert!(status == 503 && text.contains("device-not-listening"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());

    let asked = device(&mut bed, vec![None, None]).await;
    let begun = Instant::now();
    let (status, text) = operator.get(LOGS).await;
    assert!(status == 504 && text.contains("device-timeout"), "{text}");
    let took = begun.elapsed();
    assert!((4..9).contains(&took.as_secs()), "{took:?}");

    let looker = bed.looker().await;
    let beats = kv(&looker, bucket::DEVICE_HEARTBEAT).await;
    beats.delete("pi-1").await.expect("deleted");
    let gone = operator
        .fleet
        .wait_until(|fleet| fleet.device_counts().offline == 1);
    tokio::time::timeout(support::SOON, gone)
        .await
        .expect("it is seen to be offline");
    let begun = Instant::now();
    let (status, text) = operator.get(LOGS).await;
    let error: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &error["kind"]),
        (503, &json!("device-offline")),
        "{text}"
    );
    assert!(error["since"].is_string(), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!asked.is_finished(), "the second question never came");
    asked.abort();
    operator.close().await;
}
