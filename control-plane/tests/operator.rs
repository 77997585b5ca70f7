//! The operator on a real nats-server with TLS and its own rights: it makes what it needs, does what it is asked, and comes
//! back from whatever happens to the server or to itself.

mod support;

use std::time::Duration;

use fleet_control_plane::api::types::Outcome;
use fleet_control_plane::fleet::view::{DeviceState, PairState};
use fleet_protocol::{bucket, wire};
use support::{Bed, consumers, info, keys, kv, until, until_keys, web};

const IMAGE: &str = "reg.example/app:1";

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_are_made_as_the_protocol_says_and_a_second_start_changes_nothing() {
    let bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    let mut configs = Vec::new();
    for spec in bucket::ALL {
        let stream = looker.get_stream(spec.stream()).await.expect("it was made");
        let config = stream.cached_info().config.clone();
        assert_eq!(config.max_messages_per_subject, spec.history, "{}", spec.name);
        assert_eq!(
            config.max_age,
            Duration::from_secs(spec.ttl_seconds.unwrap_or_default()),
            "{}",
            spec.name
        );
        let memory = config.storage == async_nats::jetstream::stream::StorageType::Memory;
        assert_eq!(
            (memory, config.allow_direct),
            (spec.in_memory, true),
            "{}",
            spec.name
        );
        assert!(
            config.max_consumers >= 10_000,
            "{}: one for each device, which 2.15 does not admit by itself",
            spec.name
        );
        configs.push(config);
    }
    let kv = kv(&looker, bucket::DEPLOYMENTS).await;
    let large = vec![b'x'; wire::MAX_VALUE_BYTES * 2];
    assert!(
        kv.put("large", large.into()).await.is_err(),
        "the server refuses what a reader would"
    );
    operator.close().await;

    let again = bed.operator().await;
    again.converged().await;
    for (spec, before) in bucket::ALL.into_iter().zip(configs) {
        let stream = looker.get_stream(spec.stream()).await.expect("it is there");
        assert_eq!(stream.cached_info().config, before, "{}", spec.name);
    }
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_appears_for_each_device_and_a_restarted_operator_writes_nothing_again() {
    let bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    let infos = kv(&looker, bucket::DEVICE_INFO).await;
    for (id, site) in [("pi-1", "lyon"), ("pi-2", "nice"), ("pi-3", "lyon")] {
        infos.put(id, info(site).into()).await.expect("stored");
    }
    operator
        .fleet
        .wait_until(|fleet| fleet.devices().count() == 3)
        .await;
    let answer = operator.apply("web", &web("lyon", IMAGE)).await;
    assert_eq!((answer.outcome, answer.devices), (Outcome::Created, 2));
    until_keys(&looker, bucket::DESIRED_STATE, &["pi-1.web", "pi-3.web"]).await;
    assert_eq!(
        operator.apply("web", &web("lyon", IMAGE)).await.outcome,
        Outcome::Unchanged
    );
    until("the history tells of both steps", || async {
        let (_, text) = operator.get("/api/v0/events?subject=deployment/web").await;
        let both = text.contains("deployment-created") && text.contains("desired-resolved");
        if both { Ok(()) } else { Err(text) }
    })
    .await;
    operator.close().await;
    assert_eq!(
        consumers(&looker).await,
        [""; 0],
        "an operator that ends in order leaves no consumer"
    );

    let last = |stream: String| async {
        let stream = looker.get_stream(stream).await.expect("it is there");
        stream.cached_info().state.last_sequence
    };
    let before = last(bucket::DESIRED_STATE.stream()).await;
    let restarted = bed.operator().await;
    restarted.converged().await;
    // A change makes it plan once more, after which an eager rewrite would have happened.
    restarted.apply("web", &web("nice", IMAGE)).await;
    until_keys(&looker, bucket::DESIRED_STATE, &["pi-2.web"]).await;
    assert_eq!(
        last(bucket::DESIRED_STATE.stream()).await,
        before + 3,
        "two markers and one value"
    );
    restarted.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_again_and_again_is_found_again_and_no_consumers_pile_up() {
    let mut bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    kv(&looker, bucket::DEVICE_INFO)
        .await
        .put("pi-1", info("lyon").into())
        .await
        .expect("stored");
    let at_first = consumers(&looker).await.len();
    assert_eq!(at_first, 6, "one for each bucket and one for the history");
    for round in 1..=3_u32 {
        let begun = operator.fleet.recovery().buckets[0].watches_begun;
        bed.server.kill();
        operator.fleet.wait_until(|fleet| !fleet.connected()).await;
        assert_eq!(operator.get("/readyz").await.0, 503);
        bed.server.start_again().expect("it starts again");
        operator
            .fleet
            .wait_until(|fleet| fleet.recovery().buckets[0].watches_begun > begun)
            .await;
        operator.converged().await;
        let name = format!("web-{round}");
        operator.apply(&name, &web("lyon", IMAGE)).await;
        let looker = bed.looker().await;
        until(&format!("round {round} is resolved"), || async {
            let keys = keys(&looker, bucket::DESIRED_STATE).await;
            if keys.contains(&format!("pi-1.{name}")) {
                Ok(())
            } else {
                Err(format!("{keys:?}"))
            }
        })
        .await;
        until("consumers are as many as at first", || async {
            let now = consumers(&looker).await;
            if now.len() == at_first {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        })
        .await;
    }
    assert_eq!(operator.get("/readyz").await.0, 200);
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_somebody_deleted_is_made_again_and_nothing_is_missed() {
    let bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    let stream = looker
        .get_stream(bucket::DEVICE_INFO.stream())
        .await
        .expect("it is there");
    let before = consumers(&looker).await;
    let mine = before
        .iter()
        .find_map(|name| name.strip_prefix("KV_device-info/"))
        .expect("it watches");
    stream.delete_consumer(mine).await.expect("deleted");
    kv(&looker, bucket::DEVICE_INFO)
        .await
        .put("pi-9", info("lyon").into())
        .await
        .expect("stored");
    let seen = operator.fleet.wait_until(|fleet| fleet.devices().count() == 1);
    tokio::time::timeout(support::SOON, seen)
        .await
        .expect("the watch was begun anew");
    operator.converged().await;
    assert_eq!(consumers(&looker).await, before);
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_back_empty_gets_its_buckets_again_and_nothing_else() {
    let mut bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    kv(&looker, bucket::DEVICE_INFO)
        .await
        .put("pi-1", info("lyon").into())
        .await
        .expect("stored");
    operator
        .fleet
        .wait_until(|fleet| fleet.devices().count() == 1)
        .await;
    operator.apply("web", &web("lyon", IMAGE)).await;
    until_keys(&looker, bucket::DESIRED_STATE, &["pi-1.web"]).await;
    bed.server.stop().expect("it ends");
    bed.server.start_again_empty().expect("it starts again");
    let empty = operator
        .fleet
        .wait_until(|fleet| fleet.status().devices.total == 0 && fleet.converged());
    let late = tokio::time::timeout(support::SOON, empty).await.is_err();
    assert!(!late, "not empty: {:#?}", operator.fleet.status());
    let looker = bed.looker().await;
    for spec in bucket::ALL {
        assert_eq!(keys(&looker, spec).await, [""; 0], "{}", spec.name);
    }
    // The device says again what it is and what it runs, as an agent does; nothing takes that away.
    kv(&looker, bucket::DEVICE_INFO)
        .await
        .put("pi-1", info("lyon").into())
        .await
        .expect("stored");
    let report = r#"{"protocol":0,"observed_generation":5,"phase":"Running","since":"2026-01-01T00:00:00Z"}"#;
    kv(&looker, bucket::DEPLOYMENT_STATE)
        .await
        .put("pi-1.web", report.into())
        .await
        .expect("stored");
    operator.pairs_in(PairState::Running, 1).await;
    let answer = operator.apply("web", &web("lyon", IMAGE)).await;
    assert!(
        answer.generation > 5,
        "the device must not take it for what it runs already: {answer:?}"
    );
    until_keys(&looker, bucket::DESIRED_STATE, &["pi-1.web"]).await;
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_nobody_can_read_are_shown_and_harm_nothing() {
    let bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    for spec in bucket::ALL {
        let kv = kv(&looker, spec).await;
        for (key, value) in [
            ("pi-1.web", "{"),
            ("pi-1", "\u{0}\u{1}"),
            ("UPPER.case/x", "1"),
            ("a.b.c", r#"{"protocol":7}"#),
        ] {
            kv.put(key, value.into()).await.expect("stored");
        }
    }
    kv(&looker, bucket::DEVICE_INFO)
        .await
        .put("pi-2", info("lyon").into())
        .await
        .expect("stored");
    operator
        .fleet
        .wait_until(|fleet| fleet.devices().any(|(id, _)| id.as_str() == "pi-2"))
        .await;
    operator.apply("web", &web("lyon", IMAGE)).await;
    until("the good device has it", || async {
        let value = kv(&looker, bucket::DESIRED_STATE)
            .await
            .get("pi-2.web")
            .await
            .expect("readable");
        value.map(drop).ok_or_else(|| "nothing".to_owned())
    })
    .await;
    let (_, text) = operator.get("/api/v0/status").await;
    for part in ["UPPER.case/x", "a.b.c", "value-malformed"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(operator.get("/readyz").await.0, 200);
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_at_once_write_each_desired_state_once() {
    let bed = Bed::start();
    let (one, two) = (bed.operator().await, bed.operator().await);
    one.converged().await;
    two.converged().await;
    let looker = bed.looker().await;
    let infos = kv(&looker, bucket::DEVICE_INFO).await;
    for number in 0..100 {
        infos
            .put(format!("pi-{number}"), info("lyon").into())
            .await
            .expect("stored");
    }
    one.fleet.wait_until(|fleet| fleet.devices().count() == 100).await;
    one.apply("web", &web("lyon", IMAGE)).await;
    one.pairs_in(PairState::Waiting, 100).await;
    two.pairs_in(PairState::Waiting, 100).await;
    tokio::time::sleep(Duration::from_millis(500)).await; // a fight would show as further revisions
    let stream = looker
        .get_stream(bucket::DESIRED_STATE.stream())
        .await
        .expect("it is there");
    assert_eq!(stream.cached_info().state.last_sequence, 100);
    one.close().await;
    two.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_heartbeat_makes_a_device_offline() {
    let bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    kv(&looker, bucket::DEVICE_INFO)
        .await
        .put("pi-1", info("lyon").into())
        .await
        .expect("stored");
    let beat = r#"{"protocol":0,"at":"2026-01-01T00:00:00Z","uptime_seconds":1,"data_free_mib":1,"memory_available_mib":1}"#;
    // The server's own expiry, with the bucket's age shortened so that the test need not wait for 45 s.
    let mut stream = looker
        .get_stream(bucket::DEVICE_HEARTBEAT.stream())
        .await
        .expect("it is there");
    let mut config = stream.info().await.expect("known").config.clone();
    config.max_age = Duration::from_secs(2);
    config.duplicate_window = Duration::from_secs(1);
    looker.update_stream(config).await.expect("shortened");
    kv(&looker, bucket::DEVICE_HEARTBEAT)
        .await
        .put("pi-1", beat.into())
        .await
        .expect("stored");
    let state = |wanted: DeviceState| {
        let id = "pi-1".parse().expect("an id");
        let fleet = operator.fleet.clone();
        async move {
            let seen =
                fleet.wait_until(|fleet| fleet.device(&id).is_some_and(|device| device.state() == wanted));
            tokio::time::timeout(support::SOON, seen)
                .await
                .unwrap_or_else(|_| panic!("never {wanted}"));
        }
    };
    state(DeviceState::Online).await;
    state(DeviceState::Offline).await;
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_it_starts_says_so_and_begins_when_the_server_is_there() {
    let mut bed = Bed::start();
    let options = bed.connect_options("operator");
    bed.server.kill();
    let operator = support::TestOperator::start(&options).await;
    assert_eq!(operator.get("/healthz").await.0, 200);
    let (status, text) = operator.get("/readyz").await;
    assert!(
        status == 503 && text.contains("not connected to NATS yet"),
        "{text}"
    );
    bed.server.start_again().expect("it starts");
    operator.converged().await;
    assert_eq!(operator.get("/readyz").await.0, 200);
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_while_the_connection_stands_is_said_and_begins_anew() {
    let bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let looker = bed.looker().await;
    let stream = bucket::DEPLOYMENT_STATE.stream();
    let name = consumers(&looker)
        .await
        .into_iter()
        .find_map(|name| name.strip_prefix(&format!("{stream}/")).map(str::to_owned))
        .expect("the operator watches it");
    let fleet = operator.fleet.clone();
    let said = tokio::spawn(async move {
        fleet
            .wait_until(|fleet| {
                let recovery = fleet.recovery();
                let detail = recovery.detail.unwrap_or_default();
                recovery.connected
                    && !recovery.converged
                    && detail.contains("the watch of deployment-state broke")
            })
            .await;
    });
    looker
        .get_stream(&stream)
        .await
        .expect("it is there")
        .delete_consumer(&name)
        .await
        .expect("deleted");
    tokio::time::timeout(support::SOON, said)
        .await
        .expect("it is said")
        .expect("no panic");
    operator.converged().await;
    assert_eq!(operator.get("/readyz").await.0, 200);
    operator.close().await;
}
