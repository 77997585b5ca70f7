//! What is described is what answers, and only to who may ask.

use super::*;

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .iter()
                .map(move |method| ((*path).to_owned(), (*method).to_owned()))
        })
        .collect();
    let document = serde_json::to_value(Document::openapi()).expect("JSON");
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["get", "put", "post", "delete", "patch"] {
            if item.get(method).is_some() {
                described.insert((path.clone(), method.to_owned()));
            }
        }
    }
    assert_eq!(routes, described);
}

#[tokio::test]
async fn every_described_route_answers_and_every_method_that_is_not_described_is_refused() {
    let rig = rig().await;
    for (path, methods) in ROUTES {
        let path = path.replace("{id}", "pi-1").replace("{name}", "web");
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let request = Request::builder()
                .method(method)
                .uri(&path)
                .body(Body::empty())
                .unwrap();
            let response = self_answer(&rig, request).await;
            let known = methods.contains(&method.to_lowercase().as_str());
            assert_eq!(
                response.0 != StatusCode::METHOD_NOT_ALLOWED,
                known,
                "{method} {path}"
            );
            assert_ne!(response.1, "path not found", "{method} {path}");
        }
    }
    let (status, error) = rig.get("/api/v0/nowhere").await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::NOT_FOUND, &json!("not-found"))
    );
}

/// Status and title, without waiting for the end of a stream.
async fn self_answer(rig: &Rig, request: Request<Body>) -> (StatusCode, String) {
    let response = rig.send(request).await;
    let status = response.status();
    let problem = response
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "application/problem+json");
    if !problem {
        return (status, String::new());
    }
    let (_, body) = parts(response).await;
    (status, body["title"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_request_that_another_site_caused_is_refused() {
    let rig = rig().await;
    for (name, value) in [
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
        // A sandboxed frame, or a file.
        ("origin", "null"),
    ] {
        let request = Request::get("/api/v0/status")
            .header(name, value)
            .body(Body::empty())
            .unwrap();
        let (status, error) = parts(rig.send(request).await).await;
        assert_eq!(
            (status, &error["kind"]),
            (StatusCode::FORBIDDEN, &json!("foreign-host")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_metrics_page_counts_devices_pairs_writes_and_requests() {
    let rig = rig().await;
    rig.store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    rig.put("/api/v0/deployments/web", &web("lyon")).await;
    until("it is resolved", || {
        rig.store.value(BucketId::Desired, "pi-1.web").is_some()
    })
    .await;
    rig.fleet
        .wait_until(|fleet| fleet.pair_counts().waiting == 1)
        .await;
    let (_, page) = rig.get("/metrics").await;
    let page = page.as_str().expect("text");
    for line in [
        "fleet_devices{state=\"Offline\"} 1",
        "fleet_pairs{state=\"Waiting\"} 1",
        "fleet_converged 1",
        "fleet_store_writes_total{bucket=\"desired-state\",outcome=\"Done\"} 1",
        "route=\"/api/v0/deployments/{name}\",method=\"PUT\",status=\"201\"",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
}
