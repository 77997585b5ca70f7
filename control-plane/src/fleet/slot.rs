//! One key of a bucket, as last seen.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_protocol::wire::{self, DecodeError, Versioned};
use serde::de::DeserializeOwned;

use super::view::Problem;
use crate::store::{BucketId, Entry};

/// Why a value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Stable kebab-case word.
    pub kind: &'static str,
    /// One sentence.
    pub detail: String,
}

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Self {
        Self {
            kind: error.kind(),
            detail: error.detail(),
        }
    }
}

/// What lies under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<T> {
    /// A marker: it was deleted, purged or aged out.
    Gone,
    /// A message.
    Read(T),
    /// Bytes that this build cannot use.
    Unreadable(Unreadable),
}

/// A key with its last value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot<T> {
    /// Revision of the last value or marker: what a write has to expect.
    pub revision: u64,
    /// When the server stored it.
    pub at: DateTime<Utc>,
    /// Number of the snapshot that it was seen in last.
    pub(super) epoch: u64,
    /// The value.
    pub value: Value<T>,
}

/// What an entry did to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Older than what is known, or the very same.
    Nothing,
    Changed,
}

impl<T> Slot<T> {
    /// The message, if it is one.
    #[must_use]
    pub fn read(&self) -> Option<&T> {
        match &self.value {
            Value::Read(message) => Some(message),
            Value::Gone | Value::Unreadable(_) => None,
        }
    }

    /// It is a marker.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.value, Value::Gone)
    }

    /// Why it cannot be read, if so.
    #[must_use]
    pub fn unreadable(&self) -> Option<&Unreadable> {
        match &self.value {
            Value::Unreadable(why) => Some(why),
            Value::Gone | Value::Read(_) => None,
        }
    }

    pub(super) fn problem(&self, bucket: BucketId, key: &str) -> Option<Problem> {
        self.unreadable().map(|why| Problem {
            bucket: bucket.name().to_owned(),
            key: key.to_owned(),
            kind: why.kind.to_owned(),
            detail: why.detail.clone(),
            since: self.at,
        })
    }
}

/// Puts an entry into its slot. Within one snapshot (`epoch`) the highest revision wins; the first entry of a new
/// snapshot always wins, since the store may be another one whose revisions begin at 1 again.
pub(super) fn take<T>(
    slot: &mut Option<Slot<T>>,
    entry: &Entry,
    epoch: u64,
    read: impl FnOnce(&Bytes) -> Result<T, Unreadable>,
) -> Taken {
    if let Some(known) = slot {
        if known.epoch == epoch && entry.revision < known.revision {
            return Taken::Nothing;
        }
        known.epoch = epoch;
        if known.revision == entry.revision && known.at == entry.at {
            return Taken::Nothing;
        }
    }
    let value = match &entry.value {
        None => Value::Gone,
        Some(bytes) => match read(bytes) {
            Ok(message) => Value::Read(message),
            Err(why) => Value::Unreadable(why),
        },
    };
    *slot = Some(Slot {
        revision: entry.revision,
        at: entry.at,
        epoch,
        value,
    });
    Taken::Changed
}

/// Reads a message of the protocol.
pub(super) fn message<T: DeserializeOwned + Versioned>(bytes: &Bytes) -> Result<T, Unreadable> {
    wire::decode(bytes).map_err(Unreadable::from)
}
