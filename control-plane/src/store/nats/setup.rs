//! Buckets and the event stream: made from the protocol's table, as often as asked, without harm.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use fleet_protocol::{event, wire};

use crate::store::BucketId;

/// One for each device of the largest fleet, and room.
const MAX_CONSUMERS: i32 = 50_000;
const TWO_MINUTES: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Largest event, in bytes.
const MAX_EVENT_BYTES: i32 = 16 * 1024;
/// How long the marker of an aged-out heartbeat stays. It only has to outlive an operator's restart.
const MARKER_TTL: Duration = DAY;

/// A bucket or the stream could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {what}")]
pub struct SetupError {
    what: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Makes what is missing and brings what differs in line. What lies in a bucket is never touched.
///
/// # Errors
/// [`SetupError`] names the first bucket that the server refused.
pub async fn ensure_all(jetstream: &jetstream::Context) -> Result<(), SetupError> {
    for bucket in BucketId::ALL {
        ensure_bucket(jetstream, bucket).await?;
    }
    ensure_history(jetstream).await
}

/// The same for one bucket.
///
/// # Errors
/// [`SetupError`] when the server refused.
pub async fn ensure_bucket(jetstream: &jetstream::Context, bucket: BucketId) -> Result<(), SetupError> {
    let made = jetstream.create_or_update_stream(bucket_config(bucket)).await;
    made.map(drop).map_err(|source| SetupError {
        what: format!("bucket {}", bucket.name()),
        source: source.into(),
    })
}

/// The same for the event stream.
///
/// # Errors
/// [`SetupError`] when the server refused.
pub async fn ensure_history(jetstream: &jetstream::Context) -> Result<(), SetupError> {
    let made = jetstream.create_or_update_stream(history_config()).await;
    made.map(drop).map_err(|source| SetupError {
        what: format!("stream {}", event::STREAM),
        source: source.into(),
    })
}

/// The stream of a bucket, as every KV client makes it, and with room for a consumer of each device: nats-server 2.15 and
/// newer admit 1,000 on a stream that does not say otherwise, and the library's bucket options cannot say it.
fn bucket_config(bucket: BucketId) -> stream::Config {
    let spec = bucket.spec();
    let max_age = spec.ttl_seconds.map(Duration::from_secs).unwrap_or_default();
    stream::Config {
        name: spec.stream(),
        description: Some(spec.description.to_owned()),
        subjects: vec![spec.subject(">")],
        max_messages_per_subject: spec.history,
        max_messages: -1,
        max_bytes: -1,
        max_age,
        // The server counts headers too: leave them room.
        max_message_size: i32::try_from(wire::MAX_VALUE_BYTES + 1024).unwrap_or(i32::MAX),
        max_consumers: MAX_CONSUMERS,
        storage: if spec.in_memory {
            stream::StorageType::Memory
        } else {
            stream::StorageType::File
        },
        num_replicas: 1,
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        duplicate_window: if spec.ttl_seconds.is_some() {
            max_age.min(TWO_MINUTES)
        } else {
            TWO_MINUTES
        },
        allow_message_ttl: spec.ttl_seconds.is_some(),
        subject_delete_marker_ttl: spec.ttl_seconds.map(|_| MARKER_TTL),
        ..Default::default()
    }
}

fn history_config() -> stream::Config {
    stream::Config {
        name: event::STREAM.to_owned(),
        description: Some("who did what, when, to what".to_owned()),
        subjects: vec![event::SUBJECTS.to_owned()],
        max_age: DAY * u32::try_from(event::KEEP_DAYS).unwrap_or(90),
        max_message_size: MAX_EVENT_BYTES,
        max_bytes: 1 << 30,
        discard: stream::DiscardPolicy::Old,
        storage: stream::StorageType::File,
        num_replicas: 1,
        deny_delete: true,
        allow_direct: true,
        ..Default::default()
    }
}

/// Says what a client cannot find out: whether each acknowledged write is on disk.
///
/// `sync_interval` is in the server's `/varz` page and in `$SYS` requests only; a user of an ordinary account sees
/// neither, so this is said at each start and never taken for granted.
pub fn say_what_cannot_be_verified() {
    tracing::warn!(
        "cannot verify that nats-server runs with `sync_interval: always`: an ordinary account cannot see it. Without it \
         JetStream acknowledges writes up to minutes before they are on disk, and a power cut loses them. Check it \
         yourself: `jetstream.config.sync_always` on the server's monitoring page /varz must be true"
    );
}
