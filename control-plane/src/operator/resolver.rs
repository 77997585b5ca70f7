//! The task that writes `desired-state`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleet_protocol::DeploymentName;
use fleet_protocol::event::{self, FleetEvent};
use futures_util::{StreamExt, stream};
use tokio::sync::{broadcast, watch};

use super::plan::{Dirty, Write, plan};
use crate::fleet::{ChangeBatch, FleetHandle};
use crate::history::{Historian, OPERATOR};
use crate::metrics::{Metrics, WriteOutcome};
use crate::store::nats::connect::backoff;
use crate::store::{BucketId, WriteError, Writes};

/// Writes on their way at one time.
const AT_ONCE: usize = 64;
/// Everything is looked at again this often, whatever was told: the loop is level-triggered.
const RESYNC: Duration = Duration::from_secs(300);

pub(super) struct Resolver {
    fleet: FleetHandle,
    store: Arc<dyn Writes>,
    historian: Historian,
    metrics: Arc<Metrics>,
    dirty: Dirty,
    /// Rounds in a row with a write that failed.
    failures: u32,
}

impl Resolver {
    pub(super) fn new(
        fleet: FleetHandle,
        store: Arc<dyn Writes>,
        historian: Historian,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            fleet,
            store,
            historian,
            metrics,
            dirty: Dirty::everything(),
            failures: 0,
        }
    }

    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut changes = self.fleet.subscribe();
        let mut resync = tokio::time::interval(RESYNC);
        loop {
            let wait = if self.failures > 0 {
                backoff(self.failures)
            } else {
                Duration::MAX
            };
            // Cancel-safe: every arm only waits; what it gives is handled after.
            tokio::select! {
                received = changes.recv() => if !self.note(received) { return },
                _ = resync.tick() => self.dirty = Dirty::everything(),
                () = tokio::time::sleep(wait) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
            self.drain(&mut changes);
            self.round().await;
        }
    }

    /// Notes what was told; `false` when nothing will be told any more.
    fn note(&mut self, received: Result<Arc<ChangeBatch>, broadcast::error::RecvError>) -> bool {
        match received {
            Ok(batch) => batch.changes.iter().for_each(|change| self.dirty.note(change)),
            Err(broadcast::error::RecvError::Lagged(_)) => self.dirty = Dirty::everything(),
            Err(broadcast::error::RecvError::Closed) => return false,
        }
        true
    }

    fn drain(&mut self, changes: &mut broadcast::Receiver<Arc<ChangeBatch>>) {
        loop {
            match changes.try_recv() {
                Ok(batch) => batch.changes.iter().for_each(|change| self.dirty.note(change)),
                Err(broadcast::error::TryRecvError::Lagged(_)) => self.dirty = Dirty::everything(),
                Err(_) => return,
            }
        }
    }

    /// Snapshot the inputs, plan, write, remember what has to be looked at again.
    async fn round(&mut self) {
        let writes = self
            .fleet
            .read(|fleet| (fleet.converged() && fleet.connected()).then(|| plan(fleet, &self.dirty)));
        // What is dirty stays so until the fleet is known.
        let Some(writes) = writes else { return };
        self.dirty = Dirty::default();
        if writes.is_empty() {
            self.failures = 0;
            return;
        }
        let store = &self.store;
        let results: Vec<_> = stream::iter(writes)
            .map(|write| async move { (carry_out(store.as_ref(), &write).await, write) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        self.account(results).await;
    }

    async fn account(&mut self, results: Vec<(Result<u64, WriteError>, Write)>) {
        let mut done: BTreeMap<DeploymentName, Vec<Write>> = BTreeMap::new();
        let mut failed = false;
        for (result, write) in results {
            match result {
                Ok(_) => {
                    self.metrics.wrote(BucketId::Desired, WriteOutcome::Done);
                    done.entry(write.key().deployment.clone())
                        .or_default()
                        .push(write);
                }
                Err(error) => {
                    let conflict = matches!(error, WriteError::Conflict { .. });
                    let outcome = if conflict {
                        WriteOutcome::Conflict
                    } else {
                        WriteOutcome::Failed
                    };
                    self.metrics.wrote(BucketId::Desired, outcome);
                    if !conflict {
                        tracing::warn!(error = %error.detail(), key = %write.key(), "desired state not written: trying again");
                    }
                    failed = true;
                    self.dirty.note_pair(write.key().clone());
                }
            }
        }
        self.failures = if failed { self.failures + 1 } else { 0 };
        for (name, writes) in done {
            self.tell(&name, &writes);
        }
    }

    fn tell(&self, name: &DeploymentName, writes: &[Write]) {
        let put = writes
            .iter()
            .filter(|write| matches!(write, Write::Put { .. }))
            .count();
        let generation = writes.iter().find_map(|write| match write {
            Write::Put { generation, .. } => Some(*generation),
            Write::Delete { .. } => None,
        });
        let written =
            generation.map(|generation| format!("generation {generation} written for {}", devices(put)));
        let deleted = writes.len() - put;
        let taken = (deleted > 0).then(|| format!("taken away from {}", devices(deleted)));
        let detail = written.into_iter().chain(taken).collect::<Vec<_>>().join(", ");
        tracing::info!(deployment = %name, %detail, "desired state");
        let event = FleetEvent {
            protocol: fleet_protocol::PROTOCOL_VERSION,
            at: self.fleet.now(),
            actor: OPERATOR.to_owned(),
            kind: "desired-resolved".to_owned(),
            subject: format!("deployment/{name}"),
            detail,
        };
        self.historian.note(&event::operator_subject(), &event);
    }
}

fn devices(count: usize) -> String {
    if count == 1 {
        "1 device".to_owned()
    } else {
        format!("{count} devices")
    }
}

async fn carry_out(store: &dyn Writes, write: &Write) -> Result<u64, WriteError> {
    let key = write.key().to_string();
    match write {
        Write::Put { expected, bytes, .. } => {
            store.put(BucketId::Desired, &key, *expected, bytes.clone()).await
        }
        Write::Delete { expected, .. } => store.delete(BucketId::Desired, &key, *expected).await,
    }
}
