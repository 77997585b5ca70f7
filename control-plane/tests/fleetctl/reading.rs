//! Lists and descriptions.

use super::*;

#[test]
fn lists_are_columns_that_line_up() {
    let server = serve(fabricated::busy(fixed_now()));
    insta::assert_snapshot!("get_devices", shown(&server, &["get", "devices"]));
    insta::assert_snapshot!(
        "get_devices_wide",
        shown(&server, &["get", "devices", "--state", "offline", "-o", "wide"])
    );
    insta::assert_snapshot!("get_deployments", shown(&server, &["get", "deployments"]));
    insta::assert_snapshot!("get_pairs", shown(&server, &["get", "pairs", "web"]));
    insta::assert_snapshot!("get_names", shown(&server, &["get", "deployments", "-o", "name"]));
}

#[test]
fn one_thing_is_described_with_its_chain() {
    let server = serve(fabricated::busy(fixed_now()));
    insta::assert_snapshot!(
        "describe_pair",
        shown(&server, &["describe", "pair", "web/basement-brest-11"])
    );
    insta::assert_snapshot!(
        "describe_device",
        shown(&server, &["describe", "device", "basement-brest-11"])
    );
    insta::assert_snapshot!(
        "describe_deployment",
        shown(&server, &["describe", "deployment", "web"])
    );
}

#[test]
fn the_history_ends_with_the_newest() {
    let server = serve(fabricated::busy(fixed_now()));
    insta::assert_snapshot!(shown(&server, &["events"]));
}

#[test]
fn json_is_what_the_api_gives() {
    let server = serve(fabricated::calm(fixed_now()));
    let list: serde_json::Value =
        serde_json::from_str(&shown(&server, &["get", "devices", "-o", "json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 12);
    let one: serde_json::Value = serde_json::from_str(&shown(
        &server,
        &["get", "device", "basement-lyon-3", "-o", "json"],
    ))
    .unwrap();
    assert_eq!(one["id"], "basement-lyon-3");
}

#[test]
fn a_deployment_as_yaml_can_be_applied_again() {
    let server = serve(fabricated::calm(fixed_now()));
    let yaml = shown(&server, &["get", "deployments", "-o", "yaml"]);
    assert_eq!(yaml.matches("kind: Deployment").count(), 2, "{yaml}");
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "all.yaml", &yaml);
    assert_eq!(shown(&server, &["apply", "-f", &path]).lines().count(), 2);
}

#[test]
fn what_devices_say_cannot_move_the_cursor() {
    let mut state = fabricated::busy(fixed_now());
    for pair in &mut state.pairs {
        pair.phase = Some("\u{1b}[2J".to_owned());
        pair.cause = Some(fleet_protocol::Cause::new("\u{1b}]0;x\u{7}", "\u{1b}[31m\r\n"));
        pair.chain
            .iter_mut()
            .for_each(|link| link.text = "\u{1b}[2J".to_owned());
    }
    let server = serve(state);
    for line in [
        &["get", "pairs", "web"][..],
        &["describe", "deployment", "web"],
        &["describe", "pair", "web/basement-brest-11"],
    ] {
        let out = shown(&server, line);
        assert!(
            !out.contains('\u{1b}') && !out.contains('\r'),
            "{line:?}: {out:?}"
        );
    }
}
