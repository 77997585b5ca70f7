//! The stream of changes.

use super::*;

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
