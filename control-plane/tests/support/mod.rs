//! A real nats-server, an operator on it, and looking at both. What several test files share.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use fleet_control_plane::api::types::{ChangeAnswer, PutDeployment};
use fleet_control_plane::api::{self, ApiState};
use fleet_control_plane::clock::Clock;
use fleet_control_plane::fleet::FleetHandle;
use fleet_control_plane::fleet::view::PairState;
use fleet_control_plane::metrics::Metrics;
use fleet_control_plane::operator::Operator;
use fleet_control_plane::store::nats::ask::NatsAsks;
use fleet_control_plane::store::nats::write::NatsWriter;
use fleet_control_plane::store::nats::{ConnectOptions, Connection, NatsStore};
use fleet_protocol::bucket;
use fleet_testbed::nats::{NatsOptions, NatsServer, NatsUser, UserKey};
use futures_util::TryStreamExt;
use tokio::sync::watch;

/// Longest wait for anything.
pub const SOON: Duration = Duration::from_secs(30);

/// A server with TLS, an operator's user with its own rights, and a user that may look at everything.
pub struct Bed {
    pub server: NatsServer,
    pub operator: UserKey,
    pub all: UserKey,
    pub keys: tempfile::TempDir,
}

impl Bed {
    pub fn start() -> Self {
        let (operator, all) = (
            UserKey::generate().expect("a key"),
            UserKey::generate().expect("a key"),
        );
        let options = NatsOptions::default()
            .tls()
            .user(NatsUser::operator(&operator))
            .user(NatsUser::unrestricted(&all));
        let server = NatsServer::start(options).expect("nats-server starts");
        let keys = tempfile::tempdir().expect("a temporary folder");
        let bed = Self {
            server,
            operator,
            all,
            keys,
        };
        bed.write_key("operator", bed.operator.seed());
        bed.write_key("all", bed.all.seed());
        bed
    }

    pub fn write_key(&self, name: &str, seed: &str) {
        let mut file = std::fs::File::create(self.keys.path().join(format!("{name}.nk"))).expect("a file");
        std::io::Write::write_all(&mut file, seed.as_bytes()).expect("written");
    }

    pub fn connect_options(&self, key: &str) -> ConnectOptions {
        ConnectOptions {
            url: self.server.url(),
            credential: Some(self.keys.path().join(format!("{key}.nk"))),
            ca: self.server.ca_path().map(Into::into),
            name: key.to_owned(),
            inbox_prefix: String::new(),
        }
    }

    pub async fn looker(&self) -> jetstream::Context {
        jetstream::new(
            self.server
                .connect(Some(&self.all))
                .await
                .expect("it is admitted"),
        )
    }

    pub async fn operator(&self) -> TestOperator {
        TestOperator::start(&self.connect_options("operator")).await
    }
}

/// An operator as the binary composes it, with its API on a port of its own.
pub struct TestOperator {
    pub fleet: FleetHandle,
    pub url: String,
    state: ApiState,
    operator: Operator,
    store: NatsStore,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl TestOperator {
    pub async fn start(options: &ConnectOptions) -> Self {
        let connection = Connection::open(options).await.expect("usable options");
        let fleet = FleetHandle::new(Clock::system());
        let metrics = Arc::new(Metrics::default());
        let (store, events) = NatsStore::start(&connection);
        let writer = Arc::new(NatsWriter::new(&connection));
        let asks = Arc::new(NatsAsks::new(&connection));
        let operator = Operator::start(&fleet, events, writer.clone(), Arc::clone(&metrics));
        let (stop, stopped) = watch::channel(false);
        let listener = api::bind("127.0.0.1:0".parse().expect("an address"))
            .await
            .expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let state = ApiState::new(fleet.clone(), writer, asks, metrics, stopped.clone());
        let router = api::router(state.clone());
        let ended = async move {
            let mut stopped = stopped;
            stopped.wait_for(|stop| *stop).await.ok();
        };
        let server = tokio::spawn(api::serve(listener, router, ended));
        Self {
            fleet,
            url,
            state,
            operator,
            store,
            stop,
            server,
        }
    }

    pub async fn converged(&self) {
        let seen = self
            .fleet
            .wait_until(|fleet| fleet.converged() && fleet.connected());
        tokio::time::timeout(SOON, seen)
            .await
            .unwrap_or_else(|_| panic!("never converged: {:#?}", self.fleet.recovery()));
    }

    pub async fn pairs_in(&self, state: PairState, count: u64) {
        let seen = self
            .fleet
            .wait_until(|fleet| fleet.pair_counts().of(state) == count);
        let late = tokio::time::timeout(SOON * 2, seen).await.is_err();
        assert!(!late, "not {count} {state}: {:#?}", self.fleet.status());
    }

    /// Applies through the API, over HTTP.
    pub async fn apply(&self, name: &str, body: &PutDeployment) -> ChangeAnswer {
        let url = format!("{}/api/v0/deployments/{name}", self.url);
        let body = serde_json::to_string(body).expect("JSON");
        let call = move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .build()
                .into();
            let mut answer = agent.put(url).send(body).expect("it answers");
            let text = answer.body_mut().read_to_string().expect("text");
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        tokio::task::spawn_blocking(call).await.expect("the call ends")
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        let call = move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .build()
                .into();
            let mut answer = agent.get(url).call().expect("it answers");
            (
                answer.status().as_u16(),
                answer.body_mut().read_to_string().expect("text"),
            )
        };
        tokio::task::spawn_blocking(call).await.expect("the call ends")
    }

    pub async fn close(self) {
        self.stop.send(true).ok();
        self.server.await.expect("no panic").expect("it served");
        assert_eq!(self.state.settled(SOON).await, 0, "every change has its line");
        self.operator.close().await;
        self.store.close().await;
    }

    /// Ends it as a crash would: nothing is tidied up.
    pub fn crash(self) {
        self.server.abort();
        drop(self.operator);
        drop(self.store);
    }
}

/// What a person would apply: this image on every device of a site.
pub fn web(site: &str, image: &str) -> PutDeployment {
    let json = format!(
        r#"{{"spec":{{"selector":{{"labels":{{"site":"{site}"}}}},"score":{{"podman_v0":{{"image":"{image}"}}}}}}}}"#
    );
    serde_json::from_str(&json).expect("a request")
}

pub fn info(site: &str) -> Vec<u8> {
    format!(
        r#"{{"protocol":0,"agent_version":"0","arch":"amd64","os":"","kernel":"","podman_version":"","boot_id":"",
        "hostname":"","memory_mib":1,"data_mib":1,"labels":{{"site":"{site}"}},"health":[],"agent_started_at":"2026-01-01T00:00:00Z"}}"#
    )
    .into_bytes()
}

pub async fn kv(looker: &jetstream::Context, bucket: bucket::Bucket) -> jetstream::kv::Store {
    looker
        .get_key_value(bucket.name)
        .await
        .expect("the operator made the bucket")
}

/// Keys with a value. Not by the library's own listing: that makes a consumer, which these tests count.
pub async fn keys(looker: &jetstream::Context, bucket: bucket::Bucket) -> Vec<String> {
    let stream = looker
        .get_stream(bucket.stream())
        .await
        .expect("the operator made the bucket");
    let info = stream.info_with_subjects(">").await.expect("listed");
    let subjects: Vec<(String, usize)> = info.try_collect().await.expect("all of them");
    let kv = kv(looker, bucket).await;
    let mut keys = Vec::new();
    for (subject, _) in subjects {
        let key = subject
            .strip_prefix(&bucket.subject(""))
            .expect("a subject of the bucket");
        if kv.get(key).await.expect("readable").is_some() {
            keys.push(key.to_owned());
        }
    }
    keys.sort();
    keys
}

/// Consumers on all streams.
pub async fn consumers(looker: &jetstream::Context) -> Vec<String> {
    let mut all = Vec::new();
    let streams: Vec<String> = looker.stream_names().try_collect().await.expect("listed");
    for name in streams {
        let stream = looker.get_stream(&name).await.expect("it is there");
        let names: Vec<String> = stream.consumer_names().try_collect().await.expect("listed");
        all.extend(names.into_iter().map(|consumer| format!("{name}/{consumer}")));
    }
    all.sort();
    all
}

/// Looks until it holds.
pub async fn until<F: Future<Output = Result<(), String>>>(what: &str, mut look: impl FnMut() -> F) {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(()) => return,
            Err(last) if start.elapsed() > SOON => panic!("never so: {what}; last seen: {last}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

pub async fn until_keys(looker: &jetstream::Context, bucket: bucket::Bucket, wanted: &[&str]) {
    until(&format!("{} holds {wanted:?}", bucket.name), || async {
        let keys = keys(looker, bucket).await;
        if keys == wanted {
            Ok(())
        } else {
            Err(format!("{keys:?}"))
        }
    })
    .await;
}
