//! Opening a connection, and noticing its end with the server's own reason.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use fleet_protocol::permissions;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::reason;
use crate::settings::Identity;

/// Longest try to connect, with the look-up of the name, which has no limit of its own.
const TRY_WITHIN: Duration = Duration::from_secs(60);

/// A connection and what its client says about it.
pub(super) struct Connection {
    pub(super) client: Client,
    events: UnboundedReceiver<Event>,
    identity: Identity,
}

/// Connects once.
///
/// # Errors
/// The reason as a sentence.
pub(super) async fn open(identity: &Identity) -> Result<Connection, String> {
    let (sender, mut events) = unbounded_channel();
    let device = &identity.enrolment.device_id;
    let mut options = ConnectOptions::new()
        .nkey(identity.seed.secret().to_owned())
        .require_tls(true)
        .name(format!("fleet-agent {device}"))
        .custom_inbox_prefix(permissions::device_inbox(device))
        .ignore_discovered_servers()
        .connection_timeout(Duration::from_secs(15))
        .request_timeout(Some(Duration::from_secs(10)))
        .ping_interval(Duration::from_secs(20))
        // A session ends with its connection; 1 is the fewest the library knows, and means no second try.
        .max_reconnects(1)
        .client_capacity(64)
        .subscription_capacity(256)
        .event_callback(move |event| {
            let _ = sender.send(event);
            std::future::ready(())
        });
    if let Some(ca) = &identity.ca {
        options = options.add_root_certificates(ca.clone());
    }
    let connecting = options.connect(identity.enrolment.nats.url.as_str());
    match tokio::time::timeout(TRY_WITHIN, connecting).await {
        Ok(Ok(client)) => Ok(Connection {
            client,
            events,
            identity: identity.clone(),
        }),
        Ok(Err(error)) => {
            // The library's error can be a mere "I/O error"; what the server said came as an event.
            let mut said = None;
            while let Ok(event) = events.try_recv() {
                said = server_words(&event).or(said);
            }
            Err(reason::of_connect(identity, &error, said.as_deref()))
        }
        Err(_) => Err(reason::of_silence(identity, TRY_WITHIN)),
    }
}

/// What the server itself said.
fn server_words(event: &Event) -> Option<String> {
    match event {
        Event::ServerError(_) => words_of(event),
        _ => None,
    }
}

fn words_of(event: &Event) -> Option<String> {
    match event {
        Event::ServerError(ServerError::Other(words)) => Some(words.clone()),
        Event::ServerError(error) => Some(error.to_string()),
        Event::ClientError(error) => Some(error.to_string()),
        Event::LameDuckMode => Some("the server is shutting down".to_owned()),
        _ => None,
    }
}

impl Connection {
    /// Waits for the end of the connection and says why it ended.
    pub(super) async fn ended(&mut self) -> String {
        let mut last_words: Option<String> = None;
        loop {
            match self.events.recv().await {
                Some(Event::Disconnected | Event::Closed) | None => {
                    return match last_words {
                        Some(words) => reason::of_words(&self.identity, &words),
                        None => "the connection was lost: it is made again by itself".to_owned(),
                    };
                }
                Some(event) => {
                    if let Some(words) = words_of(&event) {
                        // Among them permission violations, which do not end a connection.
                        tracing::warn!("nats: {words}");
                        last_words = Some(words);
                    }
                }
            }
        }
    }
}
