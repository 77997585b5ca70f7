//! Asking a device: request and reply beside the buckets.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody subscribes to the subject: known at once.
    #[error("nobody listens")]
    NobodyListens,
    /// Somebody took it and did not answer.
    #[error("no answer in time")]
    TimedOut,
    /// It could not be sent.
    #[error("{0}")]
    Unavailable(String),
}

/// A way to ask devices.
pub trait Asks: Send + Sync + 'static {
    /// Sends `request` to `subject` and gives the first answer, within `patience`.
    fn ask(
        &self,
        subject: String,
        request: Bytes,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Bytes, AskError>>;
}
