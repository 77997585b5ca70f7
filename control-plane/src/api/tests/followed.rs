//! Pages that are followed.

use super::*;

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
