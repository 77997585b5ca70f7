//! The NATS server of the testbed, for real: what it admits, what it refuses, and what is left after it went away.

use std::time::Duration;

use fleet_protocol::permissions::Permissions;
use fleet_testbed::nats::{NatsOptions, NatsServer, NatsUser, UserKey};
use futures_util::StreamExt;
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
