//! `/live?page=…`: the content of one page, sent again by server-sent events when it differs.
//!
//! A stream ends when the server does, and there is a limit to how many there are.
//!
//! Events: `hello` (this build's name, the server's clock), `page` (the content), `tick` (nothing changed, still here). A client that hears
//! nothing for longer than two ticks knows that what it shows is old.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::route::{Gathered, Page};
use super::source::Source;
use super::{Dashboard, assets};

/// Shortest time between two contents: a fleet of 10,000 changes all the time, and people cannot read faster.
const PAUSE: Duration = Duration::from_millis(500);
/// Most bytes that one client is sent in a second, over time: a phone with one bar of signal follows a page of 500 rows too.
const BYTES_PER_SECOND: u32 = 64 * 1024;
/// Time between two looks at what lies on a device: each one reads its journal.
const LOOK: Duration = Duration::from_secs(5);
/// A log that did not grow is said to be read when it was, unless that is longer ago than this.
const SAME: TimeDelta = TimeDelta::seconds(60);
/// Time between two signs of life.
const TICK: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(super) struct LiveQuery {
    page: String,
}

pub(super) async fn stream(State(dashboard): State<Dashboard>, Query(query): Query<LiveQuery>) -> Response {
    let page = query.page.parse::<Uri>().ok().and_then(|uri| Page::parse(&uri));
    let Some(page) = page else {
        return (StatusCode::NOT_FOUND, "no such page").into_response();
    };
    let Ok(place) = dashboard.places.try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pages are followed at this moment",
        )
            .into_response();
    };
    let (source, stopped) = (dashboard.source, dashboard.stopped);
    let feed = Feed {
        changes: source.changes(),
        first_at: source.now(),
        next_at: Instant::now(),
        source,
        page,
        greeted: false,
        gathered: None,
        look_at: Instant::now(),
        last: None,
        stopped,
        _place: place,
    };
    let events = stream::unfold(feed, |mut feed| async move {
        let mut stopped = feed.stopped.clone();
        // Cancel-safe as far as it matters: what is dropped here is the stream itself.
        let event = tokio::select! {
            event = feed.next() => event?,
            () = stop(&mut stopped) => return None,
        };
        Some((Ok::<_, Infallible>(event), feed))
    });
    Sse::new(events).into_response()
}

/// How long nothing is sent after a content of this many bytes.
fn pause_after(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    PAUSE
        .max(Duration::from_secs(1) * bytes / BYTES_PER_SECOND)
        .min(TICK)
}

/// One client's view of one page.
struct Feed {
    source: Arc<dyn Source>,
    page: Page,
    changes: watch::Receiver<u64>,
    /// Contents are compared as of this time, so that the mere passing of time sends nothing: the client counts on its own.
    first_at: DateTime<Utc>,
    next_at: Instant,
    greeted: bool,
    /// What lies on a device, as of the last look.
    gathered: Option<Gathered>,
    look_at: Instant,
    last: Option<String>,
    stopped: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// A sender that is gone never stops anything.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The newer answer, unless it says the same as the older one. What was read stays when a later look fails: whoever reads it wants
/// the lines, and most failures pass.
fn newer(old: Option<Gathered>, new: Option<Gathered>) -> Option<Gathered> {
    let read = match old {
        Some(Gathered::Lines(chunk) | Gathered::Old(chunk, _)) => chunk,
        _ => return new,
    };
    match new? {
        Gathered::Lines(new)
            if read.lines == new.lines
                && read.truncated == new.truncated
                && (TimeDelta::zero()..SAME).contains(&(new.captured_at - read.captured_at)) =>
        {
            Some(Gathered::Lines(read))
        }
        Gathered::Nothing(error) => Some(Gathered::Old(read, error)),
        new => Some(new),
    }
}

impl Feed {
    /// Looks at the device again, if this page shows what lies there and the last look is long enough ago.
    async fn look(&mut self) {
        if Instant::now() < self.look_at {
            return;
        }
        let new = self.page.gather(self.source.as_ref()).await;
        // There was nobody to ask: the next change may bring one.
        if new.is_some() {
            self.look_at = Instant::now() + LOOK;
        }
        self.gathered = newer(self.gathered.take(), new);
    }

    /// The next event; `None` when the fleet is gone, which ends the stream and makes the client reconnect.
    async fn next(&mut self) -> Option<Event> {
        if !self.greeted {
            self.greeted = true;
            let hello = serde_json::json!({"build": assets::build(), "now": self.source.now().to_rfc3339()});
            return Some(Event::default().event("hello").data(hello.to_string()));
        }
        let mut tick_at = Instant::now() + TICK;
        loop {
            if self.gathered.is_some() {
                tick_at = tick_at.min(self.look_at);
            }
            let mut ticked = false;
            if self.last.is_some() {
                tokio::select! {
                    // Cancel safe: `changed` marks the value as seen only when it is ready.
                    changed = self.changes.changed() => changed.ok()?,
                    // Not all that is shown is told as a change: a heartbeat as ever is none, and its time is shown.
                    () = tokio::time::sleep_until(tick_at) => ticked = true,
                }
                tokio::time::sleep_until(self.next_at).await;
            }
            self.changes.borrow_and_update();
            self.next_at = Instant::now() + PAUSE;
            self.look().await;
            let seen = self
                .page
                .body(self.source.as_ref(), self.gathered.as_ref(), self.first_at)
                .await
                .content();
            if self.last.as_ref() != Some(&seen) {
                self.last = Some(seen);
                let now = self.source.now();
                let body = self
                    .page
                    .body(self.source.as_ref(), self.gathered.as_ref(), now)
                    .await;
                let content = body.content();
                self.next_at = Instant::now() + pause_after(content.len());
                return Some(Event::default().event("page").data(content));
            }
            if ticked {
                return Some(
                    Event::default()
                        .event("tick")
                        .data(self.source.now().to_rfc3339()),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet_protocol::logs::LogChunk;

    use super::*;
    use crate::deploy::companion::logs::LogQueryError;

    fn chunk(seconds: i64, line: &str) -> LogChunk {
        let json = serde_json::json!({"source": "web", "captured_at": DateTime::from_timestamp(seconds, 0).unwrap(), "lines": [line], "truncated": false});
        serde_json::from_value(json).unwrap()
    }

    fn at(seconds: i64, line: &str) -> Option<Gathered> {
        Some(Gathered::Lines(chunk(seconds, line)))
    }

    #[test]
    fn a_log_that_did_not_grow_is_sent_again_once_a_minute() {
        assert_eq!(newer(at(0, "a"), at(5, "a")), at(0, "a"));
        assert_eq!(newer(at(0, "a"), at(5, "b")), at(5, "b"));
        assert_eq!(newer(at(0, "a"), at(60, "a")), at(60, "a"));
        assert_eq!(
            newer(at(9, "a"), at(5, "a")),
            at(5, "a"),
            "the device's clock was set back"
        );
        assert_eq!(newer(at(0, "a"), None), None);
    }

    #[test]
    fn what_was_read_outlives_looks_that_fail() {
        let busy = || Some(Gathered::Nothing(LogQueryError::Busy));
        let old = || Some(Gathered::Old(chunk(0, "a"), LogQueryError::Busy));
        let lost = LogQueryError::Disconnected("away".to_owned());
        assert_eq!(newer(at(0, "a"), busy()), old());
        assert_eq!(
            newer(old(), Some(Gathered::Nothing(lost.clone()))),
            Some(Gathered::Old(chunk(0, "a"), lost))
        );
        assert_eq!(newer(old(), at(9, "b")), at(9, "b"));
        assert_eq!(newer(old(), at(9, "a")), at(0, "a"), "the trouble is over");
        assert_eq!(newer(busy(), busy()), busy());
        assert_eq!(newer(busy(), at(9, "a")), at(9, "a"));
        assert_eq!(newer(None, busy()), busy());
    }

    #[test]
    fn a_large_page_is_sent_as_often_as_a_weak_link_carries_it() {
        assert_eq!(pause_after(0), PAUSE);
        assert_eq!(pause_after(20_000), PAUSE);
        assert_eq!(pause_after(320 * 1024), Duration::from_secs(5));
        assert_eq!(
            pause_after(usize::MAX),
            TICK,
            "what is shown is never older than a sign of life"
        );
    }
}
