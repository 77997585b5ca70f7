//! The watch of `desired-state`: one pull consumer with a fixed name, made anew each time, so that none is
//! ever left behind.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context, Message};
use fleet_host::Host;
use fleet_protocol::bucket::{self, Bucket, PairKey};
use fleet_protocol::{DeploymentName, DeviceId};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::backoff;
use crate::deployment::record::Seen;
use crate::dispatch::News;
use crate::shared::Shared;
use crate::words::chain;

/// Longest wait before a watch that broke inside a living connection is made anew.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The server forgets a consumer that nobody polled for this time.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(5);

/// Why a watch broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error("the bucket {0} does not answer")]
    Bucket(&'static str, #[source] jetstream::context::RequestError),
    #[error("the bucket {0} cannot be used")]
    Refused(&'static str, #[source] jetstream::Error),
    #[error("the consumer on {0} cannot be made")]
    Consumer(&'static str, #[source] jetstream::stream::ConsumerError),
    #[error("the watch of {0} cannot begin")]
    Begin(&'static str, #[source] jetstream::consumer::StreamError),
    #[error("the watch of {0} broke")]
    Broke(&'static str, #[source] pull::MessagesError),
    #[error("the watch of {0} ended")]
    Ended(&'static str),
}

/// Which store answers.
#[derive(Deserialize)]
struct Store {
    created: String,
    state: StoreState,
}

#[derive(Deserialize)]
struct StoreState {
    last_seq: u64,
}

/// Watches for as long as the session lasts.
pub(super) async fn run<H: Host>(
    shared: &Rc<Shared<H>>,
    client: &Client,
    news: &UnboundedSender<News>,
    store_changed: &Notify,
) {
    let device = &shared.settings.identity.enrolment.device_id;
    let js = jetstream::new(client.clone());
    let mut tries = 0;
    let mut ignored = BTreeSet::new();
    loop {
        let mut watch = Watch {
            device,
            news,
            ignored: &mut ignored,
            complete: false,
        };
        shared.outbox.not_all_known();
        let error = watch.run(&js).await;
        tries = if watch.complete { 0 } else { tries + 1 };
        tracing::warn!("{}", chain(&error));
        sleep(backoff(tries, LONGEST_WAIT)).await;
        store_changed.notify_one();
    }
}

struct Watch<'a> {
    device: &'a DeviceId,
    news: &'a UnboundedSender<News>,
    /// Keys with names that cannot be: each is told once.
    ignored: &'a mut BTreeSet<String>,
    complete: bool,
}

impl Watch<'_> {
    async fn run(&mut self, js: &Context) -> WatchError {
        match self.follow(js).await {
            Ok(()) => WatchError::Ended(bucket::DESIRED_STATE.name),
            Err(error) => error,
        }
    }

    async fn follow(&mut self, js: &Context) -> Result<(), WatchError> {
        let bucket = &bucket::DESIRED_STATE;
        let store = store(js, bucket).await?;
        let (_, consumer) = consumer(js, bucket, self.device).await?;
        let mut pending = consumer.cached_info().num_pending;
        let mut names = BTreeSet::new();
        let mut messages = messages(&consumer, bucket).await?;
        loop {
            if pending == 0 && !self.complete {
                self.complete = true;
                self.tell(News::Complete {
                    store: store.created.clone(),
                    last: store.state.last_seq,
                    names: std::mem::take(&mut names),
                });
            }
            let Some(message) = messages.next().await else {
                return Ok(());
            };
            let message = message.map_err(|error| WatchError::Broke(bucket.name, error))?;
            let Some((name, sequence, left)) = self.key_of(&message) else {
                pending = pending.saturating_sub(1);
                continue;
            };
            pending = left;
            if !self.complete {
                names.insert(name.clone());
            }
            let seen = Seen {
                store: store.created.clone(),
                sequence,
            };
            self.message(name, seen, message);
        }
    }

    /// The deployment, the sequence, and how many messages follow; `None` for a key that cannot be.
    fn key_of(&mut self, message: &Message) -> Option<(DeploymentName, u64, u64)> {
        let prefix = bucket::DESIRED_STATE.subject("");
        let key = message.subject.strip_prefix(&prefix).unwrap_or_default();
        match (PairKey::parse(key), message.info()) {
            (Some(pair), Ok(info)) if pair.device == *self.device => {
                Some((pair.deployment, info.stream_sequence, info.pending))
            }
            _ => {
                if self.ignored.len() < 64 && self.ignored.insert(message.subject.to_string()) {
                    tracing::warn!(
                        "the key {} is ignored: its name cannot be",
                        message.subject.as_str()
                    );
                }
                None
            }
        }
    }

    fn message(&self, name: DeploymentName, seen: Seen, message: Message) {
        match operation(&message) {
            Operation::Put => self.tell(News::Value {
                name,
                seen,
                bytes: message.payload.clone(),
            }),
            Operation::Delete => self.tell(News::Deleted { name, seen }),
            Operation::Expired => {
                tracing::warn!("{name} is kept: its key went by age, which nobody asked for");
            }
        }
    }

    fn tell(&self, news: News) {
        // A closed channel means that the agent is going down, and this task with it.
        let _ = self.news.send(news);
    }
}

/// What a message of a bucket does to its key.
pub(super) enum Operation {
    Put,
    Delete,
    Expired,
}

pub(super) fn operation(message: &async_nats::Message) -> Operation {
    let header = |name: &str| {
        let headers = message.headers.as_ref()?;
        headers.get(name).map(|value| value.as_str().to_owned())
    };
    match (
        header("KV-Operation").as_deref(),
        header("Nats-Marker-Reason").as_deref(),
    ) {
        (Some("DEL" | "PURGE"), _) | (_, Some("Remove" | "Purge")) => Operation::Delete,
        (_, Some(_)) => Operation::Expired,
        _ => Operation::Put,
    }
}

async fn store(js: &Context, bucket: &Bucket) -> Result<Store, WatchError> {
    let subject = format!("STREAM.INFO.{}", bucket.stream());
    let answer = js.request(subject, &()).await;
    match answer.map_err(|error| WatchError::Bucket(bucket.name, error))? {
        Response::Ok(store) => Ok(store),
        Response::Err { error } => Err(WatchError::Refused(bucket.name, error)),
    }
}

/// The device's consumer on a bucket, with the last value of each key to come.
pub(super) async fn consumer(
    js: &Context,
    bucket: &Bucket,
    device: &DeviceId,
) -> Result<(Stream<()>, Consumer<pull::Config>), WatchError> {
    let name = bucket::agent_consumer(device);
    let stream = js
        .get_stream_no_info(bucket.stream())
        .await
        .expect("the name of a bucket of ours is that of a stream");
    // An old one would go on where it was, without the values it has told already. None is as good.
    let _ = stream.delete_consumer(&name).await;
    let config = pull::Config {
        name: Some(name),
        description: Some("the agent's only consumer".to_owned()),
        deliver_policy: DeliverPolicy::LastPerSubject,
        ack_policy: AckPolicy::None,
        filter_subject: bucket.subject(&format!("{device}.*")),
        inactive_threshold: FORGOTTEN_AFTER,
        memory_storage: true,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await;
    Ok((
        stream,
        consumer.map_err(|error| WatchError::Consumer(bucket.name, error))?,
    ))
}

pub(super) async fn messages(
    consumer: &Consumer<pull::Config>,
    bucket: &Bucket,
) -> Result<pull::Stream, WatchError> {
    consumer
        .stream()
        .max_messages_per_batch(64)
        .expires(Duration::from_mins(2))
        .heartbeat(Duration::from_secs(30))
        .messages()
        .await
        .map_err(|error| WatchError::Begin(bucket.name, error))
}
