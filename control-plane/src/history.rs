//! Appending to the history.

use std::sync::Arc;
use std::time::Duration;

use fleet_protocol::event::FleetEvent;
use fleet_protocol::wire;

use crate::store::Writes;

/// Actor of what the operator does by itself, or for somebody who gave no name.
pub const OPERATOR: &str = "operator";

const TRIES: u32 = 3;

/// Appends events, and says so loudly when it can't.
#[derive(Clone)]
pub struct Historian {
    store: Arc<dyn Writes>,
}

impl Historian {
    /// Appends through this store.
    #[must_use]
    pub fn new(store: Arc<dyn Writes>) -> Self {
        Self { store }
    }

    /// Appends one event; tries a few times. What it is about was done already, so a failure ends in the log, with
    /// everything that the event says.
    pub async fn append(&self, subject: &str, event: &FleetEvent) -> bool {
        let bytes = bytes::Bytes::from(wire::encode(event));
        for attempt in 1..=TRIES {
            match self.store.append(subject, bytes.clone()).await {
                Ok(_) => return true,
                Err(error) if attempt == TRIES => {
                    tracing::error!(error = %error.detail(), ?event, "AUDIT: this event is not in the history");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100) * attempt).await,
            }
        }
        false
    }
}
