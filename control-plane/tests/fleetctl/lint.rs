//! Warnings about what init containers must not do twice.

use super::*;

const RISKY: &str = r#"apiVersion: fleet/v0
kind: Deployment
metadata: { name: shop }
spec:
  selector: { all: true }
  score:
    podman_v0:
      image: r.example/shop:1
      init_containers:
        - name: prepare
          image: r.example/tools:1
          args:
            - sh
            - -ec
            - |
              cd /data
              mkdir cache   # each run
              psql <<EOF
              INSERT INTO kinds VALUES ('a');
              EOF
          volumes:
            - { source: { volume: { name: state } }, path: /data }
        - name: users
          image: r.example/tools:1
          args: ["useradd", "shop"]
"#;

fn risky(dir: &FilePath) -> String {
    file(dir, "shop.yaml", RISKY)
}

#[test]
fn lint_shows_each_warning_at_its_line_as_a_compiler_would_and_asks_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = risky(dir.path());
    let ended = fleetctl_into(Shown::default(), "http://127.0.0.1:1", &["lint", "-f", &path]);
    assert_eq!(ended.exit, None, "{}", ended.err);
    assert_eq!(ended.out, "1 object, 3 warnings\n");
    insta::assert_snapshot!(ended.err.replace(&path, "shop.yaml"));
}

#[test]
fn lint_is_a_gate_with_strict() {
    let dir = tempfile::tempdir().unwrap();
    let path = risky(dir.path());
    let ended = fleetctl_into(
        Shown::default(),
        "http://127.0.0.1:1",
        &["lint", "-f", &path, "--strict"],
    );
    assert_eq!(ended.exit, Some(Exit::Warned));
    assert!(
        ended.err.contains("3 warnings in manifests, and --strict"),
        "{}",
        ended.err
    );
    let good = file(dir.path(), "good.yaml", &manifest("good"));
    let ended = fleetctl_into(
        Shown::default(),
        "http://127.0.0.1:1",
        &["lint", "-f", &good, "--strict"],
    );
    assert_eq!(
        (ended.exit, ended.out.as_str()),
        (None, "1 object, no warnings\n")
    );
    let bad = file(
        dir.path(),
        "bad.yaml",
        &manifest("bad").replace("image:", "imagee:"),
    );
    let ended = fleetctl_into(Shown::default(), "http://127.0.0.1:1", &["lint", "-f", &bad]);
    assert_eq!(ended.exit, Some(Exit::InvalidManifest));
}

#[test]
fn lint_speaks_json_to_programs() {
    let dir = tempfile::tempdir().unwrap();
    let path = risky(dir.path());
    let line = ["lint", "-f", &path, "-o", "json"];
    let ended = fleetctl_into(Shown::default(), "http://127.0.0.1:1", &line);
    assert_eq!((ended.exit, ended.err.as_str()), (None, ""));
    let list: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert_eq!(
        (&list[0]["rule"], &list[0]["line"]),
        (&"mkdir".into(), &17.into())
    );
    assert_eq!(list[0]["path"], "spec.score.podman_v0.init_containers[0].args[2]");
}

#[test]
fn apply_warns_once_and_applies() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let ended = fleetctl(&server, &["apply", "--dry-run", "-f", &risky(dir.path())]);
    assert_eq!(ended.exit, None, "{}", ended.err);
    assert_eq!(
        ended.err.matches("mkdir cache").count(),
        2,
        "message and source line: {}",
        ended.err
    );
    assert_eq!(ended.err.matches("warning[").count(), 3, "{}", ended.err);
    assert!(
        ended.out.contains("deployment/shop created (dry run)"),
        "{}",
        ended.out
    );
}

#[test]
fn apply_with_strict_sends_nothing() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "a.yaml", &manifest("a"));
    let ended = fleetctl(
        &server,
        &["apply", "--strict", "-f", &good, "-f", &risky(dir.path())],
    );
    assert_eq!(ended.exit, Some(Exit::Warned));
    assert!(ended.err.contains("nothing was sent"), "{}", ended.err);
    assert!(server.changes.lock().unwrap().is_empty());
}

#[test]
fn a_warning_that_only_the_server_knows_is_told_without_its_control_characters() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "newer.yaml",
        &RISKY.replace("name: shop", "name: newer"),
    );
    let ended = fleetctl(&server, &["apply", "-f", &path]);
    assert_eq!(ended.exit, None, "{}", ended.err);
    assert_eq!(ended.err.matches("warning[").count(), 4, "{}", ended.err);
    assert!(
        ended.err.contains("warning[of-tomorrow] of the server"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains('\u{1b}'), "{}", ended.err);
}
