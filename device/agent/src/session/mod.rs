//! The connection to NATS: one session after the other, for ever. A session is one TCP connection; when it
//! ends, everything that belongs to it is dropped and made anew, so that no state of a
//! half-alive client is ever trusted. The client library's own reconnection is not used: it
//! gives up for good after two equal authorisation errors.

mod beat;
mod commands;
mod connect;
mod link;
mod publish;
mod reason;
mod watch;

use std::rc::Rc;
use std::time::Duration;

use fleet_host::Host;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use crate::dispatch::News;
use crate::random;
use crate::shared::Shared;
use connect::Connection;
pub(crate) use link::Link;
pub use link::LinkState;

/// First wait before the next try.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// A session of this length was a good one: the next wait is the first one again.
const GOOD_SESSION: Duration = Duration::from_secs(30);

/// Keeps a session up; ends by being dropped.
pub(crate) async fn run<H: Host>(shared: Rc<Shared<H>>, news: UnboundedSender<News>) {
    let mut tries = 0_u32;
    loop {
        let began = Instant::now();
        let reason = match connect::open(&shared.settings.identity).await {
            Ok(connection) => {
                tracing::info!("connected to {}", shared.settings.identity.enrolment.nats.url);
                shared.link.connected(&shared.host);
                shared.clock.online();
                let reason = serve(&shared, connection, &news).await;
                if began.elapsed() >= GOOD_SESSION {
                    tries = 0;
                }
                reason
            }
            Err(reason) => reason,
        };
        let wait = backoff(tries, shared.settings.tuning.reconnect_max);
        tries = tries.saturating_add(1);
        tracing::warn!("offline: {reason}; next try in {:.1} s", wait.as_secs_f64());
        shared.link.offline(&shared.host, &reason, wait);
        sleep(wait).await;
    }
}

/// Doubles up to `longest`; the upper half of it is random.
fn backoff(tries: u32, longest: Duration) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << tries.min(16)).min(longest);
    whole / 2 + random::up_to(whole / 2)
}

/// Serves one session and says why it ended.
async fn serve<H: Host>(
    shared: &Rc<Shared<H>>,
    mut connection: Connection,
    news: &UnboundedSender<News>,
) -> String {
    let client = connection.client.clone();
    let store_changed = Notify::new();
    // Each part keeps itself going; only the end of the connection ends the session, and drops them all.
    tokio::select! {
        reason = connection.ended() => reason,
        () = watch::run(shared, &client, news, &store_changed) => unreachable_part("watch"),
        () = publish::run(shared, &client, &store_changed) => unreachable_part("publisher"),
        () = commands::run(shared, &client) => unreachable_part("commands"),
        () = beat::run(shared, &client) => unreachable_part("heartbeat"),
    }
}

fn unreachable_part(part: &str) -> String {
    format!("the {part} ended by itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_never_vanish() {
        let longest = Duration::from_secs(60);
        for tries in 0..40 {
            let wait = backoff(tries, longest);
            assert!(wait >= FIRST_WAIT / 2 && wait <= longest, "{tries}: {wait:?}");
        }
        assert!(backoff(10, longest) >= longest / 2);
    }
}
