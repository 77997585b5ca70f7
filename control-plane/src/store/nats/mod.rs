//! The store on a real NATS server.
//!
//! - [`connect`]: options (nkey, TLS, inbox prefix, jittered reconnect) and the state of the connection
//! - [`setup`]: buckets and the event stream, made at start and again when they are gone
//! - [`watch`]: one named pull consumer for each source, always polled
//! - [`mod@write`]: writing by compare-and-set
//! - [`ask`]: request and reply with devices
//!
//! Tasks: one for each source, ended in order by [`NatsStore::close`], which deletes their consumers.

pub mod ask;
pub mod connect;
pub mod setup;
pub mod watch;
pub mod write;

use async_nats::jetstream;
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;

use super::{BucketId, Source, StoreEvent};
pub use connect::{ConnectOptions, Connection, OptionsError};

/// Events between the watches and the aggregate. A full channel slows the watches down, never the server.
const CHANNEL: usize = 4096;

/// A store on a NATS server.
#[derive(Debug)]
pub struct NatsStore {
    stop: signal::Sender<bool>,
    watches: JoinSet<()>,
}

impl NatsStore {
    /// Starts to watch everything. It needs no server yet: each watch begins when there is one.
    #[must_use]
    pub fn start(connection: &Connection) -> (Self, mpsc::Receiver<StoreEvent>) {
        let (send, receive) = mpsc::channel(CHANNEL);
        let (stop, stopped) = signal::channel(false);
        let mut watches = JoinSet::new();
        let instance = format!("operator-{}", instance_id());
        let sources = BucketId::ALL
            .map(Source::Bucket)
            .into_iter()
            .chain([Source::History]);
        for source in sources {
            let watch = watch::Watch {
                jetstream: jetstream::new(connection.client().clone()),
                source,
                consumer: instance.clone(),
                events: send.clone(),
                connection: connection.sessions(),
                stopped: stopped.clone(),
            };
            watches.spawn(watch.run());
        }
        watches.spawn(tell_connection(connection.sessions(), send, stopped));
        (Self { stop, watches }, receive)
    }

    /// Ends the watches and deletes their consumers, as far as the server answers within a few seconds.
    pub async fn close(mut self) {
        self.stop.send(true).ok();
        while self.watches.join_next().await.is_some() {}
    }
}

/// Told apart by chance: two operators on one server must not share a consumer.
fn instance_id() -> String {
    format!("{:08x}", fastrand::u32(..))
}

async fn tell_connection(
    mut sessions: signal::Receiver<connect::Session>,
    events: mpsc::Sender<StoreEvent>,
    mut stopped: signal::Receiver<bool>,
) {
    loop {
        let now = *sessions.borrow_and_update();
        let event = StoreEvent::Connection {
            session: now.number,
            connected: now.connected,
        };
        if events.send(event).await.is_err() {
            return;
        }
        tokio::select! {
            changed = sessions.changed() => if changed.is_err() { return },
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}
