//! The API through its router, on a store in memory.

mod changes;
mod followed;
mod history;
mod logs;
mod recovering;
mod routes;
mod watches;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;
use utoipa::OpenApi;

use super::openapi::Document;
use super::{ApiState, ROUTES, router};
use crate::clock::Clock;
use crate::fixture::{Answering, deployment, info, noon, spec, until};
use crate::fleet::FleetHandle;
use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::store::BucketId;
use crate::store::memory::MemoryStore;

const IMAGE: &str = "reg.example/app:1";

/// API and operator on a store in memory.
struct Rig {
    store: MemoryStore,
    fleet: FleetHandle,
    router: Router,
    stop: watch::Sender<bool>,
    clock: Clock,
    asks: Arc<Answering>,
    _operator: Operator,
}

async fn rig() -> Rig {
    let clock = Clock::standing_at(noon());
    let store = MemoryStore::new(clock.clone());
    let fleet = FleetHandle::new(clock.clone());
    let metrics = Arc::new(Metrics::default());
    let writes = Arc::new(store.clone());
    let asks: Arc<Answering> = Arc::default();
    let (stop, stopped) = watch::channel(false);
    let operator = Operator::start(&fleet, store.watch(), writes.clone(), Arc::clone(&metrics));
    let router = router(ApiState::new(
        fleet.clone(),
        writes,
        asks.clone(),
        metrics,
        stopped,
    ));
    fleet
        .wait_until(|fleet| fleet.converged() && fleet.connected())
        .await;
    Rig {
        store,
        fleet,
        router,
        stop,
        clock,
        asks,
        _operator: operator,
    }
}

impl Rig {
    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router
            .clone()
            .oneshot(request)
            .await
            .expect("the router always answers")
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        parts(self.send(Request::get(path).body(Body::empty()).unwrap()).await).await
    }

    async fn put(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::put(path)
            .header("x-fleet-actor", "ada")
            .body(Body::from(body.to_string()))
            .unwrap();
        parts(self.send(request).await).await
    }

    fn history(&self) -> Vec<Value> {
        self.store
            .history()
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).expect("JSON"))
            .collect()
    }
}

async fn parts(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 16 << 20)
        .await
        .expect("a whole body");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::String(text)),
    )
}

fn web(site: &str) -> Value {
    json!({ "labels": {}, "spec": spec(site, IMAGE) })
}
