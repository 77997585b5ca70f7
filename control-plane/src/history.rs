//! Appending to the history, so that nothing that was acknowledged lacks its line.
//!
//! A change and its line are two writes to two streams, and no server makes both or neither. The order is: change, line,
//! answer. So a caller that was told "done" knows that the line is on the server. Where the line cannot be had in time, the
//! caller is told exactly that, a task goes on trying, and [`Historian::settled`] lets the process wait for it at its end.
//!
//! Tasks: one for each line that NATS has not taken yet; it ends when NATS takes it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet_protocol::event::FleetEvent;
use fleet_protocol::wire;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::store::Writes;
use crate::store::nats::connect::backoff;

/// Actor of what the operator does by itself, or for somebody who gave no name.
pub const OPERATOR: &str = "operator";

/// How long a caller waits for its line before it is told that the line is not there yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// The line is not in the history yet; a task goes on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("NATS did not take the line for the history within {} s: it is tried on", PATIENCE.as_secs())]
pub struct Late;

/// Appends events, goes on until they are there, and knows how many are not. Clones share that.
#[derive(Clone)]
pub struct Historian {
    store: Arc<dyn Writes>,
    open: watch::Sender<usize>,
}

impl std::fmt::Debug for Historian {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = *self.open.borrow();
        f.debug_struct("Historian")
            .field("open", &open)
            .finish_non_exhaustive()
    }
}

/// Something that [`Historian::settled`] waits for.
pub struct Open(watch::Sender<usize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Historian {
    /// Appends through this store.
    #[must_use]
    pub fn new(store: Arc<dyn Writes>) -> Self {
        Self {
            store,
            open: watch::Sender::new(0),
        }
    }

    /// Makes [`Self::settled`] wait until the guard is dropped: for a change whose line is still to be appended.
    #[must_use]
    pub fn open(&self) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(self.open.clone())
    }

    /// Appends one event, and waits a few seconds for that.
    ///
    /// # Errors
    /// [`Late`] when NATS has not taken it by then; it is tried on.
    pub async fn append(&self, subject: &str, event: &FleetEvent) -> Result<(), Late> {
        // The task goes on when this future is dropped or late.
        let task = self.begin(subject, event);
        if tokio::time::timeout(PATIENCE, task).await.is_ok() {
            return Ok(());
        }
        // All of it, in case the process does not live until NATS takes it.
        tracing::error!(?event, "AUDIT: this event is not in the history yet");
        Err(Late)
    }

    /// Appends one event without waiting for it: for what nobody is told is done.
    pub fn note(&self, subject: &str, event: &FleetEvent) {
        drop(self.begin(subject, event));
    }

    fn begin(&self, subject: &str, event: &FleetEvent) -> JoinHandle<()> {
        let line = Line {
            subject: subject.to_owned(),
            id: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            bytes: wire::encode(event).into(),
        };
        let (store, open) = (Arc::clone(&self.store), self.open());
        tokio::spawn(async move {
            line.append(store.as_ref()).await;
            drop(open);
        })
    }

    /// Waits until nothing is open, at most `limit`. Gives how many lines are still not in the history; the log has them.
    pub async fn settled(&self, limit: Duration) -> usize {
        let mut open = self.open.subscribe();
        tokio::time::timeout(limit, open.wait_for(|open| *open == 0))
            .await
            .ok();
        *self.open.borrow()
    }
}

struct Line {
    subject: String,
    /// The server takes a second message of the same id within two minutes for the first one.
    id: String,
    bytes: Bytes,
}

impl Line {
    /// Until the server has it. A try whose answer was lost is no second line: every try carries the same id.
    async fn append(&self, store: &dyn Writes) {
        let mut attempt = 0;
        while let Err(error) = store.append(&self.subject, &self.id, self.bytes.clone()).await {
            if attempt == 0 {
                tracing::warn!(error = %error.detail(), subject = %self.subject, "the history did not take a line: trying on");
            }
            tokio::time::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }
}
