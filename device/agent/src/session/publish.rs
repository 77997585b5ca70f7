//! Makes the device's own keys hold what the outbox wants. Begins with what the store really has, so that an
//! empty store is filled again, equal content is not written twice, and keys that belong to nothing go.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{DirectGetError, DirectGetErrorKind};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use fleet_host::Host;
use fleet_protocol::bucket::{self, PairKey};
use fleet_protocol::{DeploymentName, event};
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::backoff;
use super::watch::{self, Operation, WatchError};
use crate::outbox::Wanted;
use crate::shared::Shared;
use crate::words::chain;

/// Longest wait before the next try to write.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why a key does not hold what it ought to.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the device's own keys cannot be read")]
    Read(#[source] WatchError),
    #[error("the device's own keys cannot be read")]
    Messages(#[source] pull::MessagesError),
    #[error("device-info cannot be read")]
    Info(#[source] DirectGetError),
    #[error("{0} cannot be written")]
    Write(String, #[source] PublishError),
    #[error("{0} was written by somebody else: is there a second device of this id?")]
    Conflict(String),
}

/// What a key holds.
struct Held {
    revision: u64,
    /// `None` when it is deleted.
    value: Option<Bytes>,
}

/// Writes for as long as the session lasts.
pub(super) async fn run<H: Host>(shared: &Rc<Shared<H>>, client: &Client, store_changed: &Notify) {
    let mut tries = 0;
    loop {
        let mut publisher = Publisher {
            shared,
            client,
            js: jetstream::new(client.clone()),
            held: BTreeMap::new(),
            info: None,
            wrote: false,
        };
        let ended = publisher.serve(store_changed).await;
        tries = if publisher.wrote { 0 } else { tries + 1 };
        if let Err(error) = ended {
            tracing::warn!("{}", chain(&error));
            sleep(backoff(tries, LONGEST_WAIT)).await;
        }
    }
}

struct Publisher<'a, H> {
    shared: &'a Rc<Shared<H>>,
    client: &'a Client,
    js: Context,
    held: BTreeMap<DeploymentName, Held>,
    info: Option<Held>,
    wrote: bool,
}

impl<H: Host> Publisher<'_, H> {
    /// Ends without an error when the store may be another one.
    async fn serve(&mut self, store_changed: &Notify) -> Result<(), WriteError> {
        self.read_states().await?;
        self.read_info().await?;
        loop {
            self.write_info().await?;
            self.write_states().await?;
            self.write_events().await;
            tokio::select! {
                () = self.shared.outbox.changed() => {}
                () = store_changed.notified() => return Ok(()),
            }
        }
    }

    async fn read_states(&mut self) -> Result<(), WriteError> {
        let bucket = &bucket::DEPLOYMENT_STATE;
        let device = &self.shared.settings.identity.enrolment.device_id;
        let (stream, consumer) = watch::consumer(&self.js, bucket, device)
            .await
            .map_err(WriteError::Read)?;
        let mut left = consumer.cached_info().num_pending;
        if left > 0 {
            let mut messages = watch::messages(&consumer, bucket)
                .await
                .map_err(WriteError::Read)?;
            while left > 0 {
                let Some(message) = messages.next().await else {
                    return Err(WriteError::Read(WatchError::Ended(bucket.name)));
                };
                let message = message.map_err(WriteError::Messages)?;
                left = message.info().map_or(left.saturating_sub(1), |info| info.pending);
                self.hold(&message);
            }
        }
        // It has told all it was made for.
        let _ = stream.delete_consumer(&bucket::agent_consumer(device)).await;
        Ok(())
    }

    fn hold(&mut self, message: &jetstream::Message) {
        let prefix = bucket::DEPLOYMENT_STATE.subject("");
        let key = message.subject.strip_prefix(&prefix).and_then(PairKey::parse);
        if let (Some(key), Ok(info)) = (key, message.info()) {
            let value = match watch::operation(message) {
                Operation::Put => Some(message.payload.clone()),
                Operation::Delete | Operation::Expired => None,
            };
            let revision = info.stream_sequence;
            self.held.insert(key.deployment, Held { revision, value });
        }
    }

    async fn read_info(&mut self) -> Result<(), WriteError> {
        let bucket = &bucket::DEVICE_INFO;
        let stream = self
            .js
            .get_stream_no_info(bucket.stream())
            .await
            .expect("the name of a bucket of ours is that of a stream");
        match stream
            .direct_get_last_for_subject(bucket.subject(self.device()))
            .await
        {
            Ok(message) => {
                self.info = Some(Held {
                    revision: message.sequence,
                    value: Some(message.payload),
                });
                Ok(())
            }
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(()),
            Err(error) => Err(WriteError::Info(error)),
        }
    }

    fn device(&self) -> &str {
        self.shared.settings.identity.enrolment.device_id.as_str()
    }

    async fn write_info(&mut self) -> Result<(), WriteError> {
        let Some(wanted) = self.shared.outbox.wanted_info() else {
            return Ok(());
        };
        let (value, revision) = match &self.info {
            Some(held) => (held.value.as_ref(), held.revision),
            None => (None, 0),
        };
        if value == Some(&wanted) {
            return Ok(());
        }
        let subject = bucket::DEVICE_INFO.subject(self.device());
        let revision = self.write(subject, Some(wanted.clone()), revision).await?;
        self.info = Some(Held {
            revision,
            value: Some(wanted),
        });
        Ok(())
    }

    async fn write_states(&mut self) -> Result<(), WriteError> {
        let mut wanted: BTreeMap<DeploymentName, Wanted> =
            self.shared.outbox.wanted_states().into_iter().collect();
        if self.shared.outbox.is_complete() {
            for name in self.held.keys() {
                wanted.entry(name.clone()).or_insert(Wanted::Deleted);
            }
        }
        for (name, wanted) in wanted {
            let value = match wanted {
                Wanted::Undecided => continue,
                Wanted::Value(bytes) => Some(bytes),
                Wanted::Deleted => None,
            };
            self.write_state(&name, value).await?;
        }
        Ok(())
    }

    async fn write_state(&mut self, name: &DeploymentName, value: Option<Bytes>) -> Result<(), WriteError> {
        let held = self.held.get(name);
        let same = held.map_or(value.is_none(), |held| held.value == value);
        let revision = held.map_or(0, |held| held.revision);
        if !same {
            let subject = bucket::DEPLOYMENT_STATE.subject(&format!("{}.{name}", self.device()));
            let revision = self.write(subject, value.clone(), revision).await?;
            let value = value.clone();
            self.held.insert(name.clone(), Held { revision, value });
        }
        if value.is_none() {
            self.shared.outbox.deleted(name);
        }
        Ok(())
    }

    /// Writes a key over the revision that is known, or a deletion marker; the new revision.
    async fn write(&mut self, subject: String, value: Option<Bytes>, over: u64) -> Result<u64, WriteError> {
        let mut message = PublishMessage::build().expected_last_subject_sequence(over);
        message = match value {
            Some(bytes) => message.payload(bytes),
            None => message.header("KV-Operation", "DEL"),
        };
        let sent = self.js.send_publish(subject.clone(), message).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(acknowledgement) => {
                self.wrote = true;
                Ok(acknowledgement.sequence)
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(WriteError::Conflict(subject))
            }
            Err(error) => Err(WriteError::Write(subject, error)),
        }
    }

    /// Best effort: nothing waits for an answer.
    async fn write_events(&self) {
        let device = &self.shared.settings.identity.enrolment.device_id;
        while let Some(event) = self.shared.outbox.next_event() {
            if let Err(error) = self.client.publish(event::device_subject(device), event).await {
                tracing::debug!("an event is lost: {error}");
            }
        }
    }
}
