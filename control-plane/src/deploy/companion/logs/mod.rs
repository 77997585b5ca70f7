//! The companion that gives a deployment's logs.
//!
//! - [`LogQuery`]: what such a companion can do; [`PodmanLogQuery`]: that of `PodmanV0Score`
//! - [`last_lines`]: finds a score's companion and asks it; a score without one is told apart from one whose log is empty
//! - [`FleetTopology`]: the fleet, and the way to its devices
//!
//! Nothing here waits longer than a device is given to answer ([`podman::PATIENCE`]), and a device that is known to be
//! offline is not asked at all.

mod error;
mod fleet;
pub mod podman;
#[cfg(test)]
mod tests;

use std::future::Future;

use bytes::Bytes;
use fleet_protocol::logs::LogChunk;
use futures_util::future::BoxFuture;

pub use error::LogQueryError;
pub use fleet::FleetTopology;
pub use podman::PodmanLogQuery;

use super::{Placed, Score, Topology};
use crate::store::AskError;

/// Gives the last lines that a deployment wrote on a topology.
pub trait LogQuery<T: Topology>: Send + Sync {
    /// The kind of score whose logs these are.
    type Score: Score<T>;

    /// The last `n` lines, the oldest first.
    ///
    /// # Errors
    /// [`LogQueryError`] when there is no way to them; no lines at all are no error.
    fn last_lines(
        &self,
        score: &Self::Score,
        topology: &T,
        n: usize,
    ) -> impl Future<Output = Result<LogChunk, LogQueryError>> + Send;
}

/// Whose logs are asked for: which deployment where, which of its containers, which run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogsOf {
    /// The deployment on the device.
    pub placed: Placed,
    /// The init container of this name instead of the main one.
    pub init: Option<String>,
    /// The run before the newest one.
    pub previous: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
}

/// A topology whose devices can be asked.
pub trait Devices: Topology {
    /// Why asking would be in vain, as far as that is known without asking.
    ///
    /// # Errors
    /// [`LogQueryError`]: not there, offline, or not known at this moment.
    fn reachable(&self, placed: &Placed) -> Result<(), LogQueryError>;

    /// Asks on a subject of a device and gives its answer.
    fn ask(
        &self,
        subject: String,
        request: Bytes,
        patience: std::time::Duration,
    ) -> BoxFuture<'_, Result<Bytes, AskError>>;

    /// Why the device does not answer though it should: it is there by its heartbeat, and nobody listens.
    fn deaf(&self, placed: &Placed) -> LogQueryError;

    /// Why the device may not have answered within `patience`: it took the question.
    fn silent(&self, placed: &Placed, patience: std::time::Duration) -> LogQueryError;
}

/// A companion bound to its score.
pub struct Logs<'a, T>(Box<dyn Bound<T> + 'a>);

trait Bound<T>: Send + Sync {
    fn last_lines<'a>(&'a self, topology: &'a T, n: usize) -> BoxFuture<'a, Result<LogChunk, LogQueryError>>;
}

struct Pair<'a, Q, S> {
    query: Q,
    score: &'a S,
}

impl<T: Topology, Q: LogQuery<T>> Bound<T> for Pair<'_, Q, Q::Score> {
    fn last_lines<'a>(&'a self, topology: &'a T, n: usize) -> BoxFuture<'a, Result<LogChunk, LogQueryError>> {
        Box::pin(self.query.last_lines(self.score, topology, n))
    }
}

impl<'a, T: Topology> Logs<'a, T> {
    /// Binds a companion to the score that it is for.
    #[must_use]
    pub fn new<Q: LogQuery<T> + 'a>(query: Q, score: &'a Q::Score) -> Self {
        Self(Box::new(Pair { query, score }))
    }
}

/// Asks a score's companion.
///
/// # Errors
/// [`LogQueryError::NotExposed`] when the score has none, else what the companion met.
pub async fn last_lines<T: Topology, S: Score<T>>(
    score: &S,
    topology: &T,
    of: LogsOf,
    n: usize,
) -> Result<LogChunk, LogQueryError> {
    let deployment = of.placed.deployment.clone();
    match score.logs(of) {
        Some(Logs(companion)) => companion.last_lines(topology, n).await,
        None => Err(LogQueryError::NotExposed { deployment }),
    }
}
