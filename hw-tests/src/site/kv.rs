//! The buckets from a test's point of view: put what an operator would, wait for what a device reports. Blocking, with deadlines.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::kv::{Operation, Store};
use fleet_control_plane::store::nats::setup;
use fleet_protocol::bucket::{self, Bucket, PairKey};
use fleet_protocol::wire::{self, Versioned};
use fleet_protocol::{Cause, DeploymentState, DesiredState, DeviceInfo, Phase, Score};
use fleet_testbed::nats::{NatsServer, UserKey};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::Site;

/// What a test could not do with the buckets.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// No runtime for the client.
    #[error("cannot start the client's runtime")]
    Runtime(#[source] std::io::Error),
    /// No connection.
    #[error("cannot connect to nats-server")]
    Connect(#[source] async_nats::ConnectError),
    /// A bucket could not be made, read or written.
    #[error("cannot {operation} {key}: {reason}")]
    Bucket {
        /// A verb.
        operation: &'static str,
        /// Bucket and key.
        key: String,
        /// What the server or the client said.
        reason: String,
    },
    /// What was waited for did not come.
    #[error("{what} did not come within {} s; last seen: {last}", deadline.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        deadline: Duration,
        /// The last value that was seen.
        last: String,
    },
}

/// All buckets of a fleet, made as the operator makes them.
pub struct FleetKv {
    runtime: Runtime,
    jetstream: jetstream::Context,
}

impl FleetKv {
    /// Connects, and makes the buckets that do not exist yet.
    pub fn connect(nats: &NatsServer, key: &UserKey) -> Result<Self, KvError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(KvError::Runtime)?;
        let client = runtime
            .block_on(nats.connect(Some(key)))
            .map_err(KvError::Connect)?;
        // The context starts a task of its own.
        let jetstream = runtime.block_on(async { jetstream::new(client) });
        let kv = Self { runtime, jetstream };
        kv.make_buckets()?;
        Ok(kv)
    }

    /// Makes the buckets that are not there, by the operator's own hand: at the start, and after the store was lost.
    pub fn make_buckets(&self) -> Result<(), KvError> {
        self.runtime
            .block_on(setup::ensure_all(&self.jetstream))
            .map_err(failed("make", "the buckets"))
    }

    /// Asks the site's device for `score`.
    pub fn desire(&self, deployment: &str, generation: u64, score: Score) -> Result<(), KvError> {
        let desired = DesiredState {
            protocol: fleet_protocol::PROTOCOL_VERSION,
            generation,
            score,
        };
        self.put(&bucket::DESIRED_STATE, &pair(deployment), &wire::encode(&desired))
    }

    /// Takes a deployment away from the site's device.
    pub fn undesire(&self, deployment: &str) -> Result<(), KvError> {
        let key = pair(deployment);
        self.store(&bucket::DESIRED_STATE, |store| {
            self.runtime
                .block_on(store.delete(&key))
                .map_err(failed("delete", &key))
        })
    }

    /// Puts raw bytes, which need not be a message.
    pub fn put(&self, bucket: &Bucket, key: &str, bytes: &[u8]) -> Result<(), KvError> {
        self.store(bucket, |store| {
            self.runtime
                .block_on(store.put(key, bytes.to_vec().into()))
                .map(drop)
                .map_err(failed("put", key))
        })
    }

    /// The value of a key; `None` when it is absent, deleted or unreadable.
    pub fn get<T: DeserializeOwned + Versioned>(
        &self,
        bucket: &Bucket,
        key: &str,
    ) -> Result<Option<T>, KvError> {
        let bytes = self.store(bucket, |store| {
            self.runtime.block_on(store.get(key)).map_err(failed("get", key))
        })?;
        Ok(bytes.and_then(|bytes| wire::decode(&bytes).ok()))
    }

    /// What the site's device reported last about a deployment.
    pub fn state(&self, deployment: &str) -> Result<Option<DeploymentState>, KvError> {
        self.get(&bucket::DEPLOYMENT_STATE, &pair(deployment))
    }

    /// What the site's device says of itself.
    pub fn info(&self) -> Result<Option<DeviceInfo>, KvError> {
        self.get(&bucket::DEVICE_INFO, super::DEVICE)
    }

    /// Waits until the device reports `phase` for this generation.
    pub fn wait_for_phase(
        &self,
        deployment: &str,
        generation: u64,
        phase: &Phase,
        deadline: Duration,
    ) -> Result<DeploymentState, KvError> {
        let what = format!("{phase} of {deployment} generation {generation}");
        self.wait_for_state(deployment, &what, deadline, |state| {
            state.observed_generation == generation && state.phase == *phase
        })
    }

    /// Waits until the device reports a state that satisfies `accept`. Every update is seen, in order, by a watch.
    pub fn wait_for_state(
        &self,
        deployment: &str,
        what: &str,
        deadline: Duration,
        mut accept: impl FnMut(&DeploymentState) -> bool,
    ) -> Result<DeploymentState, KvError> {
        let key = pair(deployment);
        let end = Instant::now() + deadline;
        let mut last = "nothing".to_owned();
        // A watch dies with its server; the outer loop makes a new one.
        while Instant::now() < end {
            let left = end
                .saturating_duration_since(Instant::now())
                .min(Duration::from_secs(5));
            let seen = self.watch_once(&key, left, |bytes| {
                let state = bytes.and_then(|bytes| wire::decode::<DeploymentState>(bytes).ok());
                last = state
                    .as_ref()
                    .map_or_else(|| "no state".to_owned(), |state| format!("{state:?}"));
                state.filter(|state| accept(state))
            });
            if let Some(state) = seen {
                return Ok(state);
            }
        }
        Err(KvError::Late {
            what: what.to_owned(),
            deadline,
            last,
        })
    }

    /// Waits until the device reports a failure for the reason `kind`.
    pub fn wait_for_cause(
        &self,
        deployment: &str,
        kind: &str,
        deadline: Duration,
    ) -> Result<DeploymentState, KvError> {
        let what = format!("the failure {kind} of {deployment}");
        self.wait_for_state(deployment, &what, deadline, |state| {
            state.phase == Phase::Failed && state.cause.as_ref().is_some_and(|cause| cause.kind == kind)
        })
    }

    /// Waits until what the device says is wrong with itself is as `wanted` says; empty is well.
    pub fn wait_for_health(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&[Cause]) -> bool,
    ) -> Result<Vec<Cause>, KvError> {
        let end = Instant::now() + deadline;
        loop {
            let health = self.info()?.map(|info| info.health);
            match health {
                Some(health) if wanted(&health) => return Ok(health),
                last if Instant::now() > end => {
                    return Err(KvError::Late {
                        what: what.to_owned(),
                        deadline,
                        last: format!("{last:?}"),
                    });
                }
                // Health changes rarely; half a second is short beside what has to happen on the device.
                _ => std::thread::sleep(Duration::from_millis(500)),
            }
        }
    }

    /// Waits until the device has taken its report about a deployment away.
    pub fn wait_for_no_state(&self, deployment: &str, deadline: Duration) -> Result<(), KvError> {
        let key = pair(deployment);
        let end = Instant::now() + deadline;
        loop {
            let last = self.store(&bucket::DEPLOYMENT_STATE, |store| {
                self.runtime
                    .block_on(store.get(&key))
                    .map_err(failed("get", &key))
            })?;
            let Some(last) = last else { return Ok(()) };
            if Instant::now() > end {
                let last = String::from_utf8_lossy(&last).into_owned();
                return Err(KvError::Late {
                    what: format!("the end of {key}"),
                    deadline,
                    last,
                });
            }
            // Deletion is rare and has no signal of its own here; a quarter of a second is short beside a container's stop.
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// How many consumers there are on a bucket's stream.
    pub fn consumers(&self, bucket: &Bucket) -> Result<usize, KvError> {
        let stream = bucket.stream();
        self.runtime.block_on(async {
            let mut stream_of = self
                .jetstream
                .get_stream(&stream)
                .await
                .map_err(failed("look at", &stream))?;
            let info = stream_of.info().await.map_err(failed("look at", &stream))?;
            Ok(info.state.consumer_count)
        })
    }

    /// The names of the consumers on a bucket's stream.
    pub fn consumer_names(&self, bucket: &Bucket) -> Result<Vec<String>, KvError> {
        let stream = bucket.stream();
        self.runtime.block_on(async {
            let stream_of = self
                .jetstream
                .get_stream(&stream)
                .await
                .map_err(failed("look at", &stream))?;
            let names = stream_of.consumer_names().collect::<Vec<_>>().await;
            names
                .into_iter()
                .collect::<Result<_, _>>()
                .map_err(failed("look at", &stream))
        })
    }

    fn watch_once<T>(
        &self,
        key: &str,
        left: Duration,
        mut look: impl FnMut(Option<&[u8]>) -> Option<T>,
    ) -> Option<T> {
        self.runtime.block_on(async {
            let watch = async {
                let store = self
                    .jetstream
                    .get_key_value(bucket::DEPLOYMENT_STATE.name)
                    .await
                    .ok()?;
                let mut entries = store.watch_with_history(key).await.ok()?;
                while let Some(entry) = entries.next().await {
                    let entry = entry.ok()?;
                    let put = entry.operation == Operation::Put;
                    if let Some(found) = look(put.then_some(entry.value.as_ref())) {
                        return Some(found);
                    }
                }
                None
            };
            tokio::time::timeout(left, watch).await.ok().flatten()
        })
    }

    fn store<T>(
        &self,
        bucket: &Bucket,
        work: impl FnOnce(Store) -> Result<T, KvError>,
    ) -> Result<T, KvError> {
        let store = self
            .runtime
            .block_on(self.jetstream.get_key_value(bucket.name))
            .map_err(failed("open", bucket.name))?;
        work(store)
    }
}

fn pair(deployment: &str) -> String {
    let deployment = deployment.parse().expect("a test names its deployments well");
    PairKey {
        device: Site::device(),
        deployment,
    }
    .to_string()
}

fn failed<E: std::fmt::Display>(operation: &'static str, key: &str) -> impl FnOnce(E) -> KvError {
    move |error| KvError::Bucket {
        operation,
        key: key.to_owned(),
        reason: error.to_string(),
    }
}
