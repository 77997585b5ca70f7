//! A store in memory with the same rules as the real one, for tests of what stands on a store. It keeps state, compares
//! revisions, and can refuse the next writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_protocol::wire::MAX_VALUE_BYTES;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{BucketId, Entry, Source, StoreEvent, WriteError, Writes};
use crate::clock::Clock;

/// The store. Clones share it.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
}

struct Inner {
    created: DateTime<Utc>,
    revisions: [u64; BucketId::ALL.len()],
    entries: [BTreeMap<String, Entry>; BucketId::ALL.len()],
    history: Vec<Entry>,
    watchers: Vec<mpsc::UnboundedSender<StoreEvent>>,
    writes: u64,
    refuse: u32,
}

impl MemoryStore {
    /// An empty store, created now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let inner = Inner {
            created: clock.now(),
            revisions: Default::default(),
            entries: Default::default(),
            history: Vec::new(),
            watchers: Vec::new(),
            writes: 0,
            refuse: 0,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            clock,
        }
    }

    /// Watches everything: a full snapshot of each source, then what comes.
    #[must_use]
    pub fn watch(&self) -> mpsc::UnboundedReceiver<StoreEvent> {
        let (send, receive) = mpsc::unbounded_channel();
        let mut inner = self.lock();
        let created = inner.created;
        let mut all = vec![StoreEvent::Connection {
            session: 1,
            connected: true,
        }];
        for bucket in BucketId::ALL {
            let entries = inner.entries[bucket.index()].values().cloned().collect();
            snapshot(&mut all, Source::Bucket(bucket), created, entries);
        }
        snapshot(&mut all, Source::History, created, inner.history.clone());
        for event in all {
            send.send(event).ok();
        }
        inner.watchers.push(send);
        receive
    }

    /// Refuses the next `count` writes as an unreachable server would.
    pub fn refuse_writes(&self, count: u32) {
        self.lock().refuse = count;
    }

    /// How many writes were done (not those that were refused).
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, bucket: BucketId, key: &str) -> Option<Bytes> {
        self.lock().entries[bucket.index()]
            .get(key)
            .and_then(|entry| entry.value.clone())
    }

    /// Keys with a value.
    #[must_use]
    pub fn keys(&self, bucket: BucketId) -> Vec<String> {
        let inner = self.lock();
        let entries = inner.entries[bucket.index()].values();
        entries
            .filter(|entry| entry.value.is_some())
            .map(|entry| entry.key.clone())
            .collect()
    }

    /// Writes without comparing, as a device or a person would.
    pub fn set(&self, bucket: BucketId, key: &str, value: Option<Bytes>) -> u64 {
        let at = self.clock.now();
        self.lock().store(bucket, key, value, at)
    }

    /// Events of the history.
    #[must_use]
    pub fn history(&self) -> Vec<Bytes> {
        self.lock()
            .history
            .iter()
            .filter_map(|entry| entry.value.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compare_and_set(
        &self,
        bucket: BucketId,
        key: &str,
        expected: u64,
        value: Option<Bytes>,
    ) -> Result<u64, WriteError> {
        let at = self.clock.now();
        let mut inner = self.lock();
        inner.admit(&format!("{}/{key}", bucket.name()))?;
        let bytes = value.as_ref().map_or(0, Bytes::len);
        if bytes > MAX_VALUE_BYTES {
            return Err(WriteError::TooLarge {
                bucket: bucket.name(),
                key: key.to_owned(),
                bytes,
            });
        }
        let current = inner.entries[bucket.index()]
            .get(key)
            .map_or(0, |entry| entry.revision);
        if current != expected {
            return Err(WriteError::Conflict {
                bucket: bucket.name(),
                key: key.to_owned(),
            });
        }
        Ok(inner.store(bucket, key, value, at))
    }
}

fn snapshot(
    all: &mut Vec<StoreEvent>,
    source: Source,
    stream_created: DateTime<Utc>,
    mut entries: Vec<Entry>,
) {
    entries.sort_by_key(|entry| entry.revision);
    let target = entries.last().map_or(0, |entry| entry.revision);
    all.push(StoreEvent::Begin {
        source,
        session: 1,
        stream_created,
        target,
    });
    all.extend(
        entries
            .into_iter()
            .map(|entry| StoreEvent::Entry { source, entry }),
    );
    all.push(StoreEvent::End { source });
}

impl Inner {
    fn admit(&mut self, target: &str) -> Result<(), WriteError> {
        if self.refuse == 0 {
            return Ok(());
        }
        self.refuse -= 1;
        Err(WriteError::Unavailable {
            target: target.to_owned(),
            source: "refused by the test".into(),
        })
    }

    fn store(&mut self, bucket: BucketId, key: &str, value: Option<Bytes>, at: DateTime<Utc>) -> u64 {
        self.writes += 1;
        self.revisions[bucket.index()] += 1;
        let revision = self.revisions[bucket.index()];
        let entry = Entry {
            key: key.to_owned(),
            revision,
            at,
            value,
        };
        self.entries[bucket.index()].insert(key.to_owned(), entry.clone());
        self.tell(&StoreEvent::Entry {
            source: Source::Bucket(bucket),
            entry,
        });
        revision
    }

    fn tell(&mut self, event: &StoreEvent) {
        self.watchers
            .retain(|watcher| watcher.send(event.clone()).is_ok());
    }
}

impl Writes for MemoryStore {
    fn put<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
        value: Bytes,
    ) -> BoxFuture<'a, Result<u64, WriteError>> {
        Box::pin(async move { self.compare_and_set(bucket, key, expected, Some(value)) })
    }

    fn delete<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<u64, WriteError>> {
        Box::pin(async move { self.compare_and_set(bucket, key, expected, None) })
    }

    fn append<'a>(
        &'a self,
        subject: &'a str,
        _id: &'a str,
        value: Bytes,
    ) -> BoxFuture<'a, Result<u64, WriteError>> {
        Box::pin(async move {
            let at = self.clock.now();
            let mut inner = self.lock();
            inner.admit(subject)?;
            let revision = inner.history.len() as u64 + 1;
            let entry = Entry {
                key: subject.to_owned(),
                revision,
                at,
                value: Some(value),
            };
            inner.history.push(entry.clone());
            inner.tell(&StoreEvent::Entry {
                source: Source::History,
                entry,
            });
            Ok(revision)
        })
    }
}
