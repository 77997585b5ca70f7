//! The aggregate as one task feeds it and everybody else reads it.
//!
//! Reading takes a lock for as long as a view is made (never across an `await`); changes are told as names, so a reader
//! that is slow loses nothing but intermediate states.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use fleet_protocol::bucket::PairKey;
use tokio::sync::{broadcast, watch};

use super::apply::Changes;
use super::state::Fleet;
use super::view::{DeploymentView, DeviceView, FleetView, PairView, RecoveryView};
use crate::api::types::{DeploymentList, DeviceList, EventList, EventQuery, ListQuery, PairList, PairQuery};
use crate::clock::Clock;
use crate::store::StoreEvent;

/// Batches that a subscriber may be behind before it is told that it lagged.
const BACKLOG: usize = 256;
/// Batches that are kept for readers that come back.
const KEEP: usize = 1024;

/// Changes that were made together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeBatch {
    /// Rises by one with each batch.
    pub version: u64,
    /// What changed.
    pub changes: Changes,
}

/// What a reader that comes back has missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// These things.
    Changes(Changes),
    /// Too much, or it was with another process: begin anew.
    Lost,
}

/// A handle on the aggregate; clones share it.
#[derive(Debug, Clone)]
pub struct FleetHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    version: watch::Sender<u64>,
    changes: broadcast::Sender<Arc<ChangeBatch>>,
    clock: Clock,
    instance: u32,
}

#[derive(Debug, Default)]
struct State {
    fleet: Fleet,
    recent: VecDeque<Arc<ChangeBatch>>,
}

impl FleetHandle {
    /// An aggregate that knows nothing yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let shared = Shared {
            state: RwLock::default(),
            version: watch::Sender::new(0),
            changes: broadcast::Sender::new(BACKLOG),
            clock,
            instance: fastrand::u32(..),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Takes events in, and tells what they changed as one batch.
    pub fn feed(&self, events: &[StoreEvent]) {
        self.change(|fleet, now, changes| {
            for event in events {
                fleet.apply(event, now, changes);
            }
        });
    }

    /// Brings what depends on the time up to date.
    pub fn tick(&self) {
        self.change(Fleet::tick);
    }

    fn change(&self, change: impl FnOnce(&mut Fleet, DateTime<Utc>, &mut Changes)) {
        let now = self.now();
        let mut changes = Changes::new();
        {
            let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut state.fleet, now, &mut changes);
            if changes.is_empty() {
                return;
            }
            let version = state.recent.back().map_or(0, |batch| batch.version) + 1;
            let batch = Arc::new(ChangeBatch { version, changes });
            if state.recent.len() == KEEP {
                state.recent.pop_front();
            }
            state.recent.push_back(Arc::clone(&batch));
            // Under the lock, so that versions are told in order and a reader that holds it has been told all it sees.
            self.shared.version.send_replace(version);
            // Nobody listening is the normal case.
            self.shared.changes.send(batch).ok();
        }
    }

    /// Reads the aggregate. Keep it short: the feeding task waits.
    pub fn read<R>(&self, read: impl FnOnce(&Fleet) -> R) -> R {
        read(
            &self
                .shared
                .state
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .fleet,
        )
    }

    /// The version that what is read now has at least.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.shared.version.borrow()
    }

    /// Told apart from every other process, so that a version is not taken for one of another.
    #[must_use]
    pub fn instance(&self) -> u32 {
        self.shared.instance
    }

    /// Changes its value with each batch.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// What changed, batch by batch.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<ChangeBatch>> {
        self.shared.changes.subscribe()
    }

    /// What changed after a version.
    #[must_use]
    pub fn replay(&self, instance: u32, version: u64) -> Replay {
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = state.recent.front().map_or(1, |batch| batch.version);
        let newest = state.recent.back().map_or(0, |batch| batch.version);
        if instance != self.shared.instance || version + 1 < oldest || version > newest {
            return Replay::Lost;
        }
        let missed = state.recent.iter().filter(|batch| batch.version > version);
        Replay::Changes(missed.flat_map(|batch| batch.changes.iter().cloned()).collect())
    }

    /// The clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    /// Waits until `condition` holds for the aggregate.
    pub async fn wait_until(&self, condition: impl Fn(&Fleet) -> bool) {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if self.read(&condition) {
                return;
            }
            if changes.changed().await.is_err() {
                // The sender lives in `self`, so this cannot be; waiting for ever is what was asked for.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The views, as API and dashboard ask for them.
impl FleetHandle {
    /// Whether views are whole.
    #[must_use]
    pub fn recovery(&self) -> RecoveryView {
        self.read(Fleet::recovery)
    }

    /// The first screen.
    #[must_use]
    pub fn status(&self) -> FleetView {
        self.read(Fleet::status)
    }

    /// Devices that match.
    ///
    /// # Errors
    /// A sentence when the query does not parse.
    pub fn devices(&self, query: &ListQuery) -> Result<DeviceList, String> {
        self.read(|fleet| fleet.device_list(query))
    }

    /// One device.
    #[must_use]
    pub fn device(&self, id: &str) -> Option<DeviceView> {
        self.read(|fleet| fleet.device_view(&id.parse().ok()?))
    }

    /// Deployments that match.
    ///
    /// # Errors
    /// A sentence when the query does not parse.
    pub fn deployments(&self, query: &ListQuery) -> Result<DeploymentList, String> {
        self.read(|fleet| fleet.deployment_list(query))
    }

    /// One deployment.
    #[must_use]
    pub fn deployment(&self, name: &str) -> Option<DeploymentView> {
        self.read(|fleet| fleet.deployment_view(&name.parse().ok()?))
    }

    /// One deployment on one device.
    #[must_use]
    pub fn pair(&self, deployment: &str, device: &str) -> Option<PairView> {
        let key = PairKey {
            device: device.parse().ok()?,
            deployment: deployment.parse().ok()?,
        };
        self.read(|fleet| fleet.pair_view(&key))
    }

    /// Pairs that match.
    ///
    /// # Errors
    /// A sentence when the query does not parse.
    pub fn pairs(&self, query: &PairQuery) -> Result<PairList, String> {
        self.read(|fleet| fleet.pair_list(query))
    }

    /// The history.
    #[must_use]
    pub fn events(&self, query: &EventQuery) -> EventList {
        self.read(|fleet| fleet.event_list(query))
    }
}

impl Fleet {
    /// The newest events, newest first.
    #[must_use]
    pub fn event_list(&self, query: &EventQuery) -> EventList {
        EventList {
            detail: self.history_detail(),
            stream_created: self.history_watch.stream_created,
            ..self.history.list(query)
        }
    }

    /// One event.
    #[must_use]
    pub fn event(&self, sequence: u64) -> Option<&crate::api::types::EventItem> {
        self.history.get(sequence)
    }
}
