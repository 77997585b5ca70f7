//! Following a rollout.

use super::*;

#[test]
fn a_rollout_that_runs_everywhere_ends_well() {
    let server = serve(fabricated::calm(fixed_now()));
    let out = shown(&server, &["rollout", "status", "deployment", "web"]);
    assert_eq!(out, "deployment/web: generation 6 runs on 12 of 12 devices\n");
}

#[test]
fn a_rollout_that_is_over_time_says_why() {
    let server = serve(fabricated::busy(fixed_now()));
    let ended = fleetctl(
        &server,
        &["rollout", "status", "deployment", "web", "--timeout", "1s"],
    );
    assert_eq!(ended.exit, Some(Exit::Rollout));
    assert!(
        ended.err.contains("image-not-found") && ended.err.contains("fleetctl describe deployment web"),
        "{}",
        ended.err
    );
}

#[test]
fn a_rollout_waits_for_an_operator_that_is_away() {
    let server = serve_after(Duration::from_secs(3), fabricated::calm(fixed_now()));
    let ended = fleetctl(
        &server,
        &["rollout", "status", "deployment", "web", "--timeout", "30s"],
    );
    assert_eq!(ended.exit, None, "{}", ended.err);
    assert_eq!(ended.err.matches("trying again").count(), 1, "{}", ended.err);
    assert!(ended.out.contains("runs on 12 of 12"), "{}", ended.out);
}

#[test]
fn a_rollout_is_judged_by_all_pairs_and_not_by_those_of_one_page() {
    let mut state = fabricated::calm(fixed_now());
    let web = state
        .pairs
        .iter()
        .find(|pair| pair.deployment == "web")
        .unwrap()
        .clone();
    for number in 0..600 {
        let mut pair = web.clone();
        pair.device = format!("site-{number:05}");
        // Running, and sorted behind those that a page shows.
        pair.desired_generation = Some(if number == 599 { 5 } else { 6 });
        state.pairs.push(pair);
    }
    let server = serve(state);
    let line = ["rollout", "status", "deployment", "web", "--timeout", "1s"];
    assert_eq!(fleetctl(&server, &line).exit, Some(Exit::Rollout));
    server.fleet.change(|state| {
        for pair in state.pairs.iter_mut().filter(|pair| pair.deployment == "web") {
            pair.desired_generation = Some(6);
        }
    });
    assert_eq!(fleetctl(&server, &line).exit, None);
}
