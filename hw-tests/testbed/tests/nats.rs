//! The NATS server of the testbed, for real: what it admits, what it refuses, and what is left after it went away.

use std::time::Duration;

use fleet_protocol::permissions::{Permissions, device_inbox};
use fleet_protocol::{DeviceId, command, event};
use fleet_testbed::nats::{NatsOptions, NatsServer, NatsUser, UserKey};
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

async fn count_streams(client: &async_nats::Client) -> usize {
    async_nats::jetstream::new(client.clone())
        .stream_names()
        .count()
        .await
}

async fn make_bucket(client: &async_nats::Client) -> async_nats::jetstream::kv::Store {
    let config = async_nats::jetstream::kv::Config {
        bucket: "things".into(),
        ..Default::default()
    };
    async_nats::jetstream::new(client.clone())
        .create_key_value(config)
        .await
        .expect("the bucket is made")
}

#[tokio::test]
async fn values_survive_a_kill_and_are_gone_after_a_start_with_an_empty_store() {
    let mut server = NatsServer::start(NatsOptions::default()).expect("it starts");
    let port = server.port();
    let client = server.connect(None).await.expect("it admits");
    make_bucket(&client)
        .await
        .put("a", "1".into())
        .await
        .expect("the value is stored");

    server.kill();
    server.start_again().expect("it starts again");
    assert_eq!(server.port(), port);
    let client = server.connect(None).await.expect("it admits");
    let store = async_nats::jetstream::new(client)
        .get_key_value("things")
        .await
        .expect("the bucket is there");
    assert_eq!(
        store.get("a").await.expect("readable").as_deref(),
        Some("1".as_bytes())
    );

    server.stop().expect("it ends in order");
    server.start_again_empty().expect("it starts again");
    let client = server.connect(None).await.expect("it admits");
    assert_eq!(count_streams(&client).await, 0);
}

#[tokio::test]
async fn a_given_store_outlives_the_server() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let options = || NatsOptions::default().store(folder.path());
    let server = NatsServer::start(options()).expect("it starts");
    make_bucket(&server.connect(None).await.expect("it admits")).await;
    drop(server);
    let server = NatsServer::start(options()).expect("it starts");
    assert_eq!(
        count_streams(&server.connect(None).await.expect("it admits")).await,
        1
    );
}

#[tokio::test]
async fn tls_admits_only_who_trusts_the_authority() {
    let server = NatsServer::start(NatsOptions::default().tls()).expect("it starts");
    assert!(server.url().starts_with("tls://"));
    let client = server.connect(None).await.expect("the authority is trusted");
    timeout(SOON, client.flush())
        .await
        .expect("in time")
        .expect("it answers");
    let stranger = async_nats::ConnectOptions::new()
        .require_tls(true)
        .connect(server.url())
        .await;
    assert!(
        stranger.is_err(),
        "a client without the authority must not connect"
    );
}

#[tokio::test]
async fn a_user_reaches_what_it_is_permitted_and_nothing_else() {
    let (all, some) = (
        UserKey::generate().expect("a key"),
        UserKey::generate().expect("a key"),
    );
    let permissions = Permissions {
        publish_allow: vec!["mine.>".into()],
        subscribe_allow: Vec::new(),
        ..Permissions::default()
    };
    let options = NatsOptions::default()
        .tls()
        .user(NatsUser::unrestricted(&all))
        .user(NatsUser::restricted(&some, permissions));
    let server = NatsServer::start(options).expect("it starts");

    let observer = server.connect(Some(&all)).await.expect("it admits");
    let mut seen = observer.subscribe(">").await.expect("it may");
    observer.flush().await.expect("it answers");
    let client = server.connect(Some(&some)).await.expect("it admits");
    client.publish("theirs.x", "refused".into()).await.expect("sent");
    client.publish("mine.x", "allowed".into()).await.expect("sent");
    client.flush().await.expect("it answers");
    let first = timeout(SOON, seen.next())
        .await
        .expect("in time")
        .expect("a message");
    assert_eq!(first.subject.as_str(), "mine.x");

    let mut deaf = client
        .subscribe("mine.>")
        .await
        .expect("the server refuses later");
    client.flush().await.expect("it answers");
    observer
        .publish("mine.y", "not for you".into())
        .await
        .expect("sent");
    observer.flush().await.expect("it answers");
    client.flush().await.expect("it answers");
    let heard = timeout(Duration::from_millis(300), deaf.next())
        .await
        .ok()
        .flatten();
    assert!(heard.is_none(), "an empty list of subscriptions permits none");

    assert!(
        server.connect(None).await.is_err(),
        "nobody gets in without a key"
    );
}

/// What [`settled`] sends.
const SETTLING: &[u8] = b"settling";

/// Waits until the server has taken all that the connection of `last` sent before its subscription: it hears something.
async fn settled(from: &async_nats::Client, subject: &str, last: &mut async_nats::Subscriber) {
    let heard = timeout(SOON, async {
        loop {
            from.publish(subject.to_owned(), SETTLING.into())
                .await
                .expect("sent");
            if let Ok(Some(_)) = timeout(Duration::from_millis(50), last.next()).await {
                return;
            }
        }
    });
    heard.await.expect("it hears what it may");
}

/// The next message that [`settled`] did not send.
async fn next(subscription: &mut async_nats::Subscriber) -> async_nats::Message {
    let found = subscription.filter(|message| std::future::ready(message.payload.as_ref() != SETTLING));
    let mut found = std::pin::pin!(found);
    let message = timeout(SOON, found.next()).await.expect("in time");
    message.expect("a message")
}

#[tokio::test]
async fn a_device_neither_hears_nor_gives_commands_of_another_one_nor_reads_its_answers() {
    let [all, key_a, key_b] = [(); 3].map(|()| UserKey::generate().expect("a key"));
    let (a, b): (DeviceId, DeviceId) = ("pi-a".parse().expect("an id"), "pi-b".parse().expect("an id"));
    let options = NatsOptions::default()
        .user(NatsUser::unrestricted(&all))
        .user(NatsUser::device(&key_a, &a))
        .user(NatsUser::device(&key_b, &b));
    let server = NatsServer::start(options).expect("it starts");
    let observer = server.connect(Some(&all)).await.expect("it admits");
    let client_a = server.connect(Some(&key_a)).await.expect("it admits");
    let client_b = server.connect(Some(&key_b)).await.expect("it admits");
    let (logs_b, inbox_b) = (
        format!("device-commands.{b}.logs.x"),
        format!("{}.x", device_inbox(&b)),
    );

    // Hears: each subscription is refused later, without a word to who subscribes.
    let mut refused = Vec::new();
    let patterns = [
        logs_b.clone(),
        command::all_of(&b),
        "device-commands.>".to_owned(),
        "device-commands.*.logs.x".to_owned(),
        inbox_b.clone(),
        format!("{}.>", device_inbox(&b)),
        "*.x".to_owned(),
        ">".to_owned(),
    ];
    for subject in patterns {
        let heard = client_a.subscribe(subject.clone()).await.expect("sent");
        refused.push((subject, heard));
    }
    let mut own = client_a.subscribe(command::all_of(&a)).await.expect("sent");
    let marker = format!("device-commands.{a}.logs.x");
    settled(&observer, &marker, &mut own).await;
    for subject in [logs_b.clone(), inbox_b.clone(), marker.clone()] {
        observer.publish(subject, "for one".into()).await.expect("sent");
    }
    assert_eq!(next(&mut own).await.subject.as_str(), marker, "its own");
    // What it would have heard came before.
    for (subject, mut subscription) in refused {
        let heard = subscription.next().now_or_never().flatten();
        assert!(heard.is_none(), "{a} hears {subject}: {heard:?}");
    }

    // Gives: of all that it sends, the first that comes through is what is its own.
    let mut answers = client_b
        .subscribe(format!("{}.>", device_inbox(&b)))
        .await
        .expect("sent");
    let mut own = client_b.subscribe(command::all_of(&b)).await.expect("sent");
    settled(&observer, &logs_b, &mut own).await;
    let mut seen = observer.subscribe(">").await.expect("it may");
    settled(&observer, "settle", &mut seen).await;
    let marker = event::device_subject(&a);
    for subject in [
        logs_b.clone(),
        inbox_b,
        format!("device-commands.{a}.logs.x"),
        event::device_subject(&b),
        marker.clone(),
    ] {
        client_a
            .publish(subject, "from the other one".into())
            .await
            .expect("sent");
    }
    assert_eq!(next(&mut seen).await.subject.as_str(), marker);
    // The control: the same subject reaches its device from who may use it, and nothing came before.
    observer.publish(logs_b, "in order".into()).await.expect("sent");
    assert_eq!(next(&mut own).await.payload.as_ref(), b"in order");
    assert!(answers.next().now_or_never().flatten().is_none());
}

#[tokio::test]
async fn a_user_that_is_added_gets_in_without_a_restart_and_is_out_when_removed() {
    let (first, second) = (
        UserKey::generate().expect("a key"),
        UserKey::generate().expect("a key"),
    );
    let mut server =
        NatsServer::start(NatsOptions::default().user(NatsUser::unrestricted(&first))).expect("it starts");
    let client = server.connect(Some(&first)).await.expect("it admits");
    assert!(
        server.connect(Some(&second)).await.is_err(),
        "it is not known yet"
    );

    server
        .add_user(NatsUser::unrestricted(&second))
        .expect("it reloads");
    server.connect(Some(&second)).await.expect("it is known now");
    timeout(SOON, client.flush())
        .await
        .expect("in time")
        .expect("the first one is still connected");

    server.remove_user(second.public_key()).expect("it reloads");
    assert!(
        server.connect(Some(&second)).await.is_err(),
        "it is not known any more"
    );
}

#[tokio::test]
async fn a_paused_server_answers_nothing_until_it_is_resumed() {
    let mut server = NatsServer::start(NatsOptions::default()).expect("it starts");
    let client = server.connect(None).await.expect("it admits");
    server.pause().expect("it runs");
    let rtt = async_nats::jetstream::new(client.clone());
    assert!(
        timeout(Duration::from_millis(300), rtt.query_account())
            .await
            .is_err(),
        "it is frozen"
    );
    server.resume().expect("it is there");
    timeout(SOON, rtt.query_account())
        .await
        .expect("in time")
        .expect("it answers again");
}

#[test]
fn a_taken_port_is_refused_with_its_number() {
    let server = NatsServer::start(NatsOptions::default()).expect("it starts");
    let refused =
        NatsServer::start(NatsOptions::default().port(server.port())).expect_err("the port is taken");
    assert!(
        refused
            .to_string()
            .contains(&format!("port {} on 127.0.0.1 is taken", server.port())),
        "{refused}"
    );
}

#[test]
fn the_server_syncs_each_write() {
    let server = NatsServer::start(NatsOptions::default()).expect("it starts");
    let mut answer = ureq::get(format!("{}/varz", server.monitor_url()))
        .call()
        .expect("it answers");
    let page: serde_json::Value =
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON");
    assert_eq!(page["jetstream"]["config"]["sync_always"], true);
}
