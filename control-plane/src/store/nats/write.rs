//! Compare-and-set on KV, and appending to the history.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use bytes::Bytes;
use fleet_protocol::wire::MAX_VALUE_BYTES;
use futures_util::future::BoxFuture;

use super::connect::Connection;
use crate::store::{BucketId, WriteError, Writes};

/// Writes through a connection.
#[derive(Debug, Clone)]
pub struct NatsWriter {
    jetstream: jetstream::Context,
}

impl NatsWriter {
    /// Writes through this connection.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            jetstream: jetstream::new(connection.client().clone()),
        }
    }

    async fn write(
        &self,
        bucket: BucketId,
        key: &str,
        mut headers: HeaderMap,
        expected: u64,
        value: Bytes,
    ) -> Result<u64, WriteError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(WriteError::TooLarge {
                bucket: bucket.name(),
                key: key.to_owned(),
                bytes: value.len(),
            });
        }
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        let subject = bucket.spec().subject(key);
        let sent = self.jetstream.publish_with_headers(subject, headers, value).await;
        let stored = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        stored
            .map(|ack| ack.sequence)
            .map_err(|error| refusal(bucket, key, error))
    }
}

fn refusal(bucket: BucketId, key: &str, error: PublishError) -> WriteError {
    if error.kind() == PublishErrorKind::WrongLastSequence {
        return WriteError::Conflict {
            bucket: bucket.name(),
            key: key.to_owned(),
        };
    }
    WriteError::Unavailable {
        target: format!("{}/{key}", bucket.name()),
        source: error.into(),
    }
}

impl Writes for NatsWriter {
    fn put<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
        value: Bytes,
    ) -> BoxFuture<'a, Result<u64, WriteError>> {
        Box::pin(self.write(bucket, key, HeaderMap::new(), expected, value))
    }

    fn delete<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<u64, WriteError>> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        Box::pin(self.write(bucket, key, headers, expected, Bytes::new()))
    }

    fn append<'a>(
        &'a self,
        subject: &'a str,
        id: &'a str,
        value: Bytes,
    ) -> BoxFuture<'a, Result<u64, WriteError>> {
        Box::pin(async move {
            let unavailable = |error: PublishError| WriteError::Unavailable {
                target: subject.to_owned(),
                source: error.into(),
            };
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, id);
            let acknowledgement = self
                .jetstream
                .publish_with_headers(subject.to_owned(), headers, value)
                .await
                .map_err(unavailable)?;
            acknowledgement.await.map(|ack| ack.sequence).map_err(unavailable)
        })
    }
}
