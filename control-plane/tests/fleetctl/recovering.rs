//! An operator that does not know everything yet.

use super::*;

#[test]
fn what_a_partial_view_lacks_is_not_gone() {
    let server = serve(fabricated::calm(fixed_now()));
    let out = watching(&server, &["get", "devices", "--watch", "-o", "name"]);
    wait(&out, |text| text.lines().count() >= 12);
    let all = out.text().lines().count();
    server.fleet.change(|state| {
        state.recovery.converged = false;
        state.devices.truncate(3);
        state.devices[0].arch = "riscv64".to_owned();
    });
    // The changed device is printed, so this look was made, and the others were not said to be gone.
    wait(&out, |text| text.lines().count() > all);
    assert!(!out.text().contains("gone"), "{}", out.text());
    server.fleet.change(|state| state.recovery.converged = true);
    wait(&out, |text| text.contains("gone"));
}

#[test]
fn nothing_is_said_to_be_missing_before_everything_is_known() {
    let server = serve(fabricated::recovering(fixed_now()));
    for line in [
        ["get", "device", "nope"],
        ["describe", "device", "nope"],
        ["describe", "pair", "web/nope"],
        ["get", "deployment", "nope"],
    ] {
        let ended = fleetctl(&server, &line);
        assert_eq!(ended.exit, Some(Exit::Recovering), "{line:?}: {}", ended.err);
        assert!(
            ended.err.contains("recovering: still reading device-info") && ended.err.contains("try again"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn a_list_that_may_lack_some_is_shown_and_does_not_end_as_a_whole_one() {
    let server = serve(fabricated::recovering(fixed_now()));
    for kind in ["devices", "deployments"] {
        let ended = fleetctl(&server, &["get", kind]);
        assert_eq!(ended.exit, Some(Exit::Recovering), "{}", ended.err);
        assert!(
            ended.out.contains("NAME") && ended.err.contains("may not be all"),
            "{}",
            ended.err
        );
    }
    server.fleet.change(|state| {
        state.devices.clear();
        state.events.clear();
    });
    let ended = fleetctl(&server, &["get", "devices"]);
    assert_eq!(ended.exit, Some(Exit::Recovering));
    assert!(
        ended.err.contains("none is known yet") && !ended.err.contains("No device has reported"),
        "{}",
        ended.err
    );
    let ended = fleetctl(&server, &["events"]);
    assert_eq!(ended.exit, Some(Exit::Recovering));
    assert!(!ended.err.contains("Nothing has happened"), "{}", ended.err);
}
