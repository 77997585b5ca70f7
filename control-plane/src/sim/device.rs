//! One simulated device: a task with one consumer, one timer for each deployment that moves, and a heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use bytes::Bytes;
use fleet_protocol::bucket::{
    DEPLOYMENT_STATE, DESIRED_STATE, DEVICE_HEARTBEAT, DEVICE_INFO, HEARTBEAT_SECONDS, PairKey,
    agent_consumer,
};
use fleet_protocol::command::{self, Pong, Reply};
use fleet_protocol::{
    Cause, DeploymentName, DesiredState, DeviceId, DeviceInfo, Heartbeat, PROTOCOL_VERSION, bucket::Bucket,
    wire,
};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::script::{Asked, Dice, Script};
use super::{Behaviour, logs};
use crate::clock::Clock;
use crate::store::nats::Connection;
use crate::store::nats::connect::{Session, backoff};

/// A pull request lives this long at the server.
const PULL_EXPIRES: Duration = Duration::from_secs(60);
const IDLE_HEARTBEAT: Duration = Duration::from_secs(20);
/// The server deletes the consumer of a device that is away for this long.
const INACTIVE: Duration = Duration::from_secs(300);
/// Attempts in a row after which a person should know.
const WORTH_A_WARNING: u32 = 8;
const FAREWELL: Duration = Duration::from_secs(5);

/// A simulated device.
#[derive(Debug)]
pub struct SimDevice {
    id: DeviceId,
    labels: BTreeMap<String, String>,
    behaviour: Behaviour,
    connection: Connection,
    jetstream: jetstream::Context,
    clock: Clock,
    started: Instant,
    scripts: BTreeMap<DeploymentName, Script>,
    due: BTreeMap<DeploymentName, Instant>,
}

/// Why a stay ended: the next one begins after a moment.
type Ended = String;

impl SimDevice {
    pub(super) fn new(
        id: DeviceId,
        labels: BTreeMap<String, String>,
        behaviour: Behaviour,
        connection: Connection,
        clock: Clock,
    ) -> Self {
        Self {
            jetstream: jetstream::new(connection.client().clone()),
            id,
            labels,
            behaviour,
            connection,
            clock,
            started: Instant::now(),
            scripts: BTreeMap::new(),
            due: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut attempt = 0;
        loop {
            // Cancel-safe: a stay that is dropped leaves at most its consumer, which is deleted below.
            tokio::select! {
                ended = self.stay(&mut attempt) => {
                    tracing::debug!(device = %self.id, %ended, "session begins anew");
                    if attempt == WORTH_A_WARNING {
                        tracing::warn!(device = %self.id, %ended, "tried often and still not in the fleet");
                    }
                }
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            let wait = backoff(attempt);
            attempt += 1;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        let stream = self.jetstream.get_stream_no_info(DESIRED_STATE.stream());
        let delete = async {
            stream
                .await
                .ok()?
                .delete_consumer(&agent_consumer(&self.id))
                .await
                .ok()
        };
        tokio::time::timeout(FAREWELL, delete).await.ok();
    }

    async fn stay(&mut self, attempt: &mut u32) -> Ended {
        match self.session(attempt).await {
            Ok(away) => {
                // Offline: silent in every way until it is back.
                tokio::time::sleep(away).await;
                *attempt = 0;
                "was away".to_owned()
            }
            Err(ended) => ended,
        }
    }

    /// Online until something breaks, or until chance takes it away for a time.
    async fn session(&mut self, attempt: &mut u32) -> Result<Duration, Ended> {
        let mut connection = self.connection.sessions();
        let session = connection
            .wait_for(|now| now.connected)
            .await
            .map_err(text)?
            .number;
        self.put(&DEVICE_INFO, self.id.as_str(), &self.info()).await?;
        self.beat().await?;
        let mut desired = self.watch_desired().await?;
        let mut commands = self
            .connection
            .client()
            .subscribe(command::all_of(&self.id))
            .await
            .map_err(text)?;
        self.report_all().await?;
        *attempt = 0;
        let period = Duration::from_secs(HEARTBEAT_SECONDS);
        let mut heartbeat = interval_at(Instant::now() + period.mul_f64(fastrand::f64()), period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self
                .due
                .iter()
                .min_by_key(|(_, due)| **due)
                .map(|(name, due)| (name.clone(), *due));
            let due = next.as_ref().map_or_else(far_future, |(_, due)| *due);
            // Cancel-safe: every arm only waits.
            tokio::select! {
                message = desired.next() => {
                    let message = message.ok_or("the watch ended")?.map_err(text)?;
                    self.desired(&message).await?;
                }
                request = commands.next() => {
                    let request = request.ok_or("the command subscription ended")?;
                    self.answer(request).await?;
                }
                () = sleep_until(due), if next.is_some() => {
                    if let Some((name, _)) = next {
                        self.step(&name).await?;
                    }
                }
                _ = heartbeat.tick() => {
                    if fastrand::f64() < self.behaviour.churn * HEARTBEAT_SECONDS as f64 / 60.0 {
                        return Ok(self.behaviour.away.mul_f64(0.5 + fastrand::f64()));
                    }
                    self.beat().await?;
                }
                () = made_anew(&mut connection, session) => {
                    return Err("the connection was made anew".to_owned());
                }
            }
        }
    }

    /// The one consumer of this device, under its fixed name, made anew.
    async fn watch_desired(&self) -> Result<pull::Stream, Ended> {
        let stream = self
            .jetstream
            .get_stream_no_info(DESIRED_STATE.stream())
            .await
            .map_err(text)?;
        let name = agent_consumer(&self.id);
        stream.delete_consumer(&name).await.ok();
        let config = pull::Config {
            name: Some(name),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: DESIRED_STATE.subject(&format!("{}.*", self.id)),
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(text)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(64)
            .expires(PULL_EXPIRES)
            .heartbeat(IDLE_HEARTBEAT);
        messages.messages().await.map_err(text)
    }

    async fn desired(&mut self, message: &Message) -> Result<(), Ended> {
        let prefix = DESIRED_STATE.subject("");
        let key = message
            .subject
            .strip_prefix(prefix.as_str())
            .and_then(PairKey::parse);
        let Some(name) = key.map(|key| key.deployment) else {
            return Ok(());
        };
        let headers = message.headers.as_ref();
        let marker = headers.is_some_and(|headers| {
            headers.get("KV-Operation").is_some_and(|op| op.as_str() != "PUT")
                || headers.get("Nats-Marker-Reason").is_some()
        });
        if marker {
            return self.remove(name).await;
        }
        let now = self.clock.now();
        match wire::decode::<DesiredState>(&message.payload) {
            Err(error) => self.refuse(&name, error.kind(), error.detail()).await,
            Ok(desired) => {
                let generation = desired.generation;
                let asked = Asked::of(&desired.score);
                match self.scripts.get_mut(&name) {
                    Some(script) if script.state().observed_generation == generation => return Ok(()),
                    Some(script) => script.change(asked, generation, now),
                    None => drop(
                        self.scripts
                            .insert(name.clone(), Script::new(name.clone(), asked, generation, now)),
                    ),
                }
                self.schedule(&name, self.dice().wait);
                self.report(&name).await
            }
        }
    }

    async fn step(&mut self, name: &DeploymentName) -> Result<(), Ended> {
        let (dice, now) = (self.dice(), self.clock.now());
        let Some(script) = self.scripts.get_mut(name) else {
            return Ok(());
        };
        match script.step(dice, now) {
            Some(wait) => self.schedule(name, wait),
            None => drop(self.due.remove(name)),
        }
        self.report(name).await
    }

    fn schedule(&mut self, name: &DeploymentName, wait: Duration) {
        self.due.insert(name.clone(), Instant::now() + wait);
    }

    fn dice(&self) -> Dice {
        let wait = self.behaviour.latency.mul_f64(0.5 + fastrand::f64());
        Dice {
            fails: fastrand::f64() < self.behaviour.failure_rate,
            way: fastrand::f64(),
            wait,
        }
    }

    /// Removes a deployment and its state. A marker from before this process is answered only if a state is still there.
    async fn remove(&mut self, name: DeploymentName) -> Result<(), Ended> {
        self.due.remove(&name);
        let key = self.key(&name);
        if self.scripts.remove(&name).is_none() {
            let stream = self
                .jetstream
                .get_stream_no_info(DEPLOYMENT_STATE.stream())
                .await
                .map_err(text)?;
            let subject = DEPLOYMENT_STATE.subject(&key);
            match stream.direct_get_last_for_subject(subject).await {
                Ok(last) if last.headers.get("KV-Operation").is_none() => {}
                Ok(_) | Err(_) => return Ok(()),
            }
        }
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        let subject = DEPLOYMENT_STATE.subject(&key);
        let sent = self
            .jetstream
            .publish_with_headers(subject, headers, Bytes::new())
            .await
            .map_err(text)?;
        sent.await.map(drop).map_err(text)
    }

    /// A desired state that cannot be read is reported as such; what runs goes on.
    async fn refuse(&mut self, name: &DeploymentName, kind: &str, detail: String) -> Result<(), Ended> {
        let now = self.clock.now();
        let mut state = Script::refused(name.clone(), now).state().clone();
        state.phase = fleet_protocol::Phase::Failed;
        state.cause = Some(Cause::new(kind, detail));
        self.put(&DEPLOYMENT_STATE, &self.key(name), &state).await
    }

    async fn report_all(&self) -> Result<(), Ended> {
        for name in self.scripts.keys() {
            self.report(name).await?;
        }
        Ok(())
    }

    async fn report(&self, name: &DeploymentName) -> Result<(), Ended> {
        let Some(script) = self.scripts.get(name) else {
            return Ok(());
        };
        self.put(&DEPLOYMENT_STATE, &self.key(name), script.state()).await
    }

    fn key(&self, name: &DeploymentName) -> String {
        PairKey {
            device: self.id.clone(),
            deployment: name.clone(),
        }
        .to_string()
    }

    async fn beat(&self) -> Result<(), Ended> {
        let heartbeat = Heartbeat {
            protocol: PROTOCOL_VERSION,
            at: self.clock.now(),
            uptime_seconds: self.started.elapsed().as_secs(),
            data_free_mib: 20_000,
            memory_available_mib: 700,
        };
        self.put(&DEVICE_HEARTBEAT, self.id.as_str(), &heartbeat).await
    }

    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            protocol: PROTOCOL_VERSION,
            agent_version: format!("{}-sim", env!("CARGO_PKG_VERSION")),
            arch: if self.id.as_str().bytes().last().is_some_and(|b| b % 2 == 0) {
                "arm64"
            } else {
                "amd64"
            }
            .to_owned(),
            os: "Debian GNU/Linux 13 (trixie), simulated".to_owned(),
            kernel: "6.12.0-sim".to_owned(),
            podman_version: "5.4.2".to_owned(),
            boot_id: format!("{:032x}", fastrand::u128(..)),
            hostname: self.id.to_string(),
            memory_mib: 1024,
            data_mib: 30_000,
            labels: self.labels.clone(),
            health: Vec::new(),
            agent_started_at: self.clock.now(),
        }
    }

    async fn answer(&self, request: async_nats::Message) -> Result<(), Ended> {
        let Some(reply) = request.reply.clone() else {
            return Ok(());
        };
        let payload = self.reply_to(&request);
        self.connection
            .client()
            .publish(reply, payload.into())
            .await
            .map_err(text)
    }

    fn reply_to(&self, request: &async_nats::Message) -> Vec<u8> {
        let (subject, now) = (request.subject.as_str(), self.clock.now());
        if subject == command::ping(&self.id) {
            return wire::encode(&Reply::Done(Pong {
                agent_version: self.info().agent_version,
                at: now,
            }));
        }
        match fleet_protocol::logs::deployment_of(&self.id, subject) {
            Some(Ok(name)) => {
                let script = self.scripts.get(&name);
                wire::encode(&logs::answer(&name, script, &request.payload, now))
            }
            Some(Err(error)) => refused("request-malformed", format!("the subject {subject} {error}")),
            None => refused(
                "command-unknown",
                "a simulated device knows ping and logs only".to_owned(),
            ),
        }
    }

    async fn put<T: Serialize>(&self, bucket: &Bucket, key: &str, message: &T) -> Result<(), Ended> {
        let sent = self
            .jetstream
            .publish(bucket.subject(key), wire::encode(message).into())
            .await;
        sent.map_err(text)?.await.map(drop).map_err(text)
    }
}

/// Waits until the connection is another one than `session`.
async fn made_anew(connection: &mut watch::Receiver<Session>, session: u64) {
    connection.wait_for(|now| now.number != session).await.ok();
}

fn refused(kind: &str, detail: String) -> Vec<u8> {
    wire::encode(&Reply::<Pong>::Refused(Cause::new(kind, detail)))
}

fn text(error: impl std::fmt::Display) -> Ended {
    error.to_string()
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}
