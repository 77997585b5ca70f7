//! `GET /watch`: changes as server-sent events.
//!
//! A connection has a task that sends a full snapshot (or what was missed since `Last-Event-ID`), then what changes, each
//! thing as it is at the moment of sending. Changes travel as names, so a burst costs a slow client intermediate states
//! and never memory; one that takes nothing for [`PATIENCE`], or falls too far behind, is told why and let go.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use fleet_protocol::bucket::PairKey;
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};

use super::read::asked;
use super::types::{ProblemDetails, WatchEvent, WatchQuery};
use super::{ApiError, ApiState};
use crate::fleet::{Change, Fleet, Replay};

/// Events that wait for one client.
const BUFFER: usize = 256;
/// How long a client may take nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first screen's numbers are sent at most this often.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Changes as they happen, as server-sent events of [`WatchEvent`].
#[utoipa::path(
    get, path = "/api/v0/watch", tag = "fleet",
    params(WatchQuery, ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event; else a snapshot comes first")),
    responses(
        (status = 200, description = "text/event-stream of WatchEvent", body = WatchEvent, content_type = "text/event-stream"),
        (status = 503, description = "Too many watch", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn watch(
    State(state): State<ApiState>,
    query: Result<Query<WatchQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let query = asked(query)?;
    let place = state.watchers.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-watchers",
            "too many clients watch at this moment",
            "close some, or ask again later",
        )
    })?;
    let (events, receiver) = mpsc::channel(BUFFER);
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(parse_id);
    let watcher = Watcher {
        live: state.fleet.subscribe(),
        state,
        query,
        events,
        _place: place,
    };
    tokio::spawn(watcher.run(last));
    let body = stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok(event), receiver))
    });
    Ok(Sse::new(body).keep_alive(KeepAlive::default()))
}

fn parse_id(id: &str) -> Option<(u32, u64)> {
    let (instance, version) = id.split_once('-')?;
    Some((u32::from_str_radix(instance, 16).ok()?, version.parse().ok()?))
}

struct Watcher {
    state: ApiState,
    query: WatchQuery,
    events: mpsc::Sender<Event>,
    live: broadcast::Receiver<std::sync::Arc<crate::fleet::ChangeBatch>>,
    _place: OwnedSemaphorePermit,
}

/// Why the stream ends.
enum End {
    /// The client went.
    Left,
    TooSlow(&'static str),
    Stopped,
}

impl Watcher {
    async fn run(mut self, last: Option<(u32, u64)>) {
        // Kept free for the farewell, since the channel of a slow client is full.
        let Ok(farewell) = self.events.clone().reserve_owned().await else {
            return;
        };
        self.state.metrics.watcher(1);
        let end = self.feed(last).await.err().unwrap_or(End::Left);
        self.state.metrics.watcher(-1);
        let (kind, detail) = match end {
            End::Left => return,
            End::Stopped => ("shutting-down", "the operator ends: reconnect when it is back"),
            End::TooSlow(detail) => {
                tracing::warn!(%detail, "watcher let go");
                self.state.metrics.slow_watcher();
                ("too-slow", detail)
            }
        };
        let bye = WatchEvent::Bye {
            kind: kind.to_owned(),
            detail: detail.to_owned(),
        };
        farewell.send(message(&bye));
    }

    async fn feed(&mut self, last: Option<(u32, u64)>) -> Result<Infallible, End> {
        let mut version = self.state.fleet.version();
        match last.map_or(Replay::Lost, |(instance, version)| {
            self.state.fleet.replay(instance, version)
        }) {
            Replay::Lost => self.snapshot(version).await?,
            Replay::Changes(changes) => self.changes(&changes, version).await?,
        }
        let mut stopped = self.state.stopped.clone();
        let mut status = tokio::time::interval(STATUS_EVERY);
        let mut stale = true;
        loop {
            // Cancel-safe: every arm only waits.
            let batch = tokio::select! {
                batch = self.live.recv() => Some(batch),
                _ = status.tick(), if stale => None,
                () = self.events.closed() => return Err(End::Left),
                _ = stopped.wait_for(|stop| *stop) => return Err(End::Stopped),
            };
            let Some(batch) = batch else {
                stale = false;
                self.status().await?;
                continue;
            };
            match batch {
                // What the snapshot or the replay has shown already.
                Ok(batch) if batch.version <= version => {}
                Ok(batch) => {
                    version = batch.version;
                    self.changes(&batch.changes, version).await?;
                    stale = true;
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Err(End::TooSlow(
                        "too many changes were waiting: reconnect for a snapshot",
                    ));
                }
                Err(broadcast::error::RecvError::Closed) => return Err(End::Stopped),
            }
        }
    }

    async fn snapshot(&self, version: u64) -> Result<(), End> {
        self.send(&WatchEvent::SnapshotBegin, None).await?;
        let names = self.state.fleet.read(all_names);
        for name in &names {
            self.change(name).await?;
        }
        self.send(&WatchEvent::SnapshotEnd, Some(version)).await
    }

    /// Sends what changed. Only the last event carries the id: a client that loses the middle gets all of it again.
    async fn changes(&self, changes: &crate::fleet::apply::Changes, version: u64) -> Result<(), End> {
        let mut events: Vec<_> = changes.iter().filter_map(|change| self.event(change)).collect();
        let last = events.pop();
        for event in &events {
            self.send(event, None).await?;
        }
        match last {
            Some(event) => self.send(&event, Some(version)).await,
            None => Ok(()),
        }
    }

    async fn change(&self, change: &Change) -> Result<(), End> {
        match self.event(change) {
            Some(event) => self.send(&event, None).await,
            None => Ok(()),
        }
    }

    async fn status(&self) -> Result<(), End> {
        if self.query.is_narrow() {
            return Ok(());
        }
        let status = Box::new(self.state.fleet.status());
        self.send(&WatchEvent::Status { status }, None).await
    }

    fn event(&self, change: &Change) -> Option<WatchEvent> {
        if !self.query.admits(change) {
            return None;
        }
        self.state.fleet.read(|fleet| match change {
            // Comes with the next status, or with its deployment.
            Change::Recovery | Change::Specification(_) => None,
            Change::Device(id) => Some(fleet.device_summary(id).map_or_else(
                || WatchEvent::DeviceGone { id: id.to_string() },
                |device| WatchEvent::Device {
                    device: Box::new(device),
                },
            )),
            Change::Deployment(name) => Some(fleet.deployment_summary(name).map_or_else(
                || WatchEvent::DeploymentGone {
                    name: name.to_string(),
                },
                |deployment| WatchEvent::Deployment {
                    deployment: Box::new(deployment),
                },
            )),
            Change::Pair(key) => Some(
                fleet
                    .pair_view(key)
                    .map_or_else(|| gone(key), |pair| WatchEvent::Pair { pair: Box::new(pair) }),
            ),
            Change::History(sequence) => fleet.event(*sequence).map(|item| WatchEvent::History {
                item: Box::new(item.clone()),
            }),
        })
    }

    async fn send(&self, event: &WatchEvent, version: Option<u64>) -> Result<(), End> {
        let mut message = message(event);
        if let Some(version) = version {
            message = message.id(format!("{:08x}-{version}", self.state.fleet.instance()));
        }
        self.events
            .send_timeout(message, PATIENCE)
            .await
            .map_err(|error| match error {
                mpsc::error::SendTimeoutError::Timeout(_) => {
                    End::TooSlow("nothing was taken for ten seconds")
                }
                mpsc::error::SendTimeoutError::Closed(_) => End::Left,
            })
    }
}

fn gone(key: &PairKey) -> WatchEvent {
    WatchEvent::PairGone {
        device: key.device.to_string(),
        deployment: key.deployment.to_string(),
    }
}

fn all_names(fleet: &Fleet) -> Vec<Change> {
    let devices = fleet
        .devices()
        .filter(|(id, _)| fleet.device_summary(id).is_some());
    let deployments = fleet
        .deployments()
        .filter(|(name, _)| fleet.deployment_summary(name).is_some());
    let pairs = fleet.pairs().filter(|(_, pair)| pair.is_visible());
    devices
        .map(|(id, _)| Change::Device(id.clone()))
        .chain(deployments.map(|(name, _)| Change::Deployment(name.clone())))
        .chain(pairs.map(|(key, _)| Change::Pair(key.clone())))
        .collect()
}

fn message(event: &WatchEvent) -> Event {
    let json = serde_json::to_string(event).expect("views have string keys only");
    Event::default().event(event.name()).data(json)
}

impl WatchQuery {
    fn is_narrow(&self) -> bool {
        self.device.is_some() || self.deployment.is_some()
    }

    fn admits(&self, change: &Change) -> bool {
        let device = |id: &str| self.device.as_deref().is_none_or(|asked| asked == id);
        let deployment = |name: &str| self.deployment.as_deref().is_none_or(|asked| asked == name);
        match change {
            Change::Recovery => true,
            Change::Specification(_) => false,
            Change::History(_) => !self.is_narrow(),
            Change::Device(id) => device(id.as_str()) && (self.device.is_some() || self.deployment.is_none()),
            Change::Deployment(name) => {
                deployment(name.as_str()) && (self.deployment.is_some() || self.device.is_none())
            }
            Change::Pair(key) => {
                self.pairs.unwrap_or(true)
                    && device(key.device.as_str())
                    && deployment(key.deployment.as_str())
            }
        }
    }
}
