//! Before everything is known, nothing is said to be missing.

use super::*;

#[tokio::test]
async fn while_recovering_it_is_alive_not_ready_and_changes_nothing() {
    let clock = Clock::standing_at(noon());
    let store = MemoryStore::new(clock.clone());
    let fleet = FleetHandle::new(clock.clone());
    let (stop, stopped) = watch::channel(false);
    let state = ApiState::new(
        fleet.clone(),
        Arc::new(store.clone()),
        Arc::<crate::fixture::Answering>::default(),
        Arc::new(Metrics::default()),
        stopped,
    );
    let (_sender, never) = tokio::sync::mpsc::channel(1);
    let operator = Operator::start(
        &fleet,
        never,
        Arc::new(store.clone()),
        Arc::new(Metrics::default()),
    );
    let rig = Rig {
        store,
        fleet,
        router: router(state),
        stop,
        clock,
        asks: Arc::default(),
        _operator: operator,
    };
    assert_eq!(rig.get("/healthz").await.0, StatusCode::OK);
    // What was not read yet is not missing.
    for path in ["devices/pi-1", "deployments/web", "deployments/web/devices/pi-1"] {
        let (status, error) = rig.get(&format!("/api/v0/{path}")).await;
        assert_eq!(
            (status, &error["kind"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("recovering")),
            "{path}"
        );
    }
    // Nor on the dashboard, and both say when to ask again.
    for path in [
        "/devices/pi-1",
        "/deployments/web",
        "/deployments/web/devices/pi-1",
        "/api/v0/devices/pi-1",
        "/readyz",
    ] {
        let response = rig.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(response.headers().get("retry-after").unwrap(), "5", "{path}");
    }
    let (status, error) = rig.get("/readyz").await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("recovering"))
    );
    assert!(
        error["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("not connected to NATS")),
        "{error}"
    );
    let (status, _) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        rig.get("/api/v0/status").await.1["recovery"]["converged"],
        json!(false)
    );
}
