//! What all tasks see. One thread: cells, and no lock.

use std::cell::RefCell;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleet_host::{Changed, Clock, Host, LedgerError, Shelf, UnitName, Units};
use fleet_protocol::DeploymentName;
use tokio::sync::Semaphore;

use crate::clock::ClockState;
use crate::fault::Faults;
use crate::health::{Health, VOLUMES_UNKNOWN};
use crate::images::KnownImages;
use crate::outbox::Outbox;
use crate::records::Unwritten;
use crate::session::Link;
use crate::settings::Settings;

/// What all tasks see.
pub(crate) struct Shared<H> {
    pub(crate) host: H,
    pub(crate) settings: Settings,
    pub(crate) faults: Faults,
    pub(crate) outbox: Outbox,
    pub(crate) health: Health,
    pub(crate) unwritten: Unwritten,
    pub(crate) images: KnownImages,
    pub(crate) link: Link,
    pub(crate) clock: ClockState,
    pub(crate) pulls: Semaphore,
    pub(crate) started_at: DateTime<Utc>,
    watched: RefCell<BTreeSet<UnitName>>,
}

impl<H: Host> Shared<H> {
    pub(crate) fn new(host: H, settings: Settings, faults: Faults) -> Self {
        Self {
            started_at: host.clock().now(),
            pulls: Semaphore::new(settings.tuning.pulls_at_once),
            host,
            settings,
            faults,
            outbox: Outbox::default(),
            health: Health::default(),
            unwritten: Unwritten::default(),
            images: KnownImages::default(),
            link: Link::default(),
            clock: ClockState::default(),
            watched: RefCell::default(),
        }
    }

    /// Now, in milliseconds since the epoch.
    pub(crate) fn at(&self) -> i64 {
        self.host.clock().now().timestamp_millis()
    }

    /// Notes how it went with a record; whether it is on the disk as it ought to be.
    pub(crate) fn judge_record(
        &self,
        shelf: Shelf,
        name: &DeploymentName,
        outcome: Result<Changed, LedgerError>,
    ) -> bool {
        self.unwritten.judge(&self.health, shelf, name, outcome)
    }

    /// Tells whether it is known which volumes are to outlive a deployment.
    pub(crate) fn tell_volumes(&self, name: &DeploymentName, known: bool) {
        match known {
            true => self.health.right_for(&VOLUMES_UNKNOWN, name.as_str()),
            false => self.health.wrong_for(
                &VOLUMES_UNKNOWN,
                name.as_str(),
                format!("the device lost its record of which volumes are to outlive {name}"),
            ),
        }
    }

    /// Watches a unit from now on, or no longer.
    pub(crate) async fn watch(&self, unit: &UnitName, wanted: bool) {
        let changed = {
            let mut watched = self.watched.borrow_mut();
            match wanted {
                true => watched.insert(unit.clone()),
                false => watched.remove(unit),
            }
        };
        let units = self.watched.borrow().clone();
        if changed && let Err(error) = self.host.units().watch(units).await {
            tracing::debug!("units will be watched when the bus is back: {error}");
        }
    }
}
