//! Changing deployments.

use super::*;

#[tokio::test]
async fn applying_twice_changes_once_and_the_history_names_the_person() {
    let rig = rig().await;
    rig.store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    rig.fleet.wait_until(|fleet| fleet.devices().count() == 1).await;
    let (status, answer) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(
        (status, &answer["outcome"], &answer["devices"]),
        (StatusCode::CREATED, &json!("created"), &json!(1))
    );
    let (status, answer) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(
        (status, &answer["outcome"], &answer["generation"]),
        (StatusCode::OK, &json!("unchanged"), &json!(1))
    );
    let (_, answer) = rig.put("/api/v0/deployments/web", &web("nice")).await;
    assert_eq!(
        (&answer["outcome"], &answer["generation"]),
        (&json!("changed"), &json!(2))
    );
    let mut relabelled = web("nice");
    relabelled["labels"] = json!({ "team": "shop" });
    let (_, answer) = rig.put("/api/v0/deployments/web", &relabelled).await;
    assert_eq!(
        (&answer["outcome"], &answer["generation"]),
        (&json!("changed"), &json!(2))
    );
    let by_ada = rig
        .history()
        .iter()
        .filter(|event| event["actor"] == "ada")
        .count();
    assert_eq!(by_ada, 3);
    let (_, events) = rig.get("/api/v0/events?subject=deployment/web&limit=100").await;
    assert!(
        events["items"].as_array().is_some_and(|items| items.len() >= 3),
        "{events}"
    );
    let (_, view) = rig.get("/api/v0/deployments/web").await;
    assert_eq!(
        (&view["generation"], &view["labels"]["team"]),
        (&json!(2), &json!("shop"))
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let rig = rig().await;
    let before = rig.store.writes();
    let (status, answer) = rig
        .put("/api/v0/deployments/web?dry_run=true", &web("lyon"))
        .await;
    assert_eq!(
        (status, &answer["outcome"], &answer["dry_run"]),
        (StatusCode::OK, &json!("created"), &json!(true))
    );
    assert_eq!((rig.store.writes(), rig.history().len()), (before, 0));
}

#[tokio::test]
async fn another_generation_than_expected_is_refused() {
    let rig = rig().await;
    rig.put("/api/v0/deployments/web", &web("lyon")).await;
    for (tag, status) in [("\"7\"", 412), ("0", 412), ("x", 400), ("\"1\"", 200)] {
        let request = Request::put("/api/v0/deployments/web")
            .header("if-match", tag)
            .body(Body::from(web("nice").to_string()))
            .unwrap();
        let (answered, body) = parts(rig.send(request).await).await;
        assert_eq!(answered.as_u16(), status, "{tag}: {body}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_path() {
    let rig = rig().await;
    let mut bad_port = web("lyon");
    bad_port["spec"]["score"]["podman_v0"]["ports"] = json!([{ "host": 80, "container": 80 }]);
    let mut unknown = web("lyon");
    unknown["spec"]["score"]["podman_v0"]["imgae"] = json!("x");
    let mut label = web("lyon");
    label["labels"] = json!({ "a b": "c" });
    for (body, path) in [
        (&bad_port, "spec.score.podman_v0.ports[0].host"),
        (&unknown, "spec.score.podman_v0"),
        (&label, "labels.a b"),
        (&json!({ "spec": 1 }), "spec"),
    ] {
        let (status, error) = rig.put("/api/v0/deployments/web", body).await;
        assert_eq!(
            (status, &error["kind"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid")),
            "{error}"
        );
        let found = error["problems"][0]["path"].as_str().unwrap_or_default();
        assert!(found.starts_with(path), "{path}: {error}");
        assert!(error["request_id"].is_string());
    }
    let (status, error) = rig.put("/api/v0/deployments/Not-A-Name", &web("lyon")).await;
    assert_eq!(
        (status, &error["problems"][0]["path"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("name"))
    );
    let (status, error) = rig.put("/api/v0/deployments/agent", &web("lyon")).await;
    assert_eq!(
        (status, &error["problems"][0]["path"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("name"))
    );
    let large = json!({ "spec": "x".repeat(crate::api::types::MAX_BODY_BYTES) });
    assert_eq!(
        rig.put("/api/v0/deployments/web", &large).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let (status, _) = rig.get("/api/v0/devices?limit=many").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(rig.store.keys(BucketId::Deployments).len(), 0);
}

#[tokio::test]
async fn a_deployment_made_anew_never_takes_a_generation_that_a_device_has_seen() {
    let rig = rig().await;
    for site in ["lyon", "nice", "lyon"] {
        rig.put("/api/v0/deployments/web", &web(site)).await;
    }
    let request = Request::delete("/api/v0/deployments/web")
        .body(Body::empty())
        .unwrap();
    let (status, answer) = parts(rig.send(request).await).await;
    assert_eq!((status, &answer["outcome"]), (StatusCode::OK, &json!("deleted")));
    assert_eq!(rig.get("/api/v0/deployments/web").await.0, StatusCode::NOT_FOUND);
    let request = Request::delete("/api/v0/deployments/web")
        .body(Body::empty())
        .unwrap();
    assert_eq!(rig.send(request).await.status(), StatusCode::NOT_FOUND);
    let (_, answer) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert!(
        answer["generation"]
            .as_u64()
            .is_some_and(|generation| generation > 3),
        "{answer}"
    );
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_said_so() {
    let rig = rig().await;
    rig.store.refuse_writes(1);
    let (status, error) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("store-unavailable"))
    );
}

#[tokio::test]
async fn a_deployment_of_a_newer_control_plane_is_not_written_over() {
    let rig = rig().await;
    rig.store.set(
        BucketId::Deployments,
        "web",
        Some(br#"{"protocol":9}"#.as_slice().into()),
    );
    rig.fleet
        .wait_until(|fleet| fleet.deployments().count() == 1)
        .await;
    let (status, error) = rig.put("/api/v0/deployments/web", &web("lyon")).await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::CONFLICT, &json!("value-of-newer-version"))
    );
    let fresh = deployment("web", 1, spec("lyon", IMAGE));
    rig.store.set(BucketId::Deployments, "web", Some(fresh));
    until("it can be read again", || {
        rig.fleet
            .deployment("web")
            .is_some_and(|view| view.spec.is_some())
    })
    .await;
}

#[tokio::test]
async fn what_init_containers_must_not_do_twice_is_warned_of_and_refused_on_demand() {
    let rig = rig().await;
    let mut body = web("lyon");
    body["spec"]["score"]["podman_v0"]["init_containers"] = json!([{ "name": "prepare", "image": "r.example/tools:1", "args": ["sh", "-c", "true\nmkdir /data/x"] }]);
    let before = rig.store.writes();
    let (status, refused) = rig.put("/api/v0/deployments/web?strict=true", &body).await;
    assert_eq!(
        (status, &refused["kind"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("warnings"))
    );
    let path = "spec.score.podman_v0.init_containers[0].args[2]";
    assert_eq!(refused["problems"][0]["path"], path);
    assert_eq!(rig.store.writes(), before, "nothing is written");
    let (status, answer) = rig.put("/api/v0/deployments/web", &body).await;
    assert_eq!(
        (status, &answer["outcome"]),
        (StatusCode::CREATED, &json!("created"))
    );
    let warning = &answer["warnings"][0];
    assert_eq!(
        (&warning["path"], &warning["line"], &warning["rule"]),
        (&json!(path), &json!(2), &json!("mkdir"))
    );
    let (status, answer) = rig.put("/api/v0/deployments/web?strict=true", &web("lyon")).await;
    assert_eq!(
        (status, &answer["warnings"]),
        (StatusCode::OK, &serde_json::Value::Null)
    );
}
