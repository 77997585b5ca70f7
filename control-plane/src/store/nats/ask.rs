//! Asking devices over a real server.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Connection;
use crate::store::{AskError, Asks};

/// Asks over a connection.
#[derive(Debug, Clone)]
pub struct NatsAsks {
    client: async_nats::Client,
}

impl NatsAsks {
    /// Asks over this connection.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        let client = connection.client().clone();
        Self { client }
    }
}

impl Asks for NatsAsks {
    fn ask(
        &self,
        subject: String,
        request: Bytes,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Bytes, AskError>> {
        Box::pin(async move {
            let request = Request::new().payload(request).timeout(Some(patience));
            match self.client.send_request(subject, request).await {
                Ok(message) => Ok(message.payload),
                Err(error) => Err(match error.kind() {
                    RequestErrorKind::NoResponders => AskError::NobodyListens,
                    RequestErrorKind::TimedOut => AskError::TimedOut,
                    _ => AskError::Unavailable(error.to_string()),
                }),
            }
        })
    }
}
