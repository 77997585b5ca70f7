//! The operator: keeps the aggregate fed, and resolves deployments into what each device shall run.
//!
//! Tasks, all ended by [`Operator::close`]:
//! - *ingest*: store events → aggregate, in batches; the only writer of the aggregate
//! - *tick*: what changes by time alone
//! - *resolver*: changes of the aggregate → [`plan`](plan::plan) → compare-and-set
//!
//! It keeps nothing that KV cannot rebuild, and does nothing before it has read everything that lay there.

pub mod plan;
mod resolver;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::fleet::FleetHandle;
use crate::history::Historian;
use crate::metrics::Metrics;
use crate::store::{StoreEvent, Writes};
use resolver::Resolver;

/// How often what depends on the time is looked at.
const TICK: Duration = Duration::from_secs(2);
/// How long lines for the history may keep the process from ending.
const FAREWELL: Duration = Duration::from_secs(3);
/// Most events that are taken in under one lock.
const BATCH: usize = 512;

/// The running tasks.
#[derive(Debug)]
pub struct Operator {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    historian: Historian,
}

impl Operator {
    /// Starts the tasks on events of a store and a way to write to the same store.
    #[must_use]
    pub fn start(
        fleet: &FleetHandle,
        events: impl Into<Events>,
        store: Arc<dyn Writes>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(ingest(fleet.clone(), events.into(), stopped.clone()));
        tasks.spawn(tick(fleet.clone(), stopped.clone()));
        let historian = Historian::new(Arc::clone(&store));
        tasks.spawn(Resolver::new(fleet.clone(), store, historian.clone(), metrics).run(stopped));
        Self {
            stop,
            tasks,
            historian,
        }
    }

    /// Ends the tasks; a write that is on its way is finished first, and told to the history if NATS takes it soon.
    pub async fn close(mut self) {
        self.stop.send(true).ok();
        while self.tasks.join_next().await.is_some() {}
        self.historian.settled(FAREWELL).await;
    }
}

/// Where events come from: the real store is bounded, the one in memory is not.
#[derive(Debug)]
pub enum Events {
    /// From a real store.
    Bounded(mpsc::Receiver<StoreEvent>),
    /// From a store in memory.
    Unbounded(mpsc::UnboundedReceiver<StoreEvent>),
}

impl From<mpsc::Receiver<StoreEvent>> for Events {
    fn from(events: mpsc::Receiver<StoreEvent>) -> Self {
        Self::Bounded(events)
    }
}

impl From<mpsc::UnboundedReceiver<StoreEvent>> for Events {
    fn from(events: mpsc::UnboundedReceiver<StoreEvent>) -> Self {
        Self::Unbounded(events)
    }
}

impl Events {
    /// Cancel-safe, as `recv_many` of both channels is.
    async fn next(&mut self, batch: &mut Vec<StoreEvent>) -> usize {
        match self {
            Self::Bounded(events) => events.recv_many(batch, BATCH).await,
            Self::Unbounded(events) => events.recv_many(batch, BATCH).await,
        }
    }
}

async fn ingest(fleet: FleetHandle, mut events: Events, mut stopped: watch::Receiver<bool>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            count = events.next(&mut batch) => count,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        if count == 0 {
            return;
        }
        fleet.feed(&batch);
        batch.clear();
    }
}

async fn tick(fleet: FleetHandle, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => fleet.tick(),
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
mod tests;
