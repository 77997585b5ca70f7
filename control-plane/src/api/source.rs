//! The dashboard's view of the fleet.

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::ApiState;
use super::types::{DeploymentList, DeviceList, EventQuery, ListQuery};
use crate::deploy::companion::logs::LogsOf;
use crate::fleet::view::{DeploymentView, DeviceView, FleetView, PairView, RecoveryView};
use crate::web::{EventsFuture, LogsFuture, Source, SourceError};

impl Source for ApiState {
    fn recovery(&self) -> RecoveryView {
        self.fleet.recovery()
    }

    fn status(&self) -> FleetView {
        self.fleet.status()
    }

    fn devices(&self, query: &ListQuery) -> Result<DeviceList, SourceError> {
        self.fleet.devices(query).map_err(SourceError::BadQuery)
    }

    fn device(&self, id: &str) -> Option<DeviceView> {
        self.fleet.device(id)
    }

    fn deployments(&self, query: &ListQuery) -> Result<DeploymentList, SourceError> {
        self.fleet.deployments(query).map_err(SourceError::BadQuery)
    }

    fn deployment(&self, name: &str) -> Option<DeploymentView> {
        self.fleet.deployment(name)
    }

    fn pair(&self, deployment: &str, device: &str) -> Option<PairView> {
        self.fleet.pair(deployment, device)
    }

    fn events(&self, query: EventQuery) -> EventsFuture<'_> {
        Box::pin(async move { Ok(self.fleet.events(&query)) })
    }

    fn logs(&self, of: LogsOf, lines: usize) -> LogsFuture<'_> {
        Box::pin(self.topology.last_lines(of, lines))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.fleet.changes()
    }

    fn now(&self) -> DateTime<Utc> {
        self.fleet.now()
    }
}
