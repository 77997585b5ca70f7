//! What the dashboard needs from the fleet: views, and word that something changed.

use std::future::Future;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use fleet_protocol::logs::LogChunk;
use tokio::sync::watch;

use crate::api::types::{DeploymentList, DeviceList, EventList, EventQuery, ListQuery};
use crate::deploy::companion::logs::{LogQueryError, LogsOf};
use crate::fleet::view::{DeploymentView, DeviceView, FleetView, PairView, RecoveryView};

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The question makes no sense; the sentence says why and what would.
    #[error("{0}")]
    BadQuery(String),
    /// The answer cannot be had at this moment.
    #[error("{0}")]
    Unavailable(String),
}

/// A future of the history, which lies in a stream and not in memory.
pub type EventsFuture<'a> = Pin<Box<dyn Future<Output = Result<EventList, SourceError>> + Send + 'a>>;

/// A future of a log, which lies on a device.
pub type LogsFuture<'a> = Pin<Box<dyn Future<Output = Result<LogChunk, LogQueryError>> + Send + 'a>>;

/// The fleet as the dashboard sees it. Everything but history and logs answers from memory and never waits.
pub trait Source: Send + Sync + 'static {
    /// Whether views are whole.
    fn recovery(&self) -> RecoveryView;
    /// The first screen.
    fn status(&self) -> FleetView;
    /// Devices that match.
    ///
    /// # Errors
    /// [`SourceError::BadQuery`] for a selector that does not parse.
    fn devices(&self, query: &ListQuery) -> Result<DeviceList, SourceError>;
    /// One device; `None` when the fleet has none of that id.
    fn device(&self, id: &str) -> Option<DeviceView>;
    /// Deployments that match.
    ///
    /// # Errors
    /// [`SourceError::BadQuery`] for a selector that does not parse.
    fn deployments(&self, query: &ListQuery) -> Result<DeploymentList, SourceError>;
    /// One deployment.
    fn deployment(&self, name: &str) -> Option<DeploymentView>;
    /// One deployment on one device.
    fn pair(&self, deployment: &str, device: &str) -> Option<PairView>;
    /// The history.
    fn events(&self, query: EventQuery) -> EventsFuture<'_>;
    /// The last lines that a deployment's container wrote, asked of its device.
    fn logs(&self, of: LogsOf, lines: usize) -> LogsFuture<'_>;
    /// Changes its value whenever any view may have changed, also by the passing of time.
    fn changes(&self) -> watch::Receiver<u64>;
    /// The server's clock.
    fn now(&self) -> DateTime<Utc>;
}
