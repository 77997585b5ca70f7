//! `-o json`: what a program reads.

use super::server::HOSTILE;
use super::*;
use serde_json::Value;

fn json(ended: &Ended) -> Value {
    assert!(ended.out.ends_with('\n'), "{:?}", ended.out);
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {}", ended.out))
}

fn asked(server: &Server, line: &[&str]) -> Value {
    let ended = fleetctl(server, line);
    assert_eq!(ended.exit, None, "{}", ended.err);
    json(&ended)
}

#[test]
fn a_description_is_what_the_api_gives() {
    let server = serve(fabricated::busy(fixed_now()));
    let id = "basement-brest-11";
    let view = |view: Option<Value>| view.unwrap();
    for (kind, name, api) in [
        (
            "device",
            id,
            view(server.fleet.device(id).map(|view| serde_json::json!(view))),
        ),
        (
            "deployment",
            "web",
            view(server.fleet.deployment("web").map(|view| serde_json::json!(view))),
        ),
        (
            "pair",
            "web/basement-brest-11",
            view(server.fleet.pair("web", id).map(|view| serde_json::json!(view))),
        ),
    ] {
        assert_eq!(
            asked(&server, &["describe", kind, name, "-o", "json"]),
            api,
            "{kind}"
        );
    }
    let ended = fleetctl(&server, &["describe", "device", "nope", "-o", "json"]);
    assert_eq!((ended.exit, ended.out.as_str()), (Some(Exit::NotFound), ""));
    assert_eq!(
        ended.err,
        fleetctl(&server, &["get", "device", "nope", "-o", "json"]).err
    );
}

#[test]
fn apply_lists_what_became_of_each_object_and_refusals_are_on_the_error_stream() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "three.yaml",
        &["meter", "refused", "web"].map(manifest).join("---\n"),
    );
    let ended = fleetctl(&server, &["apply", "-f", &path, "--dry-run", "-o", "json"]);
    assert_eq!(ended.exit, Some(Exit::InvalidManifest));
    insta::assert_snapshot!(ended.out);
    assert!(ended.err.contains("deployment/refused"), "{}", ended.err);
    assert!(ended.err.contains("1 of 3 objects not applied"), "{}", ended.err);
    let wrong = file(dir.path(), "wrong.yaml", "kind: Nonsense\n");
    let ended = fleetctl(&server, &["apply", "-f", &wrong, "-o", "json"]);
    assert_eq!(
        (ended.exit, ended.out.as_str()),
        (Some(Exit::InvalidManifest), "")
    );
}

#[test]
fn apply_lists_what_was_done_before_the_server_went_away() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "two.yaml",
        &["web", "cut"].map(manifest).join("---\n"),
    );
    let ended = fleetctl(&server, &["apply", "-f", &path, "-o", "json"]);
    assert_eq!(ended.exit, Some(Exit::Unreachable), "{}", ended.err);
    assert_eq!(json(&ended)[0]["name"], "web");
}

#[test]
fn deletion_lists_what_went() {
    let server = serve(fabricated::calm(fixed_now()));
    let line = ["delete", "deployment", "nope", "web", "-o", "json"];
    let ended = fleetctl(&server, &line);
    assert_eq!(ended.exit, Some(Exit::NotFound));
    insta::assert_snapshot!(ended.out);
    let ended = fleetctl(&server, &[&line[..], &["--ignore-not-found"]].concat());
    assert_eq!(
        (ended.exit, json(&ended)[0]["name"].as_str()),
        (None, Some("web"))
    );
    assert!(ended.err.contains("deployment/nope not found"), "{}", ended.err);
}

#[test]
fn a_rollout_ends_with_the_deployment_whether_it_got_through_or_not() {
    let line = [
        "rollout",
        "status",
        "deployment",
        "web",
        "--timeout",
        "1s",
        "-o",
        "json",
    ];
    let calm = serve(fabricated::calm(fixed_now()));
    let same = asked(&calm, &["describe", "deployment", "web", "-o", "json"]);
    assert_eq!(asked(&calm, &line), same);
    let busy = serve(fabricated::busy(fixed_now()));
    let ended = fleetctl(&busy, &line);
    assert_eq!(ended.exit, Some(Exit::Rollout));
    let same = asked(&busy, &["describe", "deployment", "web", "-o", "json"]);
    assert_eq!(json(&ended), same);
    assert!(ended.err.contains("image-not-found"), "{}", ended.err);
}

/// Every command that writes JSON, of a fleet whose every word is hostile.
#[test]
fn nothing_in_json_acts_on_a_terminal_and_a_reader_gets_the_words_as_they_are() {
    let mut state = fabricated::busy(fixed_now());
    for pair in &mut state.pairs {
        pair.phase = Some(HOSTILE.to_owned());
        pair.cause = Some(fleet_protocol::Cause::new(HOSTILE, HOSTILE));
    }
    for item in &mut state.events {
        item.event.detail = HOSTILE.to_owned();
    }
    for device in &mut state.devices {
        device.labels.insert("note".to_owned(), HOSTILE.to_owned());
    }
    let server = serve(state);
    let dir = tempfile::tempdir().unwrap();
    let newer = file(dir.path(), "newer.yaml", &manifest("newer"));
    for line in [
        &["get", "devices"][..],
        &["get", "pairs", "web"],
        &["get", "pair", "web/basement-brest-11"],
        &["describe", "device", "basement-brest-11"],
        &["describe", "deployment", "web"],
        &["describe", "pair", "web/basement-brest-11"],
        &["rollout", "status", "deployment", "web", "--timeout", "1s"],
        &["events"],
        &["apply", "-f", &newer],
    ] {
        let ended = fleetctl(&server, &[line, &["-o", "json"]].concat());
        harmless(&ended.out);
        assert!(
            strings(&json(&ended)).iter().any(|text| text == HOSTILE),
            "{line:?}"
        );
    }
    for line in [
        &["get", "pairs", "web", "--watch", "-o", "json"][..],
        &["events", "--watch", "-o", "json"],
    ] {
        let out = watching(&server, line);
        wait(&out, |text| text.contains('\n'));
        harmless(&out.text());
    }
}

fn harmless(text: &str) {
    let acts = |c: char| c != '\n' && fleet_control_plane::logs::ansi::shown_instead(c).is_some();
    assert!(!text.contains(acts), "{text:?}");
}

/// All strings of it, at any depth.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}
