//! JetStream KV buckets and the event stream: what the operator reads from and writes to them.
//!
//! Reading is a stream of [`StoreEvent`]s in a bounded channel; writing is the trait [`Writes`]; asking a device is [`Asks`]. Reading and writing have two
//! implementations: [`nats`] for the real server and [`memory`] for tests of what stands on them.
//!
//! Shape of the events of one source, for as long as the process lives:
//! `(Broken* Begin Entry* End? Entry*)*`. Each `Begin` starts a full snapshot: what is not seen again until `End` is gone.
//! A new `Begin` comes after each reconnect, so nothing that was lost on the way stays lost; `Broken` says that until then
//! nothing is heard of this source, although the connection may stand.

mod ask;
pub mod memory;
pub mod nats;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_protocol::bucket::{self, Bucket};
use futures_util::future::BoxFuture;

pub use ask::{AskError, Asks};

/// The buckets by name, so that a match over them is total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BucketId {
    /// `deployments`
    Deployments,
    /// `desired-state`
    Desired,
    /// `deployment-state`
    Reported,
    /// `device-info`
    Info,
    /// `device-heartbeat`
    Heartbeat,
}

impl BucketId {
    /// All, in the order of the protocol's table.
    pub const ALL: [Self; 5] = [
        Self::Deployments,
        Self::Desired,
        Self::Reported,
        Self::Info,
        Self::Heartbeat,
    ];

    /// What the protocol says of it.
    #[must_use]
    pub fn spec(self) -> Bucket {
        match self {
            Self::Deployments => bucket::DEPLOYMENTS,
            Self::Desired => bucket::DESIRED_STATE,
            Self::Reported => bucket::DEPLOYMENT_STATE,
            Self::Info => bucket::DEVICE_INFO,
            Self::Heartbeat => bucket::DEVICE_HEARTBEAT,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A bucket.
    Bucket(BucketId),
    /// The newest events of `fleet-events`.
    History,
}

/// What happened in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEvent {
    /// The connection to the server came or went.
    Connection {
        /// Rises with each connection that was made.
        session: u64,
        /// It holds at this moment.
        connected: bool,
    },
    /// Nothing is heard of a source from now on until its next `Begin`.
    Broken {
        /// Of what.
        source: Source,
        /// Why, in a few words.
        why: String,
    },
    /// A full snapshot begins.
    Begin {
        /// Of what.
        source: Source,
        /// The connection it is read over. What was read over an earlier one may be of another store.
        session: u64,
        /// When the stream behind it was created: a newer one is another store.
        stream_created: DateTime<Utc>,
        /// Newest revision at this moment.
        target: u64,
    },
    /// The last value of a key, or an event.
    Entry {
        /// Of what.
        source: Source,
        /// What it says.
        entry: Entry,
    },
    /// All that was there at `Begin` has been sent.
    End {
        /// Of what.
        source: Source,
    },
}

/// One value in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key; for the history, the subject.
    pub key: String,
    /// Sequence of the message; rises with each write to the same stream.
    pub revision: u64,
    /// When the server stored it.
    pub at: DateTime<Utc>,
    /// The bytes; `None` is a marker: deleted, purged or aged out.
    pub value: Option<Bytes>,
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Somebody else wrote the key since it was read: read again.
    #[error("{bucket}/{key} was changed by somebody else since it was read")]
    Conflict {
        /// The bucket.
        bucket: &'static str,
        /// The key.
        key: String,
    },
    /// The value is larger than the bucket takes.
    #[error("the value for {bucket}/{key} is {bytes} bytes, which is more than the bucket takes")]
    TooLarge {
        /// The bucket.
        bucket: &'static str,
        /// The key.
        key: String,
        /// Size of the value.
        bytes: usize,
    },
    /// No answer from the server, or one that says no. Whether it was written is not known.
    #[error("NATS did not take the write to {target}")]
    Unavailable {
        /// Bucket and key, or subject.
        target: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl WriteError {
    /// The error and its source in one line.
    #[must_use]
    pub fn detail(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// Writing to the store. Every write compares the revision, so that two operators do no harm.
pub trait Writes: Send + Sync + 'static {
    /// Writes a value if the key's last revision (of a value or of a marker) is `expected`; 0 means that there is
    /// none. Gives the new revision.
    fn put<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
        value: Bytes,
    ) -> BoxFuture<'a, Result<u64, WriteError>>;

    /// Puts a delete marker if the key's last revision is `expected`. Gives the marker's revision.
    fn delete<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<u64, WriteError>>;

    /// Appends to the history. The same `id` again within two minutes appends nothing.
    fn append<'a>(
        &'a self,
        subject: &'a str,
        id: &'a str,
        value: Bytes,
    ) -> BoxFuture<'a, Result<u64, WriteError>>;
}
