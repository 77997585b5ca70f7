//! Applying and deleting.

use super::*;

#[test]
fn apply_says_what_became_of_each_object() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    for name in ["meter", "new", "web"] {
        file(dir.path(), &format!("{name}.yaml"), &manifest(name));
    }
    file(dir.path(), "notes.txt", "not a manifest");
    let path = dir.path().display().to_string();
    insta::assert_snapshot!(shown(&server, &["apply", "-f", &path]), @r"
    deployment/meter unchanged: generation 2 on 12 devices
    deployment/new created: generation 1 on 12 devices
    deployment/web configured: generation 7 on 12 devices
    ");
    assert_eq!(server.changes.lock().unwrap().len(), 3);
}

#[test]
fn a_dry_run_is_asked_of_the_server_and_said() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "web.yaml", &manifest("web"));
    let out = shown(&server, &["apply", "--dry-run", "-f", &path]);
    assert!(out.contains("configured (dry run)"), "{out}");
    assert_eq!(*server.changes.lock().unwrap(), ["put web dry_run=true"]);
}

#[test]
fn one_wrong_manifest_sends_none() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "a.yaml", &manifest("a"));
    let bad = file(dir.path(), "b.yaml", &manifest("b").replace("image:", "imagee:"));
    let ended = fleetctl(&server, &["apply", "-f", &good, "-f", &bad]);
    assert_eq!(ended.exit, Some(Exit::InvalidManifest));
    assert!(
        ended
            .err
            .contains("b.yaml:8:7: spec.score.podman_v0.imagee is not a field here"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.ends_with("1 error in manifests: nothing was sent"),
        "{}",
        ended.err
    );
    assert!(server.changes.lock().unwrap().is_empty());
}

#[test]
fn what_the_server_refuses_is_told_and_the_others_are_done() {
    let server = serve(fabricated::calm(fixed_now()));
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "two.yaml",
        &format!("{}---\n{}", manifest("refused"), manifest("web")),
    );
    let ended = fleetctl(&server, &["apply", "-f", &path]);
    assert_eq!(ended.exit, Some(Exit::InvalidManifest));
    assert!(ended.out.contains("deployment/web configured"), "{}", ended.out);
    insta::assert_snapshot!(ended.err.replace(&path, "two.yaml"));
}

#[test]
fn deletion_names_what_it_hits_and_what_is_not_there() {
    let server = serve(fabricated::calm(fixed_now()));
    assert_eq!(
        shown(&server, &["delete", "deployment", "web"]),
        "deployment/web deleted: from 12 devices\n"
    );
    let ended = fleetctl(&server, &["delete", "deployment", "nope"]);
    assert_eq!(ended.exit, Some(Exit::NotFound));
    insta::assert_snapshot!(ended.err);
    assert_eq!(
        fleetctl(&server, &["delete", "deployment", "nope", "--ignore-not-found"]).exit,
        None
    );
}
