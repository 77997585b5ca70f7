use super::*;
use serde_json::{Value, json};

fn paths_of(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut value = json!({ "image": "10.0.2.100:5000/web:1" });
    change(&mut value);
    let score: PodmanV0Score = serde_json::from_value(value).unwrap();
    score.problems().into_iter().map(|p| p.path).collect()
}

#[test]
fn the_least_score_is_valid_and_its_bytes_are_short() {
    assert!(paths_of(|_| ()).is_empty());
    let score: PodmanV0Score = serde_json::from_value(json!({ "image": "a.b/c:1" })).unwrap();
    assert_eq!(serde_json::to_string(&score).unwrap(), r#"{"image":"a.b/c:1"}"#);
}

#[test]
fn each_refusal_names_its_field() {
    type Case = (Value, &'static str);
    let cases: Vec<Case> = vec![
        (json!({"ports": [{"host": 80, "container": 80}]}), "ports[0].host"),
        (
            json!({"ports": [{"host": 8080, "container": 0}]}),
            "ports[0].container",
        ),
        (
            json!({"ports": [{"host": 8080, "container": 1}, {"host": 8080, "container": 2}]}),
            "ports[1].host",
        ),
        (
            json!({"ports": [{"host": 8080, "container": 1, "address": "127.0.0.1"}, {"host": 8080, "container": 2}]}),
            "ports[1].host",
        ),
        (
            json!({"ports": [{"host": 8080, "container": 1}, {"host": 8080, "container": 2, "address": "127.0.0.1"}]}),
            "ports[1].host",
        ),
        (
            json!({"network": "host", "ports": [{"host": 8080, "container": 1}]}),
            "ports",
        ),
        (json!({"env": [{"name": "A B", "value": ""}]}), "env[0].name"),
        (
            json!({"env": [{"name": "A", "value": ""}, {"name": "A", "value": ""}]}),
            "env[1].name",
        ),
        (json!({"env": [{"name": "A", "value": "\u{0}"}]}), "env[0].value"),
        (
            json!({"volumes": [{"source": {"host_path": {"path": "/var/lib"}}, "path": "/x"}]}),
            "volumes[0].source.host_path.path",
        ),
        (
            json!({"volumes": [{"source": {"host_path": {"path": "//etc/"}}, "path": "/x"}]}),
            "volumes[0].source.host_path.path",
        ),
        (
            json!({"volumes": [{"source": {"volume": {"name": "a/b"}}, "path": "/x"}]}),
            "volumes[0].source.volume.name",
        ),
        (
            json!({"volumes": [{"source": {"volume": {"name": "a"}}, "path": "x"}]}),
            "volumes[0].path",
        ),
        (
            json!({"volumes": [{"source": {"volume": {"name": "a"}}, "path": "/x:y"}]}),
            "volumes[0].path",
        ),
        (json!({"resources": {"memory": "1Mi"}}), "resources.memory"),
        (json!({"resources": {"cpus": "0.001"}}), "resources.cpus"),
        (json!({"resources": {"pids": 0}}), "resources.pids"),
        (json!({"capabilities": {"add": ["ALL"]}}), "capabilities.add[0]"),
        (json!({"user": "-x"}), "user"),
        (
            json!({"lifecycle": {"grace_period": "500ms"}}),
            "lifecycle.grace_period",
        ),
        (
            json!({"lifecycle": {"grace_period": "61m"}}),
            "lifecycle.grace_period",
        ),
        (
            json!({"init_containers": [{"name": "A", "image": "a.b/c:1"}]}),
            "init_containers[0].name",
        ),
        (
            json!({"init_containers": [{"name": "a", "image": "a.b/c:1"}, {"name": "a", "image": "a.b/c:1"}]}),
            "init_containers[1].name",
        ),
        (
            json!({"init_containers": [{"name": "a", "image": "a.b/c:1", "timeout": "0s"}]}),
            "init_containers[0].timeout",
        ),
        (
            json!({"init_containers": [{"name": "a", "image": "a.b/c:1", "env": [{"name": "1", "value": ""}]}]}),
            "init_containers[0].env[0].name",
        ),
        (
            json!({
                "volumes": [{"source": {"volume": {"name": "d", "keep": true}}, "path": "/d"}],
                "init_containers": [{
                    "name": "a", "image": "a.b/c:1",
                    "volumes": [{"source": {"volume": {"name": "d"}}, "path": "/d"}],
                }],
            }),
            "init_containers[0].volumes[0].source.volume.name",
        ),
        (json!({"health": {"command": []}}), "health.command"),
        (json!({"labels": {"fleet.x": "y"}}), "labels.fleet.x"),
    ];
    for (part, path) in cases {
        let found = paths_of(|value| {
            value
                .as_object_mut()
                .unwrap()
                .extend(part.as_object().unwrap().clone());
        });
        assert_eq!(found, vec![path.to_owned()], "{part}");
    }
}

#[test]
fn a_field_that_this_build_does_not_know_is_refused() {
    let value = json!({"image": "a.b/c:1", "privileged": true});
    let error = serde_json::from_value::<PodmanV0Score>(value)
        .unwrap_err()
        .to_string();
    assert!(error.contains("privileged"), "{error}");
}

#[test]
fn a_lifecycle_is_read_with_its_defaults_and_an_unknown_signal_is_refused() {
    let value = json!({"image": "a.b/c:1", "lifecycle": {"stop_signal": "SIGINT"}});
    let score: PodmanV0Score = serde_json::from_value(value).unwrap();
    let policy = score.lifecycle();
    assert_eq!(policy.stop_signal.as_str(), "SIGINT");
    assert_eq!(
        (policy.grace_period.to_string().as_str(), policy.sigkill_fallback),
        ("30s", true)
    );
    let value = json!({"image": "a.b/c:1", "lifecycle": {"stop_signal": "SIGKILL"}});
    let error = serde_json::from_value::<PodmanV0Score>(value)
        .unwrap_err()
        .to_string();
    assert!(error.contains("SIGKILL") && error.contains("SIGUSR1"), "{error}");
}

#[test]
fn each_image_is_named_once_and_the_main_one_first() {
    let value = json!({"image": "a.b/main:1", "init_containers": [
        {"name": "one", "image": "a.b/init:1"},
        {"name": "two", "image": "a.b/main:1"},
        {"name": "three", "image": "a.b/init:1"},
    ]});
    let score: PodmanV0Score = serde_json::from_value(value).unwrap();
    let images: Vec<String> = score.images().into_iter().map(ToString::to_string).collect();
    assert_eq!(images, ["a.b/main:1", "a.b/init:1"]);
    assert_eq!(score.init_containers[0].timeout.duration().as_secs(), 300);
}
