//! One watch: a named pull consumer, always polled, and begun anew whenever in doubt.
//!
//! Why not the library's `kv.watch`: it is an *ordered push* consumer that repairs itself under random names and resumes
//! at the last sequence it saw.
//! - An unpolled one can hang for ever after a restart of the server (nats-io/nats.rs#1596), and reconnect storms have left
//!   hundreds of its consumers behind (openobserve/openobserve#13676).
//! - `device-heartbeat` lies in memory: after a restart of the server its sequences begin at 1 again, so a consumer that
//!   resumes at the old sequence waits for ever in silence. The same holds for every bucket of a store that was replaced.
//!
//! Here each (re)connect begins with a full snapshot (30,000 keys take 0.06 s), the consumer's name is the same for the
//! whole life of the process, it is deleted before it is made again and at the end, and it goes by itself a minute after a
//! crash. Gaps in the consumer's sequence, missed idle heartbeats and a consumer that is gone all end in a new `Begin`.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use chrono::{DateTime, Utc};
use fleet_protocol::event;
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch as signal};

use super::connect::{Session, backoff};
use super::setup;
use crate::store::{Entry, Source, StoreEvent};

/// The server deletes a consumer that nobody polls for this long: what is left after a crash.
const INACTIVE: Duration = Duration::from_secs(60);
/// One pull request lives this long at the server.
const PULL_EXPIRES: Duration = Duration::from_secs(20);
/// The server says this often that the pull request is alive; twice as long without a word ends the watch.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(5);
/// Messages of one pull request.
const BATCH: usize = 2_000;
/// How many of the newest events are read at start.
pub const HISTORY_TAIL: u64 = 5_000;
/// A call to JetStream at the end may not keep the process from ending.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Watch {
    pub(super) jetstream: jetstream::Context,
    pub(super) source: Source,
    pub(super) consumer: String,
    pub(super) events: mpsc::Sender<StoreEvent>,
    pub(super) connection: signal::Receiver<Session>,
    pub(super) stopped: signal::Receiver<bool>,
}

/// Why one stay of a watch ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// The receiver is gone: the process ends.
    #[error("nobody listens any more")]
    Unheard,
    #[error("the stream cannot be made ready")]
    Setup(#[from] setup::SetupError),
    #[error("the server did not answer: {0}")]
    Refused(String),
    #[error("a message is missing: {expected} was expected and {found} came")]
    Gap { expected: u64, found: u64 },
    #[error("the watch broke: {0}")]
    Broken(String),
    #[error("the connection was made anew")]
    Reconnected,
}

impl Watch {
    pub(super) async fn run(mut self) {
        let mut attempt = 0;
        let mut stopped = self.stopped.clone();
        loop {
            // Cancel-safe: a stay that is dropped leaves at most its consumer, which is deleted below.
            let ended = tokio::select! {
                ended = self.stay(&mut attempt) => ended,
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            if matches!(ended, Ended::Unheard) {
                break;
            }
            let wait = backoff(attempt);
            attempt += 1;
            tracing::warn!(source = ?self.source, %ended, ?wait, "watch begins anew");
            let why = said(&ended);
            tokio::select! {
                told = self.tell(StoreEvent::Broken { source: self.source, why }) => if told.is_err() { break },
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        self.delete_consumer(FAREWELL).await;
    }

    /// From one `Begin` to whatever ends it.
    async fn stay(&mut self, attempt: &mut u32) -> Ended {
        if self
            .connection
            .wait_for(|session| session.connected)
            .await
            .is_err()
        {
            return Ended::Unheard;
        }
        let session = self.connection.borrow_and_update().number;
        match self.follow(session, attempt).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn follow(&mut self, session: u64, attempt: &mut u32) -> Result<std::convert::Infallible, Ended> {
        let (mut messages, pending) = self.begin(session).await?;
        let mut snapshot = pending > 0;
        if !snapshot {
            self.tell(StoreEvent::End { source: self.source }).await?;
            *attempt = 0;
        }
        let mut expected = 1;
        let mut connection = self.connection.clone();
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                _ = connection.wait_for(|now| now.number != session) => return Err(Ended::Reconnected),
            };
            let message = message
                .ok_or_else(|| Ended::Broken("the stream of messages ended".into()))?
                .map_err(|error| Ended::Broken(error.to_string()))?;
            let info = message.info().map_err(|error| Ended::Broken(error.to_string()))?;
            if info.consumer_sequence != expected {
                return Err(Ended::Gap {
                    expected,
                    found: info.consumer_sequence,
                });
            }
            expected += 1;
            let (revision, at, left) = (info.stream_sequence, utc(info.published), info.pending);
            self.tell(StoreEvent::Entry {
                source: self.source,
                entry: self.entry(&message, revision, at),
            })
            .await?;
            if snapshot && left == 0 {
                snapshot = false;
                *attempt = 0;
                self.tell(StoreEvent::End { source: self.source }).await?;
            }
        }
    }

    /// Makes stream and consumer ready and says `Begin`. Gives the messages and how many wait.
    async fn begin(&self, session: u64) -> Result<(pull::Stream, u64), Ended> {
        match self.source {
            Source::Bucket(bucket) => setup::ensure_bucket(&self.jetstream, bucket).await?,
            Source::History => setup::ensure_history(&self.jetstream).await?,
        }
        let refused = |error: &dyn std::fmt::Display| Ended::Refused(error.to_string());
        let mut stream = self
            .jetstream
            .get_stream(self.stream_name())
            .await
            .map_err(|e| refused(&e))?;
        let info = stream.info().await.map_err(|e| refused(&e))?;
        let (created, first, last) = (
            utc(info.created),
            info.state.first_sequence,
            info.state.last_sequence,
        );
        // What a lost connection left; a consumer that isn't there is the normal case.
        stream.delete_consumer(&self.consumer).await.ok();
        self.tell(StoreEvent::Begin {
            source: self.source,
            session,
            stream_created: created,
            target: last,
        })
        .await?;
        let config = self.consumer_config(first, last);
        let consumer = stream.create_consumer(config).await.map_err(|e| refused(&e))?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .expires(PULL_EXPIRES)
            .heartbeat(IDLE_HEARTBEAT)
            .messages()
            .await
            .map_err(|e| refused(&e))?;
        Ok((messages, pending))
    }

    fn consumer_config(&self, first: u64, last: u64) -> pull::Config {
        let deliver_policy = match self.source {
            Source::Bucket(_) => DeliverPolicy::LastPerSubject,
            Source::History => DeliverPolicy::ByStartSequence {
                start_sequence: (last + 1).saturating_sub(HISTORY_TAIL).max(first).max(1),
            },
        };
        pull::Config {
            name: Some(self.consumer.clone()),
            description: Some("fleet-operator".to_owned()),
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: format!("{}>", self.prefix()),
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        }
    }

    fn stream_name(&self) -> String {
        match self.source {
            Source::Bucket(bucket) => bucket.spec().stream(),
            Source::History => event::STREAM.to_owned(),
        }
    }

    fn prefix(&self) -> String {
        match self.source {
            Source::Bucket(bucket) => bucket.spec().subject(""),
            Source::History => format!("{}.", event::STREAM),
        }
    }

    fn entry(&self, message: &Message, revision: u64, at: DateTime<Utc>) -> Entry {
        let key = message
            .subject
            .strip_prefix(self.prefix().as_str())
            .unwrap_or(&message.subject);
        // A slice of the connection's read buffer would keep all of it: copy.
        let value = (!is_marker(message)).then(|| bytes::Bytes::copy_from_slice(&message.payload));
        Entry {
            key: key.to_owned(),
            revision,
            at,
            value,
        }
    }

    async fn tell(&self, event: StoreEvent) -> Result<(), Ended> {
        self.events.send(event).await.map_err(|_| Ended::Unheard)
    }

    async fn delete_consumer(&self, limit: Duration) {
        let delete = async {
            let stream = self.jetstream.get_stream_no_info(self.stream_name()).await.ok()?;
            stream.delete_consumer(&self.consumer).await.ok()
        };
        if !self.connection.borrow().connected
            || tokio::time::timeout(limit, delete).await.ok().flatten().is_none()
        {
            tracing::warn!(source = ?self.source, "could not delete the consumer: the server does it in a minute");
        }
    }
}

/// Why a stay ended, with its sources: what the banner and `/readyz` show.
fn said(ended: &Ended) -> String {
    let mut text = ended.to_string();
    let mut next = std::error::Error::source(ended);
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

/// A marker is any of the ways in which a value goes: deleted, purged, aged out.
fn is_marker(message: &Message) -> bool {
    let Some(headers) = &message.headers else {
        return false;
    };
    let operation = headers.get("KV-Operation").map(async_nats::HeaderValue::as_str);
    matches!(operation, Some("DEL" | "PURGE")) || headers.get("Nats-Marker-Reason").is_some()
}

/// The library's time type differs by its features; `SystemTime` is what both turn into.
fn utc(time: impl Into<SystemTime>) -> DateTime<Utc> {
    DateTime::from(time.into())
}
