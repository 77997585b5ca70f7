//! The dashboard's view of the fleet.

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::types::{DeploymentList, DeviceList, EventQuery, ListQuery};
use crate::fleet::FleetHandle;
use crate::fleet::view::{DeploymentView, DeviceView, FleetView, PairView, RecoveryView};
use crate::web::{EventsFuture, Source, SourceError};

impl Source for FleetHandle {
    fn recovery(&self) -> RecoveryView {
        Self::recovery(self)
    }

    fn status(&self) -> FleetView {
        Self::status(self)
    }

    fn devices(&self, query: &ListQuery) -> Result<DeviceList, SourceError> {
        Self::devices(self, query).map_err(SourceError::BadQuery)
    }

    fn device(&self, id: &str) -> Option<DeviceView> {
        Self::device(self, id)
    }

    fn deployments(&self, query: &ListQuery) -> Result<DeploymentList, SourceError> {
        Self::deployments(self, query).map_err(SourceError::BadQuery)
    }

    fn deployment(&self, name: &str) -> Option<DeploymentView> {
        Self::deployment(self, name)
    }

    fn pair(&self, deployment: &str, device: &str) -> Option<PairView> {
        Self::pair(self, deployment, device)
    }

    fn events(&self, query: EventQuery) -> EventsFuture<'_> {
        Box::pin(async move { Ok(Self::events(self, &query)) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        Self::changes(self)
    }

    fn now(&self) -> DateTime<Utc> {
        Self::now(self)
    }
}
