//! An agent on a fake device and a real nats-server, with the operator's part played by the test.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer, kv};
use fleet_agent::Agent;
use fleet_agent::clock::Refusal;
use fleet_agent::fault::Faults;
use fleet_agent::settings::{Identity, Seed, Settings, Tuning};
use fleet_host::fakes::World;
use fleet_host::{UnitFileName, UnitName};
use fleet_protocol::bucket::{self, Bucket};
use fleet_protocol::{Cause, DeploymentName, DeploymentState, DeviceId, DeviceInfo, Phase, event, wire};
use fleet_testbed::nats::{NatsOptions, NatsServer, NatsUser, UserKey};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub(crate) const IMAGE: &str = "registry.test/web:1";
pub(crate) const NEXT_IMAGE: &str = "registry.test/web:2";
/// The registry does not hold it until a test says so.
pub(crate) const THIRD_IMAGE: &str = "registry.test/web:3";
const PATIENCE: Duration = Duration::from_secs(20);

/// The whole scene.
pub(crate) struct Scene {
    pub(crate) server: NatsServer,
    pub(crate) world: World,
    pub(crate) device: DeviceId,
    pub(crate) settings: Settings,
    operator: UserKey,
    client: async_nats::Client,
    agent: Option<JoinHandle<()>>,
    shutdown: Rc<Notify>,
    _folder: tempfile::TempDir,
}

pub(crate) fn web() -> DeploymentName {
    "web".parse().unwrap()
}

pub(crate) fn unit() -> UnitName {
    UnitName::of(&web()).unwrap()
}

pub(crate) fn file() -> UnitFileName {
    UnitFileName::container(&web()).unwrap()
}

pub(crate) fn desired(generation: u64, image: &str) -> String {
    format!(
        r#"{{"protocol":0,"generation":{generation},"score":{{"podman_v0":{{"image":"{image}","volumes":[{{"source":{{"volume":{{"name":"data"}}}},"path":"/data"}}]}}}}}}"#
    )
}

/// The generation that is up.
pub(crate) fn runs(state: &DeploymentState) -> Option<u64> {
    state.running.as_ref().map(|running| running.generation)
}

/// Starts the agent and lets it run the first generation.
pub(crate) async fn run_first(scene: &mut Scene, value: String) -> DeploymentState {
    scene.start();
    scene.ask_for(value).await;
    scene.until_running(1).await
}

/// Runs a test on the one thread that agent and test share.
pub(crate) async fn scene<F: Future<Output = ()>>(test: impl FnOnce(Scene) -> F) {
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
    let local = tokio::task::LocalSet::new();
    local.run_until(async { test(Scene::new().await).await }).await;
}

impl Scene {
    async fn new() -> Self {
        let (operator, device_key) = (UserKey::generate().unwrap(), UserKey::generate().unwrap());
        let device: DeviceId = "pi-1".parse().unwrap();
        let options = NatsOptions::default()
            .tls()
            .user(NatsUser::unrestricted(&operator))
            .user(NatsUser::device(&device_key, &device));
        let server = NatsServer::start(options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let enrolment = format!(
            "device_id = \"{device}\"\n[labels]\nsite = \"lyon\"\n[nats]\nurl = \"{}\"\n",
            server.url()
        );
        let settings = Settings {
            identity: Identity {
                enrolment: toml::from_str(&enrolment).unwrap(),
                seed: Seed::new(device_key.seed()),
                ca: server.ca_path().map(PathBuf::from),
                folder: folder.path().join("identity"),
            },
            tuning: Tuning::default(),
            runtime: folder.path().join("run"),
        };
        let world = World::new();
        world.registry_holds(IMAGE, 2);
        world.registry_holds(NEXT_IMAGE, 2);
        let client = server.connect(Some(&operator)).await.unwrap();
        let scene = Self {
            server,
            world,
            device,
            settings,
            operator,
            client,
            agent: None,
            shutdown: Rc::default(),
            _folder: folder,
        };
        scene.make_buckets().await;
        scene
    }

    pub(crate) fn js(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }

    pub(crate) fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// What the operator does at its start.
    pub(crate) async fn make_buckets(&self) {
        let js = self.js();
        for bucket in bucket::ALL {
            js.create_key_value(kv::Config {
                bucket: bucket.name.to_owned(),
                history: bucket.history,
                max_value_size: i32::try_from(wire::MAX_VALUE_BYTES).unwrap(),
                storage: match bucket.in_memory {
                    true => jetstream::stream::StorageType::Memory,
                    false => jetstream::stream::StorageType::File,
                },
                ..Default::default()
            })
            .await
            .unwrap();
        }
        js.create_stream(jetstream::stream::Config {
            name: event::STREAM.to_owned(),
            subjects: vec![event::SUBJECTS.to_owned()],
            ..Default::default()
        })
        .await
        .unwrap();
    }

    /// The server is up again: connects the test to it.
    pub(crate) async fn reconnect(&mut self) {
        self.client = self.server.connect(Some(&self.operator)).await.unwrap();
    }

    pub(crate) async fn kv(&self, bucket: &Bucket) -> kv::Store {
        self.js().get_key_value(bucket.name).await.unwrap()
    }

    fn key(&self) -> String {
        format!("{}.web", self.device)
    }

    pub(crate) async fn ask_for(&self, value: impl Into<bytes::Bytes>) {
        let store = self.kv(&bucket::DESIRED_STATE).await;
        store.put(self.key(), value.into()).await.unwrap();
    }

    pub(crate) async fn take_away(&self) {
        let store = self.kv(&bucket::DESIRED_STATE).await;
        store.delete(self.key()).await.unwrap();
    }

    pub(crate) async fn state(&self) -> Option<DeploymentState> {
        let store = self
            .js()
            .get_key_value(bucket::DEPLOYMENT_STATE.name)
            .await
            .ok()?;
        let bytes = store.get(self.key()).await.ok()??;
        wire::decode(&bytes).ok()
    }

    /// What the device says is wrong with itself; empty also while it has not said anything.
    pub(crate) async fn health(&self) -> Vec<Cause> {
        let store = self.kv(&bucket::DEVICE_INFO).await;
        let Some(bytes) = store.get(self.device.as_str()).await.unwrap() else {
            return Vec::new();
        };
        wire::decode::<DeviceInfo>(&bytes).unwrap().health
    }

    /// What the device says of one kind of trouble.
    pub(crate) async fn trouble(&self, kind: &str) -> Option<String> {
        let causes = self.health().await;
        causes
            .into_iter()
            .find(|cause| cause.kind == kind)
            .map(|cause| cause.detail)
    }

    pub(crate) async fn revision(&self) -> u64 {
        let store = self.kv(&bucket::DEPLOYMENT_STATE).await;
        store.entry(self.key()).await.unwrap().unwrap().revision
    }

    pub(crate) fn start(&mut self) {
        self.start_with(Faults::None);
    }

    pub(crate) fn start_with(&mut self, faults: Faults) {
        let agent = Agent::with_faults(self.world.device(), self.settings.clone(), faults);
        let shutdown = Rc::clone(&self.shutdown);
        self.agent = Some(tokio::task::spawn_local(async move {
            agent.run(shutdown.notified()).await.unwrap();
        }));
    }

    /// An agent that does not begin, and why.
    pub(crate) async fn refused(&self) -> Refusal {
        let agent = Agent::new(self.world.device(), self.settings.clone());
        agent.run(self.shutdown.notified()).await.unwrap_err()
    }

    /// As SIGKILL would: nothing of it runs on.
    pub(crate) async fn kill(&mut self) {
        let agent = self.agent.take().unwrap();
        agent.abort();
        let ended = agent.await;
        assert!(
            ended.is_err_and(|error| error.is_cancelled()),
            "it was alive until then"
        );
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.notify_one();
        self.agent.take().unwrap().await.unwrap();
    }

    /// Waits until the state in the store is as `wanted` says.
    pub(crate) async fn until_state(
        &self,
        what: &str,
        wanted: impl Fn(&DeploymentState) -> bool,
    ) -> DeploymentState {
        let began = Instant::now();
        loop {
            let state = self.state().await;
            if let Some(state) = state.as_ref().filter(|state| wanted(state)) {
                return state.clone();
            }
            assert!(
                began.elapsed() < PATIENCE,
                "not {what}: {state:#?}\n{:#?}",
                self.world.calls()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_running(&self, generation: u64) -> DeploymentState {
        self.until_state("running", |state| {
            state.phase == Phase::Running && state.observed_generation == generation
        })
        .await
    }

    pub(crate) async fn until_failed(&self, kind: &str) -> DeploymentState {
        self.until_state(kind, |state| {
            state.phase == Phase::Failed && state.cause.as_ref().is_some_and(|cause| cause.kind == kind)
        })
        .await
    }

    /// Names of the consumers on a bucket.
    pub(crate) async fn consumers(&self, bucket: &Bucket) -> Vec<String> {
        use futures_util::TryStreamExt;
        let stream = self.js().get_stream(bucket.stream()).await.unwrap();
        let infos: Vec<consumer::Info> = stream.consumers().try_collect().await.unwrap();
        infos.into_iter().map(|info| info.name).collect()
    }

    /// Calls of an operation so far.
    pub(crate) fn calls(&self, operation: &str) -> usize {
        let calls = self.world.calls();
        calls
            .iter()
            .filter(|call| call.split(' ').next() == Some(operation))
            .count()
    }
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "not {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}
