//! The fleet as a topology: what is known of a device without asking it, and the way to ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_protocol::bucket::PairKey;
use fleet_protocol::logs::LogChunk;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{Devices, LogQueryError, LogsOf, PodmanLogQuery, last_lines};
use crate::deploy::companion::{Placed, Topology};
use crate::fleet::{Fleet, FleetHandle};
use crate::store::{AskError, Asks};

/// Logs that may be read at one time: each answer is up to half a megabyte.
const MOST_QUERIES: usize = 32;

/// The aggregate, and the way to the devices in it; clones share both.
#[derive(Clone)]
pub struct FleetTopology {
    fleet: FleetHandle,
    asks: Arc<dyn Asks>,
    places: Arc<Semaphore>,
}

impl FleetTopology {
    /// A topology over this aggregate.
    #[must_use]
    pub fn new(fleet: FleetHandle, asks: Arc<dyn Asks>) -> Self {
        let places = Arc::new(Semaphore::new(MOST_QUERIES));
        Self { fleet, asks, places }
    }

    /// The last `n` lines of a deployment on a device, by the companion of its score.
    ///
    /// # Errors
    /// [`LogQueryError`] says why there are none.
    pub async fn last_lines(&self, of: LogsOf, n: usize) -> Result<LogChunk, LogQueryError> {
        // Before anything that costs: what is not there, or is away, is told at once however many are asking.
        self.reachable(&of.placed)?;
        let _place = self.places.try_acquire().map_err(|_| LogQueryError::Busy)?;
        let score = self.fleet.read(|fleet| fleet.score_of(&key(&of.placed)));
        match score {
            Some(score) => last_lines(&score, self, of, n).await,
            // Taken away, or lost in the store: only what a device runs is left, and every device runs podman.
            None => PodmanLogQuery::new(of).ask(self, n).await,
        }
    }

    /// When the device's last heartbeat came, as far as known.
    fn heard(&self, placed: &Placed) -> Option<DateTime<Utc>> {
        self.fleet
            .read(|fleet| fleet.device(&placed.device)?.last_heartbeat_at())
    }
}

fn key(placed: &Placed) -> PairKey {
    PairKey {
        device: placed.device.clone(),
        deployment: placed.deployment.clone(),
    }
}

impl Topology for FleetTopology {}

impl Devices for FleetTopology {
    fn reachable(&self, placed: &Placed) -> Result<(), LogQueryError> {
        self.fleet.read(|fleet| reachable(fleet, placed))
    }

    fn ask(
        &self,
        subject: String,
        request: Bytes,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Bytes, AskError>> {
        self.asks.ask(subject, request, patience)
    }

    fn deaf(&self, placed: &Placed) -> LogQueryError {
        LogQueryError::NotListening {
            device: placed.device.clone(),
            heard: self.heard(placed),
        }
    }

    fn silent(&self, placed: &Placed, patience: Duration) -> LogQueryError {
        LogQueryError::TimedOut {
            device: placed.device.clone(),
            patience,
            heard: self.heard(placed),
            at: self.fleet.now(),
        }
    }
}

fn reachable(fleet: &Fleet, placed: &Placed) -> Result<(), LogQueryError> {
    let recovery = fleet.recovery();
    let missing = |error| match &recovery.detail {
        // What was not read yet is not missing.
        Some(detail) => Err(LogQueryError::Recovering(detail.clone())),
        None => Err(error),
    };
    if fleet.device_summary(&placed.device).is_none() {
        return missing(LogQueryError::NoSuchDevice(placed.device.clone()));
    }
    let there = fleet
        .pair(&key(placed))
        .is_some_and(crate::fleet::Pair::is_visible);
    if !there {
        let known = fleet.deployment_summary(&placed.deployment).is_some();
        return missing(if known {
            LogQueryError::NotOnDevice(placed.clone())
        } else {
            LogQueryError::NoSuchDeployment(placed.deployment.clone())
        });
    }
    if !recovery.connected {
        let why = recovery.detail.unwrap_or_default();
        return Err(LogQueryError::Disconnected(why));
    }
    match fleet.device(&placed.device) {
        Some(device) if !device.is_online() => Err(LogQueryError::DeviceOffline {
            device: placed.device.clone(),
            since: device.away_since(),
        }),
        _ => Ok(()),
    }
}
