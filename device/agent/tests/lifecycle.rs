//! The lifecycle block: containers that are asked to end, and those that must not be killed when they do not. On a fake
//! device and a real nats-server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::time::Duration;

use common::{IMAGE, NEXT_IMAGE, Scene, THIRD_IMAGE, desired, run_first, runs, scene, unit, until, web};
use fleet_host::fakes::Behaviour;
use fleet_protocol::{DeploymentState, Phase};

/// As `desired`, with a policy for its end.
fn polite(generation: u64, image: &str) -> String {
    with_policy(
        generation,
        image,
        r#"{"stop_signal":"SIGINT","grace_period":"1s","sigkill_fallback":false}"#,
    )
}

fn with_policy(generation: u64, image: &str, policy: &str) -> String {
    desired(generation, image).replace("\"volumes\"", &format!("\"lifecycle\":{policy},\"volumes\""))
}

#[tokio::test]
async fn a_container_that_heeds_its_signal_is_replaced_without_a_kill() {
    scene(async |mut scene| {
        run_first(&mut scene, polite(1, IMAGE)).await;
        scene.ask_for(polite(2, NEXT_IMAGE)).await;
        scene.until_running(2).await;
        let calls = scene.world.calls();
        let at = |call: &str| calls.iter().position(|made| made.starts_with(call)).unwrap();
        assert!(
            at("containers.signal web SIGINT") < at("units.restart"),
            "{calls:#?}"
        );
    })
    .await;
}

async fn until_ignored(scene: &Scene, generation: u64) -> DeploymentState {
    let state = until_told_ignored(scene, generation).await;
    assert!(scene.world.running_image(&unit()).is_some());
    state
}

async fn until_told_ignored(scene: &Scene, generation: u64) -> DeploymentState {
    let state = scene
        .until_state("ignored", |state| {
            let kind = state.cause.as_ref().map(|cause| cause.kind.as_str());
            state.observed_generation == generation && kind == Some("stop-signal-ignored")
        })
        .await;
    assert_eq!(scene.calls("units.restart") + scene.calls("units.stop"), 0);
    state
}

#[tokio::test]
async fn a_container_that_ignores_its_signal_goes_on_and_is_named_until_it_ends_by_itself() {
    scene(async |mut scene| {
        let first = run_first(&mut scene, polite(1, IMAGE)).await;
        scene.world.ignores_signals(&web(), true);
        scene.ask_for(polite(2, NEXT_IMAGE)).await;
        let state = until_ignored(&scene, 2).await;
        assert_eq!((state.phase.clone(), runs(&state)), (Phase::Failed, Some(1)));
        assert_eq!(
            state.running.unwrap().invocation_id,
            first.running.unwrap().invocation_id
        );
        let detail = state.cause.unwrap().detail;
        assert!(
            detail.contains("fleet-web") && detail.contains("generation 1"),
            "{detail}"
        );
        assert!(state.next_try_at.is_some());
        // It ends: systemd starts what its files say by now.
        scene.world.crash(&unit());
        let state = scene.until_running(2).await;
        assert_eq!(
            state.cutover.map(|cutover| cutover.from_generation),
            None,
            "the fake ends without stamps"
        );
        assert!(scene.world.running_image(&unit()).is_some());
    })
    .await;
}

#[tokio::test]
async fn from_a_container_that_ignores_its_signal_a_new_specification_rolls_forward_and_may_insist() {
    scene(async |mut scene| {
        scene.world.registry_holds(THIRD_IMAGE, 1);
        run_first(&mut scene, polite(1, IMAGE)).await;
        scene.world.ignores_signals(&web(), true);
        // Without a policy of its own the new one does not lift the ban.
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        until_ignored(&scene, 2).await;
        scene.ask_for(polite(3, THIRD_IMAGE)).await;
        let state = until_ignored(&scene, 3).await;
        assert_eq!(runs(&state), Some(1));
        scene
            .ask_for(with_policy(4, THIRD_IMAGE, r#"{"sigkill_fallback":true}"#))
            .await;
        scene.until_running(4).await;
        assert_eq!(scene.calls("units.restart"), 1);
    })
    .await;
}

#[tokio::test]
async fn going_back_to_the_version_that_would_not_end_restarts_nothing() {
    scene(async |mut scene| {
        let first = run_first(&mut scene, polite(1, IMAGE)).await;
        scene.world.ignores_signals(&web(), true);
        scene.ask_for(polite(2, NEXT_IMAGE)).await;
        until_ignored(&scene, 2).await;
        scene.ask_for(polite(3, IMAGE)).await;
        let state = scene.until_running(3).await;
        assert_eq!(
            state.running.unwrap().invocation_id,
            first.running.unwrap().invocation_id
        );
        assert_eq!(scene.calls("units.restart"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_removal_asks_as_politely_and_says_why_it_waits() {
    scene(async |mut scene| {
        run_first(&mut scene, polite(1, IMAGE)).await;
        scene.world.ignores_signals(&web(), true);
        scene.take_away().await;
        let state = until_ignored(&scene, 1).await;
        assert_eq!(state.phase, Phase::Removing);
        // The next agent knows the manners too.
        scene.stop().await;
        scene.start();
        let signals = scene.calls("containers.signal");
        until("asked again", async || scene.calls("containers.signal") > signals).await;
        until_ignored(&scene, 1).await;
        scene.stop().await;
        scene.world.ignores_signals(&web(), false);
        scene.start();
        let scene = &scene;
        until("gone", async || scene.state().await.is_none()).await;
        assert_eq!(scene.world.podman_holds().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_file_edited_by_hand_asks_no_container_to_end() {
    scene(async |mut scene| {
        scene.settings.tuning.drift_check = Duration::from_millis(300);
        run_first(&mut scene, polite(1, IMAGE)).await;
        scene.world.ignores_signals(&web(), true);
        let good = scene.world.file(&common::file()).unwrap();
        scene.world.edit_by_hand(&common::file(), Some("[Container]\n"));
        let edited = &scene;
        until("repaired", async || {
            edited.world.file(&common::file()).as_deref() == Some(&good)
        })
        .await;
        scene.until_running(1).await;
        assert_eq!(scene.calls("containers.signal"), 0);
    })
    .await;
}

/// Its health check is still out, so it never was told to run; it is a container all the same.
#[tokio::test]
async fn a_container_that_is_not_healthy_yet_is_not_killed_either_when_that_is_forbidden() {
    scene(async |mut scene| {
        scene.world.behaves(&web(), Behaviour::Hangs);
        scene.start();
        scene.ask_for(polite(1, IMAGE)).await;
        let world = scene.world.clone();
        until("begun", async || !world.begun().is_empty()).await;
        scene.world.ignores_signals(&web(), true);
        // Without a policy of its own, which does not lift the ban.
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        until_told_ignored(&scene, 2).await;
        assert_eq!(scene.world.begun().len(), 1, "the first run goes on");
        // Asked for once more, and a third version.
        scene.ask_for(desired(3, NEXT_IMAGE)).await;
        until_told_ignored(&scene, 3).await;
        scene.world.registry_holds(THIRD_IMAGE, 1);
        scene.ask_for(desired(4, THIRD_IMAGE)).await;
        until_told_ignored(&scene, 4).await;
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        until_told_ignored(&scene, 2).await;
        // It gets healthy, and is not taken for the new version: not now, and not by the next agent.
        scene.world.comes_up(&web());
        let up = scene
            .until_state("up as what it is", |state| runs(state) == Some(1))
            .await;
        assert_eq!(up.observed_generation, 2);
        until_ignored(&scene, 2).await;
        scene.stop().await;
        scene.start();
        until_ignored(&scene, 2).await;
        let signals = scene.calls("containers.signal");
        until("asked again", async || scene.calls("containers.signal") > signals).await;
        until_ignored(&scene, 2).await;
        scene.world.ignores_signals(&web(), false);
        scene.world.behaves(&web(), Behaviour::Runs);
        scene.stop().await;
        scene.start();
        let digest = scene.world.registry_holds(NEXT_IMAGE, 2).to_string();
        let state = scene.until_running(2).await;
        assert_eq!(state.running.unwrap().digest, Some(digest));
    })
    .await;
}

#[tokio::test]
async fn a_restart_that_never_came_about_leaves_the_old_version_what_it_is() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(polite(1, IMAGE)).await;
        let old = scene.until_running(1).await.running.unwrap();
        let digest = scene.world.registry_holds(NEXT_IMAGE, 2);
        scene.world.ignores_signals(&web(), true);
        scene.world.fail_nth("units.facts", 2);
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        // However often it is tried, and looked at: it runs on, as generation 1.
        let state = until_ignored(&scene, 2).await;
        assert!(
            scene
                .world
                .fired()
                .iter()
                .any(|fault| fault.contains("units.facts"))
        );
        assert_eq!(
            (runs(&state), state.running.unwrap().invocation_id),
            (Some(1), old.invocation_id)
        );
        scene.world.ignores_signals(&web(), false);
        scene.stop().await;
        scene.start();
        let state = scene.until_running(2).await;
        assert_eq!(state.running.unwrap().digest, Some(digest.to_string()));
    })
    .await;
}

/// systemd would end it after the new version's grace period, which is shorter.
#[tokio::test]
async fn a_longer_grace_period_of_the_old_version_is_kept_by_the_agent() {
    scene(async |mut scene| {
        let patient = r#"{"stop_signal":"SIGINT","grace_period":"2s"}"#;
        let hasty = r#"{"grace_period":"1s"}"#;
        run_first(&mut scene, with_policy(1, IMAGE, patient)).await;
        scene.world.ignores_signals(&web(), true);
        let began = std::time::Instant::now();
        scene.ask_for(with_policy(2, NEXT_IMAGE, hasty)).await;
        scene.until_running(2).await;
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        let calls = scene.world.calls();
        let at = |call: &str| calls.iter().position(|made| made.starts_with(call)).unwrap();
        assert!(
            at("containers.signal web SIGINT") < at("units.restart"),
            "{calls:#?}"
        );
    })
    .await;
}
