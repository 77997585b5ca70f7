//! Init containers, on a fake device and a real nats-server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::time::Duration;

use common::{IMAGE, NEXT_IMAGE, Scene, desired, scene, unit, until, web};
use fleet_host::ImageErrorKind;
use fleet_host::fakes::Behaviour;
use fleet_protocol::Phase;
use fleet_protocol::cause::Exit;

const TOOLS: &str = "registry.test/tools:1";
const MAIN: &str = "fleet-web.service";
const PREPARE: &str = "fleet-web.init-prepare.service";
const MIGRATE: &str = "fleet-web.init-migrate.service";

/// As `desired`, with two init containers: one of another image, one of the same.
fn with_inits(generation: u64, image: &str) -> String {
    let inits = format!(
        r#"[{{"name":"prepare","image":"{TOOLS}","timeout":"1s"}},{{"name":"migrate","image":"{image}"}}]"#
    );
    desired(generation, image).replace("\"volumes\"", &format!("\"init_containers\":{inits},\"volumes\""))
}

fn fails(scene: &Scene, init: &str) {
    let lines = vec!["table is locked".to_owned()];
    scene
        .world
        .init_behaves(&web(), init, Behaviour::Exits { status: 4, lines });
}

fn ends_well(scene: &Scene, init: &str) {
    let (status, lines) = (0, Vec::new());
    scene
        .world
        .init_behaves(&web(), init, Behaviour::Exits { status, lines });
}

#[tokio::test]
async fn they_run_in_their_order_before_every_fresh_main_container_and_all_images_are_there_first() {
    scene(async |mut scene| {
        scene.world.registry_holds(TOOLS, 1);
        scene.start();
        scene.ask_for(with_inits(1, IMAGE)).await;
        scene.until_running(1).await;
        assert_eq!(scene.world.begun(), [PREPARE, MIGRATE, MAIN]);
        let calls = scene.world.calls();
        let last_pull = calls.iter().rposition(|call| call.starts_with("images.pull"));
        let start = calls.iter().position(|call| call.starts_with("units.start"));
        assert!(last_pull < start, "{calls:#?}");
        assert_eq!(scene.calls("images.pull"), 2, "each image once");
        scene.ask_for(with_inits(2, NEXT_IMAGE)).await;
        scene.until_running(2).await;
        assert_eq!(scene.world.begun()[3..], [PREPARE, MIGRATE, MAIN]);
        // After a power cut the units alone do it.
        scene.kill().await;
        scene.world.reboot();
        assert_eq!(scene.world.begun()[6..], [PREPARE, MIGRATE, MAIN]);
        scene.start();
        scene.until_running(2).await;
        assert_eq!(scene.world.begun().len(), 9, "and the agent runs nothing again");
    })
    .await;
}

#[tokio::test]
async fn a_generation_that_changes_nothing_runs_none_of_them() {
    scene(async |mut scene| {
        scene.world.registry_holds(TOOLS, 1);
        scene.start();
        scene.ask_for(with_inits(1, IMAGE)).await;
        let before = scene.until_running(1).await.running.unwrap();
        scene.ask_for(with_inits(2, IMAGE)).await;
        let after = scene.until_running(2).await.running.unwrap();
        assert_eq!(before.invocation_id, after.invocation_id);
        assert_eq!(scene.world.begun().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn one_that_fails_is_named_with_its_status_and_last_words_and_its_success_is_seen() {
    scene(async |mut scene| {
        scene.world.registry_holds(TOOLS, 1);
        fails(&scene, "migrate");
        scene.start();
        scene.ask_for(with_inits(1, IMAGE)).await;
        let state = scene.until_failed("init-failed").await;
        let cause = state.cause.unwrap();
        assert_eq!(cause.init.as_deref(), Some("migrate"));
        assert_eq!(cause.exit, Some(Exit::Status(4)));
        assert_eq!(cause.log, ["table is locked"]);
        assert!(!scene.world.begun().contains(&MAIN.to_owned()));
        ends_well(&scene, "migrate");
        scene.until_running(1).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_takes_too_long_is_named_and_told_while_it_runs() {
    scene(async |mut scene| {
        scene.world.registry_holds(TOOLS, 1);
        scene.world.init_behaves(&web(), "prepare", Behaviour::Hangs);
        scene.start();
        scene.ask_for(with_inits(1, IMAGE)).await;
        let state = scene
            .until_state("at its first step", |state| state.init.is_some())
            .await;
        let init = state.init.unwrap();
        assert_eq!((init.name.as_str(), init.step, init.of), ("prepare", 1, 2));
        assert_eq!(state.phase, Phase::Starting);
        let state = scene.until_failed("init-timeout").await;
        assert_eq!(
            (state.cause.unwrap().init.as_deref(), state.init),
            (Some("prepare"), None)
        );
    })
    .await;
}

#[tokio::test]
async fn an_image_of_one_that_cannot_be_had_stops_nothing_and_names_it() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.world.registry_fails(TOOLS, ImageErrorKind::NotFound);
        scene.ask_for(with_inits(2, NEXT_IMAGE)).await;
        let state = scene.until_failed("image-not-found").await;
        let cause = state.cause.unwrap();
        assert_eq!(cause.init.as_deref(), Some("prepare"));
        assert!(
            cause.detail.contains("prepare") && cause.detail.contains(TOOLS),
            "{}",
            cause.detail
        );
        assert_eq!(state.running.unwrap().generation, 1);
        assert_eq!(scene.calls("units.restart"), 0);
    })
    .await;
}

#[tokio::test]
async fn images_of_init_containers_are_in_use_and_one_that_vanished_is_pulled_again() {
    scene(async |mut scene| {
        scene.settings.tuning.keep_images = Duration::from_millis(100);
        scene.world.registry_holds(TOOLS, 1);
        scene.start();
        scene.ask_for(with_inits(1, IMAGE)).await;
        scene.until_running(1).await;
        // The first image loses its last user, that of the init container does not.
        scene.ask_for(with_inits(2, NEXT_IMAGE)).await;
        scene.until_running(2).await;
        let pruned = &scene;
        until("pruned", async || pruned.calls("images.prune") > 0).await;
        let pulls = scene.calls("images.pull");
        scene
            .ask_for(with_inits(3, NEXT_IMAGE).replace("\"volumes\"", "\"user\":\"7\",\"volumes\""))
            .await;
        scene.until_running(3).await;
        assert_eq!(scene.calls("images.pull"), pulls);
        scene.world.remove_image_by_hand(TOOLS);
        scene
            .ask_for(with_inits(4, NEXT_IMAGE).replace("\"volumes\"", "\"user\":\"8\",\"volumes\""))
            .await;
        scene.until_running(4).await;
        assert_eq!(scene.calls("images.pull"), pulls + 1);
        assert!(scene.world.running_image(&unit()).is_some());
    })
    .await;
}
