//! The connection: who we are, whom we trust, and what happens when it breaks.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, Event};
use fleet_protocol::permissions;
use tokio::sync::watch;

/// How to reach a server.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// `nats://…` or `tls://…`; several with commas.
    pub url: String,
    /// File with the seed of a user nkey (`SU…`).
    pub credential: Option<PathBuf>,
    /// File with certificates (PEM) of the authority to trust, beside or instead of the system's.
    pub ca: Option<PathBuf>,
    /// Name that the server's monitoring shows.
    pub name: String,
    /// Prefix of inboxes; the operator's when empty.
    pub inbox_prefix: String,
}

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A file cannot be read.
    #[error("cannot read the {what} {path}", path = path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The credential is no seed.
    #[error("{path} holds no NATS user seed: it must be one line that begins with SU", path = path.display())]
    NoSeed {
        /// Which file.
        path: PathBuf,
    },
    /// The URL or the certificates cannot be used.
    #[error("cannot connect to {url}")]
    Unusable {
        /// The URL.
        url: String,
        /// Why.
        source: async_nats::ConnectError,
    },
}

/// One stay at the server; `number` rises with each reconnect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Session {
    /// How often a connection was made.
    pub number: u64,
    /// It holds at this moment.
    pub connected: bool,
    /// The client gave up for good: only a new process (or connection) helps.
    pub closed: bool,
}

/// A connection that is made, and made again, in the background.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    sessions: watch::Receiver<Session>,
}

impl Connection {
    /// Begins to connect. Returns at once; a server that is down is tried until it is there.
    ///
    /// # Errors
    /// [`OptionsError`] when the options themselves cannot work.
    pub async fn open(options: &ConnectOptions) -> Result<Self, OptionsError> {
        let (send, sessions) = watch::channel(Session::default());
        let inbox = match options.inbox_prefix.as_str() {
            "" => permissions::OPERATOR_INBOX,
            prefix => prefix,
        };
        let mut nats = base_options(options)?
            .name(&options.name)
            .custom_inbox_prefix(inbox)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(Duration::from_secs(10))
            .ping_interval(Duration::from_secs(10))
            .subscription_capacity(64 * 1024)
            .reconnect_delay_callback(|attempts| backoff(attempts.try_into().unwrap_or(u32::MAX)))
            .event_callback(move |event| {
                note(&send, &event);
                async {}
            });
        if let Some(ca) = &options.ca {
            readable("certificate file", ca)?;
            nats = nats.add_root_certificates(ca.clone());
        }
        if options.url.contains("tls://") {
            nats = nats.require_tls(true);
        }
        let addresses: Vec<&str> = options.url.split(',').map(str::trim).collect();
        let client = nats
            .connect(addresses)
            .await
            .map_err(|source| OptionsError::Unusable {
                url: options.url.clone(),
                source,
            })?;
        Ok(Self { client, sessions })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The state of the connection, and its changes.
    #[must_use]
    pub fn sessions(&self) -> watch::Receiver<Session> {
        self.sessions.clone()
    }

    /// Waits until the client has given up for good, which it does after two equal authorisation errors.
    pub async fn closed(&self) {
        let mut sessions = self.sessions();
        sessions.wait_for(|session| session.closed).await.ok();
    }
}

fn base_options(options: &ConnectOptions) -> Result<async_nats::ConnectOptions, OptionsError> {
    let Some(path) = &options.credential else {
        return Ok(async_nats::ConnectOptions::new());
    };
    let seed = readable("credential file", path)?;
    let seed = seed.trim();
    if !seed.starts_with("SU") {
        return Err(OptionsError::NoSeed { path: path.clone() });
    }
    Ok(async_nats::ConnectOptions::with_nkey(seed.to_owned()))
}

fn readable(what: &'static str, path: &PathBuf) -> Result<String, OptionsError> {
    std::fs::read_to_string(path).map_err(|source| OptionsError::File {
        what,
        path: path.clone(),
        source,
    })
}

fn note(session: &watch::Sender<Session>, event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("disconnected from NATS: trying again"),
        Event::ServerError(error) => tracing::error!(%error, "NATS refused something"),
        Event::ClientError(error) => tracing::error!(%error, "the NATS client failed"),
        other => tracing::info!(event = %other, "NATS"),
    }
    session.send_if_modified(|session| {
        let before = *session;
        match event {
            Event::Connected => {
                session.number += 1;
                session.connected = true;
            }
            Event::Disconnected | Event::Draining => session.connected = false,
            Event::Closed => {
                session.connected = false;
                session.closed = true;
            }
            _ => {}
        }
        *session != before
    });
}

/// Full jitter between half and all of 100 ms · 2^attempt, at most 8 s: a thousand clients do not come back at once.
#[must_use]
pub fn backoff(attempt: u32) -> Duration {
    let ceiling = 100_u64.saturating_mul(1 << attempt.min(10)).min(8_000);
    Duration::from_millis(fastrand::u64(ceiling / 2..=ceiling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_and_stays_bounded_and_differs() {
        assert!(backoff(0) <= Duration::from_millis(100));
        for attempt in [7, 20, u32::MAX] {
            let wait = backoff(attempt);
            assert!((4_000..=8_000).contains(&wait.as_millis()), "{wait:?}");
        }
        let waits: std::collections::BTreeSet<_> = (0..20).map(|_| backoff(9)).collect();
        assert!(waits.len() > 5, "{waits:?}");
    }

    #[tokio::test]
    async fn a_file_that_holds_no_seed_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = ConnectOptions {
            url: "nats://127.0.0.1:1".into(),
            credential: Some(file.path().to_owned()),
            ..Default::default()
        };
        let error = Connection::open(&options).await.unwrap_err().to_string();
        assert!(error.contains("begins with SU"), "{error}");
    }
}
